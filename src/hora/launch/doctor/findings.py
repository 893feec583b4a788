"""What is wrong with the hosts of a job: each finding with what was found, why it matters and what to do."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hora.launch.doctor.facts import Facts, Interface, Place
from hora.launch.doctor.links import Links
from hora.launch.environment import visible_gpus
from hora.launch.memory import amount

GIB = 2**30
SMALL_SHM = GIB
"""Loader workers hand over batches through /dev/shm; Docker gives a container 64 MiB."""

SKEW_SECONDS = 1.0
FEW_FILES = 1024
FREE_BYTES = GIB
HALF = 0.5


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes
    ----------
    level
        "error" where a job will fail, "warning" where it will be slow, or fail some day.
    host
        The host, None where it is about several.
    found, why, mend
        What was found, why it matters, what to do.
    """

    level: Literal["error", "warning"]
    host: str | None
    found: str
    why: str
    mend: str


@dataclass(frozen=True)
class Patient:
    """A host as it is judged.

    Attributes
    ----------
    name
        As the job calls it.
    facts
        What it is.
    workers
        How many workers it has.
    interface
        The network interface by which its workers meet the others, as far as known.
    ahead
        Seconds that its clock is ahead of this host's.
    """

    name: str
    facts: Facts
    workers: int
    interface: str | None = None
    ahead: float = 0.0


def judge(patients: Sequence[Patient], links: Links | None) -> list[Finding]:
    """Return what is wrong with the hosts, and with what was measured between them; None where that failed."""
    several = len(patients) > 1
    found = [finding for patient in patients for rule in _OF_ONE for finding in rule(patient)]
    if several:
        found += [finding for patient in patients for rule in _OF_SEVERAL for finding in rule(patient)]
    if links is not None:
        found += _of_links(patients, links)
    elif several:
        found += [finding for patient in patients for finding in _interface(patient)]
    return found


def _torch(patient: Patient) -> Iterator[Finding]:
    if patient.facts.torch is None:
        yield Finding("error", patient.name, "torch is not installed", "nothing trains without it", "pip install torch")


def _shared_memory(patient: Patient) -> Iterator[Finding]:
    shm = patient.facts.shm
    if shm is not None and min(shm.size, shm.free) < SMALL_SHM:
        yield Finding(
            "warning",
            patient.name,
            f"/dev/shm has {amount(shm.free)} free of {amount(shm.size)}",
            "loader workers hand over batches through it, and end with a bus error where it is full",
            "Start the container with --shm-size=8g or --ipc=host, or use num_workers=0.",
        )


def _cores(patient: Patient) -> Iterator[Finding]:
    cores, workers = patient.facts.cores, patient.workers
    threads = patient.facts.variables.get("OMP_NUM_THREADS", "")
    if cores < workers:
        yield Finding(
            "warning",
            patient.name,
            f"{workers} workers share {cores} processor cores",
            "they wait for each other at each step, so that more workers make it slower",
            "Use fewer workers there, or give the job more cores (--cpus of a container, --cpus-per-task of Slurm).",
        )
    elif threads.isdigit() and int(threads) * workers > cores:
        yield Finding(
            "warning",
            patient.name,
            f"OMP_NUM_THREADS={threads} on each of {workers} worker{'s' if workers > 1 else ''} for {cores} cores",
            "their threads take the cores away from each other",
            "Unset it: hora run divides the cores among the workers.",
        )


def _gpus(patient: Patient) -> Iterator[Finding]:
    gpus, visible = len(patient.facts.gpus), patient.facts.variables.get("CUDA_VISIBLE_DEVICES")
    seen = visible_gpus(gpus, visible)
    if gpus and not seen:
        yield Finding(
            "warning",
            patient.name,
            f"CUDA_VISIBLE_DEVICES={visible!r} hides all {gpus} GPUs",
            "the workers would train on the processor",
            "Unset it, or name the GPUs: CUDA_VISIBLE_DEVICES=0,1",
        )
    elif 0 < seen < patient.workers:
        yield Finding(
            "warning",
            patient.name,
            f"{patient.workers} workers for {seen} GPUs",
            "workers that share a GPU are slower than one, and NCCL refuses two workers on one GPU",
            "Use one worker for each GPU.",
        )


def _memory(patient: Patient) -> Iterator[Finding]:
    limit, memory = patient.facts.memory_limit, patient.facts.memory
    if limit is not None and limit < HALF * memory:
        yield Finding(
            "warning",
            patient.name,
            f"the control group allows {amount(limit)} of the host's {amount(memory)}",
            "the kernel kills a worker when all of them together use more",
            "Raise the limit (docker --memory, Slurm's --mem), or see that the workers need less.",
        )


def _open_files(patient: Patient) -> Iterator[Finding]:
    if 0 <= patient.facts.open_files < FEW_FILES:
        yield Finding(
            "warning",
            patient.name,
            f"a process may open {patient.facts.open_files} files",
            "each connection to a worker and each batch of a loader worker is one",
            "ulimit -n 65536, or LimitNOFILE of the service.",
        )


