"""Looks at every host of a job, lets some workers measure what joins them, and judges what was found."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from hora.errors import HoraError
from hora.launch.cluster import Cluster
from hora.launch.doctor.facts import Facts, gather
from hora.launch.doctor.findings import Finding, Patient, judge
from hora.launch.doctor.links import Links
from hora.launch.generation import Site, run_generation
from hora.launch.hosts import Host, Place, places
from hora.launch.job import Job
from hora.launch.local import OneHost
from hora.launch.request import Request, discovery_of, launcher_of
from hora.launch.result import Line

SECONDS = 60.0
"""How long the workers may take to measure."""

_WORKERS = 2  # where neither GPUs nor the request say how many
_ANSWER_SECONDS = 30.0
_ALL_PAIRS = 8  # of so many hosts each is asked whether it reaches each other one


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes
    ----------
    hosts
        The hosts that could be reached, by the job's names for them.
    workers
        How many workers have measured.
    links
        What they have measured; None where they could not.
    findings
        What is wrong, the worst first.
    """

    hosts: dict[str, Facts]
    workers: int
    links: Links | None
    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """0 where nothing is wrong, else 1."""
        return 1 if self.findings else 0


def examine(request: Request, on_progress: Callable[[str], None] = lambda stage: None) -> Examination:
    """Examine the hosts of a request.

    Parameters
    ----------
    request
        Which hosts, and how many workers; without any, this host with a worker for each GPU, or two.
    on_progress
        Called with what is being done.

    Raises
    ------
    HoraError
        The request contradicts itself, or none of the hosts can be reached.
    """
    with ExitStack() as stack:
        hosts = list(discovery_of(request, stack).hosts())
        on_progress("asking the hosts")
        if all(host.is_here for host in hosts) and request.discovery_script is None:
            facts = gather()
            workers = request.workers or request.most or len(facts.gpus) or _WORKERS
            hosts = [replace(hosts[0], slots=max(workers, sum(host.slots for host in hosts)))]
            site: Site = OneHost()
            patients = [Patient(hosts[0].name, facts, workers)]
            trouble: list[Finding] = []
        else:
            cluster = stack.enter_context(
                Cluster(
                    launcher_of(request),
                    interface=request.interface,
                    on_notice=lambda notice: None,  # the clocks are measured better here
                    start_timeout=request.start_timeout,
                )
            )
            refused = cluster.reach(hosts)
            trouble = [_unreachable(name, error) for name, error in refused.items()]
            hosts = [host for host in hosts if host.name not in refused]
            if not hosts:
                raise next(iter(refused.values()))
            slots = sum(host.slots for host in hosts)
            workers = slots if request.workers is None else min(slots, request.workers)
            site = cluster
            patients = [_ask(cluster, host) for host in hosts]
            trouble += _separated(cluster, hosts)
        placed = places(hosts, workers)
        on_progress(f"measuring with {workers} workers")
        patients = _met(site, placed, patients)
        links, failure = _measure(site, placed)
    findings = [*trouble, *failure, *judge(patients, links)]
    return Examination(
        {patient.name: patient.facts for patient in patients},
        workers,
        links,
        tuple(sorted(findings, key=lambda finding: finding.level)),
    )


def _ask(cluster: Cluster, host: Host) -> Patient:
    """Ask a host what it is, and what time it is there."""
    facts = Facts.of_record(cluster.ask(host, {"ask": "facts"}, _ANSWER_SECONDS)["facts"])
    before = time.time()
    there = cluster.ask(host, {"ask": "clock"}, _ANSWER_SECONDS)["time"]
    return Patient(host.name, facts, 0, ahead=there - (before + time.time()) / 2)


def _unreachable(name: str, error: HoraError) -> Finding:
    return Finding("error", name, f"{error.asked}: {error.found}", "no worker can run there", error.mend)


def _separated(cluster: Cluster, hosts: Sequence[Host]) -> list[Finding]:
    """Find out which hosts do not reach which others, though this one reaches all."""
    found = []
    for listener in hosts:
        address = cluster.address(listener, hosts)
        port = cluster.ask(listener, {"ask": "listen", "address": address}, _ANSWER_SECONDS)["port"]
        for dialler in hosts:
            if dialler is listener or (len(hosts) > _ALL_PAIRS and hosts[0] not in (dialler, listener)):
                continue
            answer = cluster.ask(dialler, {"ask": "dial", "address": address, "port": port}, _ANSWER_SECONDS)
            if answer["refused"] is not None:
                found.append(
                    Finding(
                        "error",
                        None,
                        f"{dialler.name} does not reach {listener.name} at {address}, port {port}: {answer['refused']}",
                        "workers connect to each other at ports that the system chooses",
                        f"Open all ports above 1024 between them: nft list ruleset on {listener.name}, or a cloud's "
                        "security group, shows what is closed.",
                    )
                )
    return found


def _met(site: Site, placed: Sequence[Place], patients: Sequence[Patient]) -> list[Patient]:
    """Note how many workers each host has, and by which interface they meet."""
    with site.meeting(placed) as meeting:
        interfaces = meeting.interfaces
    counts = {patient.name: sum(place.host.name == patient.name for place in placed) for patient in patients}
    return [replace(one, workers=counts[one.name], interface=interfaces.get(one.name)) for one in patients]


def _measure(site: Site, placed: Sequence[Place]) -> tuple[Links | None, list[Finding]]:
    """Let the workers measure what joins them; return what they found, or why they could not."""
    told: list[str] = []

    def on_line(line: Line) -> None:
        if line.stream == "stdout" and line.text.startswith("{"):
            told.append(line.text)

    command = [sys.executable, "-u", "-m", "hora.torch.links"]
    env = {"HORA_TIMEOUT_SECONDS": str(SECONDS / 2)}
    job = Job(command, env, on_line=on_line, on_notice=lambda notice: None, timeout=SECONDS)
    result = run_generation(site, placed, job)
    if result.status == 0 and told:
        return Links.read(told[0]), []
    cause = result.first_failure
    why = f"they did not end within {SECONDS:g} s" if cause is None else f"{cause.who}: {cause.error or cause.how}"
    return None, [
        Finding(
            "error",
            None,
            f"{len(placed)} workers cannot work together: {why}",
            "any script would fail alike",
            "Mend what else is found here; else look at it by hand: hora run -m hora.torch.links",
        )
    ]
