"""Several hosts as one site: reaches their agents, sees that the job can run there, finds where workers can meet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hora import __version__
from hora.errors import HoraError
from hora.launch.connection import Connection
from hora.launch.environment import installed_torch, seconds
from hora.launch.frames import Message
from hora.launch.generation import Meeting
from hora.launch.hosts import Host, Place
from hora.launch.launcher import Here, Launcher
from hora.launch.process import Starter

PATIENCE_SECONDS = 30.0
"""Without a sign of life for so long a host is given up, and the workers on it end themselves, unless
``HORA_HOST_SECONDS`` says else."""

_START_SECONDS = 30.0
# What belongs to a host or a login and is not carried to another one.
_OWN = frozenset(
    {"HOME", "USER", "LOGNAME", "SHELL", "SHLVL", "PWD", "OLDPWD", "HOSTNAME", "TERM", "TMPDIR", "DISPLAY", "MAIL", "_"}
)
_OWN_PREFIXES = ("SSH_", "XDG_", "DBUS_", "BASH_FUNC_")


@dataclass(frozen=True)
class _Answer:
    """What an agent said of its host."""

    connection: Connection
    hello: Message


class Cluster:
    """A context within which the agents of several hosts serve; a `hora.launch.generation.Site`.

    Parameters
    ----------
    launcher
        What starts an agent on another host.
    paths
        Files and directories that must be there on each host.
    interface
        The network interface to use on each host, by default the one that it is reached by.
    on_notice
        Called with what there is to say.
    patience
        Seconds without a sign of life after which a host is given up; by default as `PATIENCE_SECONDS` says.
    start_timeout
        Seconds until a host must have answered.
    """

    def __init__(
        self,
        launcher: Launcher,
        *,
        paths: Iterable[Path] = (),
        interface: str | None = None,
        on_notice: Callable[[str], None],
        patience: float | None = None,
        start_timeout: float = _START_SECONDS,
    ) -> None:
        self._launcher, self._interface, self._on_notice = launcher, interface, on_notice
        self._paths = [str(path.absolute()) for path in paths]
        self._patience = seconds("HORA_HOST_SECONDS", PATIENCE_SECONDS) if patience is None else patience
        self._start_timeout = start_timeout
        self._answers: dict[str, _Answer] = {}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop(list(self._answers))

    def reach(self, hosts: Iterable[Host]) -> dict[str, HoraError]:
        """Connect to those of the hosts that have no agent yet; let go of those that lost theirs.

        Returns
        -------
        dict of str to HoraError
            By the names of the hosts that cannot be used, why.
        """
        self._drop([name for name, answer in self._answers.items() if answer.connection.lost is not None])
        new = [host for host in hosts if host.name not in self._answers]
        if not new:
            return {}
        with ThreadPoolExecutor(len(new)) as pool:
            found = dict(zip([host.name for host in new], pool.map(self._connect, new), strict=True))
        self._answers.update({name: answer for name, answer in found.items() if isinstance(answer, _Answer)})
        return {name: error for name, error in found.items() if isinstance(error, HoraError)}

    @contextmanager
    def meeting(self, places: Sequence[Place]) -> Iterator[Meeting]:
        """Find where these workers can meet, and keep the port for them.

        Raises
        ------
        HoraError
            A host does not answer, or has no such interface.
        """
        hosts = list(dict.fromkeys(place.host for place in places))
        prepared: dict[str, Message] = {}
        for host in hosts:
            request = {"ask": "prepare", "address": self.address(host, hosts), "listens": host is hosts[0]}
            answer = self._answers[host.name].connection.ask({**request, "interface": self._interface}, self._patience)
            prepared[host.name] = answer
        first = prepared[hosts[0].name]
        yield Meeting(first["address"], first["port"], {name: one["interface"] for name, one in prepared.items()})

    def ask(self, host: Host, message: Message, timeout: float) -> Message:
        """Ask a host's agent something; raises HoraError where it does not answer in time, or cannot do it."""
        return self._answers[host.name].connection.ask(message, timeout)

    def starter(self, host: Host) -> Starter:
        """Return what starts a worker on a host."""
        return self._answers[host.name].connection.start

    def environment(self) -> dict[str, str]:
        """Return what of this process's environment a worker gets: all but what belongs to this host or login."""
        return {
            name: value for name, value in os.environ.items() if name not in _OWN and not name.startswith(_OWN_PREFIXES)
        }

    def host_environment(self, place: Place, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return nothing: the host's agent adds it."""
        return {}

    def touch(self, host: Host, path: str) -> None:
        """Make an empty file on a host."""
        self._answers[host.name].connection.touch(path)

    def remove(self, path: str) -> None:
        """Remove a directory on every host that is still reached."""
        for answer in self._answers.values():
            answer.connection.remove(path)

    def write(self, host: Host, path: Path, data: bytes) -> None:
        """Write a file on a host, and make its directory."""
        self._answers[host.name].connection.write(str(path), data)

    def read(self, host: Host, path: Path) -> bytes | None:
        """Read a file of a host; None where there is none."""
        return self._answers[host.name].connection.read(str(path))

    def lost(self, hosts: Sequence[Host]) -> bool:
        """Whether one of these hosts has been lost since it was reached."""
        return any(self._answers[host.name].connection.lost is not None for host in hosts)

    def _connect(self, host: Host) -> _Answer | HoraError:
        """Start an agent on a host and let it say what it finds there."""
        launcher: Launcher = Here() if host.is_here else self._launcher
        connection = Connection(host, launcher.command(host), self._patience)
        try:
            connection.__enter__()
        except HoraError as error:
            return error
        try:
            request = {"ask": "hello", "patience": self._patience, "paths": self._paths}
            hello = connection.ask(request, self._start_timeout)
            self._check(host, hello)
        except HoraError as error:
            refused = connection.lost is not None and not connection.answered
            connection.__exit__(None, None, None)
            return launcher.explain(host, list(connection.said)) if refused and connection.said else error
        return _Answer(connection, hello)

    def _check(self, host: Host, hello: Message) -> None:
        """Refuse a host where the job cannot run as it does here."""
        asked = f"use host {host.name}"
        if hello["missing"]:
            raise HoraError(
                asked,
                f"there is no {hello['missing'][0]} there",
                "Start the job in a directory that all hosts share, or copy it to the same path on each.",
            )
        mine = {"hora": __version__, "torch": installed_torch(), "python": _python(sys.version.split()[0])}
        theirs = {"hora": hello["hora"], "torch": hello["torch"], "python": _python(hello["python"])}
        for name, version in mine.items():
            if theirs[name] != version:
                raise HoraError(
                    asked,
                    f"it has {name} {theirs[name] or 'not at all'}, this host {version or 'none'}",
                    "Give every host the same versions: workers that differ compute differently, or not at all.",
                )
        if (skew := abs(hello["time"] - time.time())) > self._patience:
            self._on_notice(f"the clock of {host.name} differs by {skew:.0f} s from this host's")

    def address(self, host: Host, hosts: Sequence[Host]) -> str:
        """Return the address that the other hosts of a generation reach a host by."""
        if len(hosts) == 1:
            return "127.0.0.1"
        hello = self._answers[host.name].hello
        if hello["address"] is not None:
            return str(hello["address"])
        # This one: what the others see as the other end of their connection.
        seen = [self._answers[other.name].hello["launcher"] for other in hosts]
        return next((str(address) for address in seen if address is not None), "127.0.0.1")

    def _drop(self, names: Iterable[str]) -> None:
        dropped = [self._answers.pop(name).connection for name in names]
        with ThreadPoolExecutor(max(1, len(dropped))) as pool:
            list(pool.map(lambda connection: connection.__exit__(None, None, None), dropped))


def _python(version: str) -> str:
    """Of a version of Python, what decides whether pickles and packages fit."""
    return ".".join(version.split(".")[:2])
