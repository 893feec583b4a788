"""How an examination is shown: what each host is, what was measured, what is wrong."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hora.launch.doctor.examination import Examination
from hora.launch.doctor.facts import Facts
from hora.launch.doctor.findings import Finding
from hora.launch.doctor.links import Links
from hora.launch.memory import amount

_COLOURS = {"error": "red", "warning": "yellow"}


def show(examination: Examination, console: Console) -> None:
    """Print an examination for a reader."""
    for name, facts in examination.hosts.items():
        _say(console, name if name == facts.name else f"{name} ({facts.name})", "bold")
        for what, value in host_rows(facts):
            _say(console, f"  {what:<12}{value}")
    if examination.links is not None:
        _say(console, f"{examination.workers} worker{'s' if examination.workers > 1 else ''}", "bold")
        for what, value in link_rows(examination.links):
            _say(console, f"  {what:<12}{value}")
    for finding in examination.findings:
        _say(console, "")
        where = "" if finding.host is None else f"{finding.host}: "
        _say(console, f"{finding.level}: {where}{finding.found}", _COLOURS[finding.level])
        _say(console, f"  why   {finding.why}")
        _say(console, f"  mend  {finding.mend}")
    _say(console, "")
    _say(console, verdict(examination.findings), "bold")


def verdict(findings: tuple[Finding, ...]) -> str:
    """Return in one line what is wrong."""
    if not findings:
        return "nothing is wrong"
    counts = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning")}
    return ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts.items() if count)


def host_rows(facts: Facts) -> list[tuple[str, str]]:
    """Return what a host is, as names and values."""
    rows = [
        ("versions", f"Python {facts.python}, torch {facts.torch or 'not installed'}, Hora {facts.hora}"),
        ("processor", f"{facts.cores} of {facts.processors} cores"),
        ("memory", _memory(facts)),
        *[
            (f"GPU {index}", f"{gpu.name}, {gpu.memory / 1024:.0f} GiB, driver {gpu.driver}")
            for index, gpu in enumerate(facts.gpus)
        ],
        *[
            (one.name, ", ".join([one.kind, *one.addresses, *([f"{one.speed} Mbit/s"] if one.speed else [])]))
            for one in facts.interfaces
            if one.up and one.addresses
        ],
        *[
            (place.path, f"{amount(place.free)} free of {amount(place.size)}")
            for place in (facts.shm, facts.temporary, facts.home)
            if place is not None
        ],
        *(("set", f"{name}={value}") for name, value in facts.variables.items()),
    ]
    return rows + ([("topology", "\n" + facts.topology.rstrip())] if facts.topology else [])


def link_rows(links: Links) -> list[tuple[str, str]]:
    """Return what was measured, as names and values."""
    start = "" if links.import_seconds is None else f"{links.import_seconds:.1f} s until torch is imported, "
    built = ", ".join(name for name, there in links.built.items() if there)
    rows = [
        ("start", f"{start}{links.meet_seconds:.2f} s to meet"),
        ("engine", f"{links.backend}; built with {built}"),
        ("computes on", links.accelerator or "the processor"),
    ]
    if links.latency_seconds is not None:
        rows.append(("latency", f"{1e6 * links.latency_seconds:.0f} us for an allreduce of one number"))
    for size, rate in (links.allreduce or {}).items():
        rows.append(("allreduce", f"{size / 2**20:.0f} MiB: {_rate(rate)} (bus bandwidth)"))
    for first, second, rate in links.pairs:
        rows.append(("link", f"worker {first} to worker {second}: {_rate(rate)}"))
    return rows


def _memory(facts: Facts) -> str:
    limit = "" if facts.memory_limit is None else f", of which {amount(facts.memory_limit)} may be used"
    return f"{amount(facts.memory)}{limit}"


def _rate(rate: float) -> str:
    return f"{rate / 1e9:.2f} GB/s = {8 * rate / 1e9:.1f} Gbit/s"


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True)