def _disks(patient: Patient) -> Iterator[Finding]:
    for place in (patient.facts.temporary, patient.facts.home):
        if (trouble := _of_place(place)) is not None:
            yield Finding(
                "warning", patient.name, trouble, "logs and commits have no place", "Make room there, or set TMPDIR."
            )


def _of_place(place: Place) -> str | None:
    if not place.writable:
        return f"{place.path} cannot be written to"
    return f"{place.path} has {amount(place.free)} free" if place.free < FREE_BYTES else None


def _variables(patient: Patient) -> Iterator[Finding]:
    set_here = [name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR") if name in patient.facts.variables]
    if set_here:
        yield Finding(
            "warning",
            patient.name,
            f"{', '.join(set_here)} {'is' if len(set_here) == 1 else 'are'} set outside of a job",
            "a script that is started with plain python believes to be a worker, and waits for others",
            f"unset {' '.join(set_here)}",
        )
    names = {interface.name for interface in patient.facts.interfaces}
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        named = [name for name in patient.facts.variables.get(variable, "").split(",") if name]
        for name in named:
            # NCCL takes prefixes; ^ excludes, = wants the whole name.
            if not name.startswith("^") and not any(other.startswith(name.lstrip("=")) for other in names):
                yield Finding(
                    "error",
                    patient.name,
                    f"{variable}={name}, and there is no such interface",
                    "the workers cannot meet",
                    f"Unset it, or name one of {', '.join(sorted(names))}.",
                )


def _own_name(patient: Patient) -> Iterator[Finding]:
    resolved = patient.facts.resolved
    if not resolved or all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in resolved):
        what = f"resolves to {', '.join(resolved)}" if resolved else "does not resolve"
        yield Finding(
            "warning",
            patient.name,
            f"its own name, {patient.facts.name}, {what} there",
            "an engine that looks for the host's address by its name tells the others one that leads nowhere",
            "hora run names the interface instead; for others set GLOO_SOCKET_IFNAME, or mend /etc/hosts.",
        )


def _interface(patient: Patient) -> Iterator[Finding]:
    found = next((one for one in patient.facts.interfaces if one.name == patient.interface), None)
    if found is not None and (trouble := _of_interface(found)) is not None:
        physical = [one.name for one in patient.facts.interfaces if one.kind == "physical" and one.up]
        yield Finding(
            "error",
            patient.name,
            f"the workers would meet on {found.name}, {trouble}",
            "no other host can reach it",
            f"hora run --network-interface {physical[0] if physical else 'NAME'}",
        )


def _of_interface(interface: Interface) -> str | None:
    if interface.kind == "virtual":
        return "which leads to containers or virtual machines of the host itself"
    if interface.kind == "loopback":
        return "which leads to the host itself"
    return None if interface.up else "which is down"


def _clock(patient: Patient) -> Iterator[Finding]:
    if abs(patient.ahead) > SKEW_SECONDS:
        side = "ahead" if patient.ahead > 0 else "behind"
        yield Finding(
            "warning",
            patient.name,
            f"its clock is {abs(patient.ahead):.1f} s {side}",
            "files on a shared file system look newer or older than they are, and logs do not fit together",
            "Run a time service there: systemctl enable --now chronyd",
        )


_OF_ONE: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _torch,
    _shared_memory,
    _cores,
    _gpus,
    _memory,
    _open_files,
    _disks,
    _variables,
)
_OF_SEVERAL: tuple[Callable[[Patient], Iterator[Finding]], ...] = (_own_name, _clock)


def _of_links(patients: Sequence[Patient], links: Links) -> Iterator[Finding]:
    if links.accelerator is None and any(patient.facts.gpus for patient in patients):
        yield Finding(
            "error",
            None,
            "there are GPUs, and torch sees none",
            "the workers would train on the processor",
            "Install a torch that is built for CUDA, and a driver that it knows: python -m torch.utils.collect_env",
        )
    speeds: Mapping[str, int] = {
        patient.name: one.speed
        for patient in patients
        for one in patient.facts.interfaces
        if one.name == patient.interface and one.speed is not None
    }
    whose = [patient.name for patient in patients for _ in range(patient.workers)]
    for first, second, rate in links.pairs:
        if whose[first] == whose[second] or not {whose[first], whose[second]} <= set(speeds):
            continue
        promised = min(speeds[whose[first]], speeds[whose[second]]) * 1e6 / 8
        if rate < HALF * promised:
            yield Finding(
                "warning",
                None,
                f"worker {first} on {whose[first]} to worker {second} on {whose[second]}: {rate * 8e-9:.2f} Gbit/s "
                f"over links of {promised * 8e-9:.0f} Gbit/s",
                "each step waits for its gradients to cross the slowest link",
                "Look for other traffic, a bad cable or switch, and whether NCCL uses sockets instead of InfiniBand.",
            )
