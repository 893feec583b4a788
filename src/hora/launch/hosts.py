"""The hosts of a job, as the command line or a file names them, and which worker goes where."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hora.errors import HoraError

_LINE = re.compile(
    r"""(?P<name> \[[^\]\s]+\] | [^\s:]+ )           # an address of IPv6 stands in brackets
        (?: : (?P<colon>\S+) | \s+ slots \s*=\s* (?P<slots>\S+) )?
        (?: \s+ max[-_]slots \s*=\s* \S+ )?          # of Open MPI's files
    """,
    re.VERBOSE,
)
LOCAL = "localhost"

_MEND = "Write NAME:SLOTS, such as a:4,b:4; in a file one host a line, as `a:4` or `a slots=4`."


@dataclass(frozen=True)
class Host:
    """A host and how many workers it takes.

    Attributes
    ----------
    name
        As ssh takes it: a name, an address, an alias of ssh's configuration, with ``user@`` before it if need be.
    slots
        How many workers it takes.
    """

    name: str
    slots: int

    @property
    def is_here(self) -> bool:
        """Whether it is this machine by its name, so that nothing needs to log in."""
        # The last asks a name server, which may take its time.
        return self.name in {LOCAL, "127.0.0.1", socket.gethostname()} or self.name == socket.getfqdn()


@dataclass(frozen=True)
class Place:
    """A worker's place: its numbers, and the host that it runs on.

    Attributes
    ----------
    host
        The host.
    rank, size
        The worker's number, and how many there are.
    local_rank, local_size
        The same among the workers of its host.
    host_rank, hosts
        The host's number, and how many hosts have workers.
    cross_rank, cross_size
        The worker's number, and how many there are, among the workers with this `local_rank`, one on each host.
    """

    host: Host
    rank: int
    size: int
    local_rank: int
    local_size: int
    host_rank: int
    hosts: int
    cross_rank: int
    cross_size: int


def parse_hosts(text: str) -> tuple[Host, ...]:
    """Read hosts as ``-H`` takes them: ``a:4,b:4``; without a number a host takes one worker.

    Raises
    ------
    HoraError
        A part is no host, or one is named twice.
    """
    return _at_least_one(f"-H {text}", text.split(","))


def read_hostfile(path: Path) -> tuple[Host, ...]:
    """Read a file with a host on each line, as ``a:4`` or ``a slots=4``; ``#`` starts a comment.

    Raises
    ------
    HoraError
        It cannot be read, a line is no host, or one is named twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HoraError(f"--hostfile {path}", f"it cannot be read: {error}", "Name a text file of hosts.") from error
    return _at_least_one(f"--hostfile {path}", lines)


def parse_lines(asked: str, lines: Iterable[str], slots: int = 1) -> tuple[Host, ...]:
    """Read lines with a host on each; none is an answer too, of a script that finds no host now.

    Parameters
    ----------
    asked
        What an error says was asked.
    lines
        The lines.
    slots
        How many workers a host takes that does not say it.

    Raises
    ------
    HoraError
        A line is no host, or one is named twice.
    """
    hosts = tuple(_host(asked, text, slots) for line in lines if (text := line.partition("#")[0].strip()))
    names = [host.name for host in hosts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise HoraError(asked, f"it names {twice} twice", "Give all its slots at once.")
    return hosts


def places(hosts: Sequence[Host], workers: int) -> tuple[Place, ...]:
    """Give each worker its place: the first host is filled first.

    Raises
    ------
    HoraError
        There are fewer than 1 workers, or more than slots.
    """
    if workers < 1:
        raise HoraError(f"run {workers} workers", "a run needs at least 1", "Ask for -n 1 or more.")
    slots = sum(host.slots for host in hosts)
    if workers > slots:
        names = ", ".join(f"{host.name}:{host.slots}" for host in hosts)
        raise HoraError(
            f"run {workers} workers", f"{names} has {slots} slots", f"Ask for -n {slots} or fewer, or name more hosts."
        )
    shares: list[tuple[Host, int]] = []
    for host in hosts:
        share = min(host.slots, workers - sum(taken for _, taken in shares))
        if share:
            shares.append((host, share))
    return tuple(
        Place(
            host=host,
            rank=sum(taken for _, taken in shares[:number]) + local,
            size=workers,
            local_rank=local,
            local_size=share,
            host_rank=number,
            hosts=len(shares),
            cross_rank=sum(taken > local for _, taken in shares[:number]),
            cross_size=sum(taken > local for _, taken in shares),
        )
        for number, (host, share) in enumerate(shares)
        for local in range(share)
    )


def _at_least_one(asked: str, lines: Iterable[str]) -> tuple[Host, ...]:
    hosts = parse_lines(asked, lines)
    if not hosts:
        raise HoraError(asked, "it names no host", _MEND)
    return hosts


def _host(asked: str, text: str, default: int) -> Host:
    match = _LINE.fullmatch(text)
    # A word that starts with a dash would be an option to ssh.
    if match is None or match["name"].startswith("-"):
        raise HoraError(asked, f"{text!r} is no host", _MEND)
    slots = match["colon"] or match["slots"] or str(default)
    if not slots.isdecimal() or int(slots) < 1:
        raise HoraError(asked, f"{text!r}: {slots!r} is no number of workers", _MEND)
    return Host(match["name"].strip("[]"), int(slots))
