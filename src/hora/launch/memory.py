"""Tells whether the kernel killed a process of this job's for want of memory, by counters read before and after.

A worker that the kernel kills leaves nothing but SIGKILL, which anybody may have sent. Linux counts such kills for each
memory cgroup, and for the whole host where a process is in none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_BYTES = 2**60  # version 1 writes "no limit" as the largest number of pages there could be


@dataclass(frozen=True)
class _Counter:
    """A file with a line ``oom_kill N``, and those that hold a limit on what its processes may use."""

    file: Path
    limits: tuple[Path, ...] = ()

    def read(self) -> int | None:
        """How many processes were killed so far; None where the file or the line is missing."""
        try:
            lines = self.file.read_text().splitlines()
        except OSError:
            return None
        found = [line.split()[1] for line in lines if line.startswith("oom_kill ")]
        return int(found[0]) if found else None


class OutOfMemory:
    """Looks at the kernel's counts of processes killed for want of memory, from now on.

    Parameters
    ----------
    root
        Where ``/proc`` and ``/sys`` are.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._counter: _Counter | None = None
        self._kills = 0
        for counter in _counters(root):
            if (kills := counter.read()) is not None:
                self._counter, self._kills = counter, kills
                break

    def explain(self) -> str | None:
        """Say of a process that SIGKILL ended whether the kernel did it, by which limit; None if it does not count.

        Each kill that was counted explains one process.
        """
        kills = None if self._counter is None else self._counter.read()
        if self._counter is None or kills is None:
            return None
        if kills <= self._kills:
            return "by somebody: the kernel counts no kill for want of memory"
        self._kills += 1
        if not self._counter.limits:
            return "the kernel killed a process of this host meanwhile: out of memory"
        limit = min(map(_limit, self._counter.limits))
        of = "" if limit >= _UNLIMITED_BYTES else f"; the cgroup's limit is {amount(limit)}"
        return f"by the kernel: out of memory{of}"


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process's control group allows, None where it sets no limit."""
    limits = [_limit(file) for counter in _counters(root) for file in counter.limits]
    return limit if (limit := min(limits, default=_UNLIMITED_BYTES)) < _UNLIMITED_BYTES else None


def _counters(root: Path) -> list[_Counter]:
    """List the counters that may hold for this process, its own cgroup's first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    counters = []
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        events, limit = (
            ("memory.oom_control", "memory.limit_in_bytes") if controllers else ("memory.events", "memory.max")
        )
        # In a container the path may be the host's, and the cgroup itself be mounted at the top.
        for place in (top / path.lstrip("/"), top):
            above = [place, *(parent for parent in place.parents if parent.is_relative_to(top))]
            counters.append(_Counter(place / events, tuple(parent / limit for parent in above)))
    return [*counters, _Counter(root / "proc/vmstat")]


def _limit(file: Path) -> int:
    """The limit in bytes that a file holds."""
    try:
        text = file.read_text().strip()
    except OSError:
        return _UNLIMITED_BYTES
    return int(text) if text.isdigit() else _UNLIMITED_BYTES


def amount(count: int) -> str:
    """A number of bytes in words, such as ``"2 GiB"``."""
    unit, size = ("GiB", 2**30) if count >= 2**30 else ("MiB", 2**20)
    return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count / size:.0f} {unit}"
