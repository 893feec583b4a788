"""Which hosts an elastic job may use now: always the same, or what a script of the user's prints."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from hora.errors import HoraError
from hora.launch.hosts import Host, parse_lines

POLL_SECONDS = 1.0
_SCRIPT_SECONDS = 60.0


class Discovery(Protocol):
    """Tells which hosts there are.

    Attributes
    ----------
    trouble
        What went wrong at the last look, None if nothing did.
    """

    trouble: str | None

    def hosts(self) -> Sequence[Host]:
        """Return the hosts that there are now."""


class Fixed:
    """Hosts that stay."""

    trouble: str | None = None

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = tuple(hosts)

    def hosts(self) -> Sequence[Host]:
        """Return the hosts."""
        return self._hosts


class Script:
    """A context within which a script is run again and again, in a thread; each line that it prints is ``NAME:SLOTS``.

    A look that fails changes nothing: a script that cannot reach its scheduler for a moment must not end a job.

    Parameters
    ----------
    path
        The script; it is executed without a shell.
    slots
        How many workers a host takes whose line does not say it.
    """

    def __init__(self, path: Path, slots: int = 1) -> None:
        self.trouble: str | None = None
        self._path, self._slots = path, slots
        self._hosts: tuple[Host, ...] = ()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="host discovery", daemon=True)

    def __enter__(self) -> Script:
        self._look()
        if self.trouble is not None:
            raise HoraError(
                f"--host-discovery-script {self._path}", self.trouble, "Let it print a line NAME:SLOTS for each host."
            )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(POLL_SECONDS)

    def hosts(self) -> Sequence[Host]:
        """Return what it last printed."""
        return self._hosts

    def _poll(self) -> None:
        while not self._end.wait(POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        try:
            done = subprocess.run(
                [str(self._path.absolute())],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SCRIPT_SECONDS,
                check=True,
            )
            self._hosts = parse_lines(f"--host-discovery-script {self._path}", done.stdout.splitlines(), self._slots)
            self.trouble = None
        except subprocess.CalledProcessError as error:
            self.trouble = f"it ended with status {error.returncode}: {error.stderr.strip()[-300:]}"
        except (OSError, UnicodeDecodeError, subprocess.TimeoutExpired, HoraError) as error:
            self.trouble = str(error)
