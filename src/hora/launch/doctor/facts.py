"""What a host is: gathered with the standard library alone, on the host itself, by its agent."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hora import __version__
from hora.launch.environment import cores, installed_torch
from hora.launch.interfaces import addresses_of
from hora.launch.memory import memory_limit

_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
)
_PREFIXES = ("NCCL_", "GLOO_", "HOROVOD_", "HORA_", "TORCH_DISTRIBUTED_")
_SECRET = "HORA_SECRET"
# How names of interfaces begin that lead to containers and virtual machines of this host, not to other hosts.
_VIRTUAL = ("docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "tap", "tun", "vnet", "lxc", "podman")


@dataclass(frozen=True)
class Interface:
    """A network interface: its name, addresses, whether it is up, what it is, and its speed in Mbit/s where known."""

    name: str
    addresses: tuple[str, ...]
    up: bool
    kind: str
    speed: int | None = None


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as ``nvidia-smi`` lists it; memory in MiB."""

    name: str
    memory: int
    driver: str


@dataclass(frozen=True)
class Place:
    """A directory: whether it can be written to, and how many bytes are free of how many."""

    path: str
    writable: bool
    free: int
    size: int


@dataclass(frozen=True)
class Facts:
    """A host.

    Attributes
    ----------
    name
        Its own name for itself.
    resolved
        The addresses that this name resolves to there; empty if it does not.
    python, torch, hora
        Versions; None for a package that is not installed.
    cores, processors
        Processor cores that a process may use, and those that there are.
    memory, memory_limit
        Bytes that it has, and that its control group allows; None for no limit.
    gpus, topology
        NVIDIA's, and how they are joined (``nvidia-smi topo -m``).
    interfaces
        The network interfaces.
    shm, temporary, home
        ``/dev/shm``, the directory for temporary files, the home directory.
    open_files
        How many files a process may open.
    variables
        Those of the environment that decide how workers meet and compute.
    """

    name: str
    resolved: tuple[str, ...]
    python: str
    torch: str | None
    hora: str
    cores: int
    processors: int
    memory: int
    memory_limit: int | None
    gpus: tuple[Gpu, ...]
    topology: str
    interfaces: tuple[Interface, ...]
    shm: Place | None
    temporary: Place
    home: Place
    open_files: int
    variables: dict[str, str]

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return dataclasses.asdict(self)

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Facts:
        """Make it from what `as_record` returned on another host."""
        shm = record["shm"]
        return cls(
            **{
                **record,
                "resolved": tuple(record["resolved"]),
                "gpus": tuple(Gpu(**gpu) for gpu in record["gpus"]),
                "interfaces": tuple(
                    Interface(**{**one, "addresses": tuple(one["addresses"])}) for one in record["interfaces"]
                ),
                "shm": Place(**shm) if shm else None,
                "temporary": Place(**record["temporary"]),
                "home": Place(**record["home"]),
            }
        )


def gather() -> Facts:
    """Look at this host."""
    smi = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    gpus = tuple(_gpu(line) for line in _nvidia(smi).splitlines() if line.count(",") >= 2)
    shm = Path("/dev/shm")
    return Facts(
        name=socket.gethostname(),
        resolved=_resolved(socket.gethostname()),
        python=".".join(map(str, sys.version_info[:3])),
        torch=installed_torch(),
        hora=__version__,
        cores=cores(),
        processors=os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        memory_limit=memory_limit(),
        gpus=gpus,
        topology=_nvidia(["topo", "-m"]) if len(gpus) > 1 else "",
        interfaces=_interfaces(),
        shm=_place(shm) if shm.is_dir() else None,
        temporary=_place(Path(tempfile.gettempdir())),
        home=_place(Path.home()),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        variables={name: value for name, value in sorted(os.environ.items()) if _matters(name)},
    )


def _matters(name: str) -> bool:
    return name != _SECRET and (name in _VARIABLES or name.startswith(_PREFIXES))


def _resolved(name: str) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(name, None)))
    except OSError:
        return ()


def _nvidia(arguments: list[str]) -> str:
    """What NVIDIA's tool prints; empty where it is not there, or does not answer."""
    if (program := shutil.which("nvidia-smi")) is None:
        return ""
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20)
        return done.stdout if done.returncode == 0 else ""
    return ""


def _gpu(line: str) -> Gpu:
    name, memory, driver = (part.strip() for part in line.rsplit(",", 2))
    return Gpu(name, int(memory) if memory.isdigit() else 0, driver)


def _interfaces() -> tuple[Interface, ...]:
    folder = Path("/sys/class/net")
    return tuple(
        Interface(
            name, tuple(addresses_of(name)), _read(folder / name / "operstate") != "down", _kind(name), _speed(name)
        )
        for _number, name in socket.if_nameindex()
    )


def _kind(name: str) -> str:
    if name.startswith("lo"):
        return "loopback"
    if name.startswith(_VIRTUAL):
        return "virtual"
    return "physical" if Path(f"/sys/class/net/{name}/device").exists() else "other"


def _speed(name: str) -> int | None:
    text = _read(Path(f"/sys/class/net/{name}/speed"))
    return int(text) if text.isdigit() and int(text) > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # a link that is down has no speed
        return ""


def _place(path: Path) -> Place:
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return Place(str(path), False, 0, 0)
    return Place(str(path), os.access(path, os.W_OK), usage.free, usage.total)
