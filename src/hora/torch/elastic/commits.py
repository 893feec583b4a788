"""Commits that outlive the process: files in memory (/dev/shm) and on local disk, two of each, signed and atomic."""

from __future__ import annotations

import hmac
import itertools
import os
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from hora.errors import HoraError

_KEPT = 2
_SIGNATURE_BYTES = 32
_ASKED = "state.commit()"

Number = tuple[int, int]
"""A commit's generation and its number: the later generation went on from the newest that there was."""


_states = itertools.count()
_opened: list[Commits] = []


class Commits:
    """The commits of one state of this job on this host.

    Attributes
    ----------
    memory, disk
        The directories, None where there is none.
    state
        Which of the script's states this is, counted from 0 in the order in which they were made.
    """

    def __init__(self, memory: Path | None, disk: Path | None, state: int = 0) -> None:
        self.memory, self.disk, self.state = memory, disk, state
        self._told: set[Path] = set()
        self._wake = threading.Condition()
        self._next: tuple[Number, bytes] | None = None
        self._busy = False
        self._disk_error: OSError | None = None
        self._thread: threading.Thread | None = None

    def write(self, number: Number, payload: bytes) -> None:
        """Keep a commit: in memory at once, on disk as soon as the one before is written.

        Raises
        ------
        HoraError
            Neither place takes it.
        """
        data = _sign(payload) + payload
        error = self._try(self.memory, number, data, sync=False)
        if self.disk is not None:
            with self._wake:
                self._next = (number, data)
                self._wake.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_to_disk, name="hora commits", daemon=True)
                self._thread.start()
        if error is not None:
            self.flush(60.0)
            if self.disk is None or self._disk_error is not None:
                raise HoraError(
                    _ASKED,
                    f"no place takes the commit: {self.memory}: {error}; {self.disk}: {self._disk_error}",
                    "Make room there",
                )

    def flush(self, seconds: float) -> None:
        """Wait until the disk has what was written, so long at most."""
        with self._wake:
            self._wake.wait_for(lambda: self._next is None and not self._busy, seconds)

    def newest(self) -> tuple[Number, bytes] | None:
        """Return the newest commit that is whole; one that is not is passed over with a message."""
        found: list[tuple[Number, Path]] = []
        for place in filter(None, (self.memory, self.disk)):
            if _is_ours(place):
                for torn in place.glob(f"commit-{self.state}-*.tmp"):
                    torn.unlink(missing_ok=True)
                found += self._listed(place)
        for number, path in sorted(found, key=lambda pair: pair[0], reverse=True):
            try:
                data = path.read_bytes()
            except OSError as error:
                _say(f"{path} is passed over: {error.strerror}")
                continue
            signature, payload = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
            if hmac.compare_digest(signature, _sign(payload)):
                return number, payload
            _say(f"{path} is passed over: its checksum does not fit; it is torn or was changed")
        return None

    def _write_to_disk(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._next is not None)
                assert self._next is not None
                (number, data), self._next, self._busy = self._next, None, True
            error = self._try(self.disk, number, data, sync=True)
            with self._wake:
                self._disk_error, self._busy = error, False
                self._wake.notify_all()

    def _try(self, place: Path | None, number: Number, data: bytes, *, sync: bool) -> OSError | None:
        """Write a commit; return why that failed, and say so once."""
        if place is None:
            return OSError("there is no such place")
        try:
            self._write_to(place, number, data, sync=sync)
        except OSError as error:
            if place not in self._told:
                self._told.add(place)
                _say(
                    f"{place} does not take a commit: {error.strerror or error}; training goes on with the other place"
                )
            return error
        self._told.discard(place)
        return None

    def _write_to(self, place: Path, number: Number, data: bytes, *, sync: bool) -> None:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(place):
            raise PermissionError(1, "the directory is not this user's alone")
        path = place / f"commit-{self.state}-{number[0]}-{number[1]}"
        written = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            with written.open("wb") as file:
                file.write(data)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            written.rename(path)
        except OSError:
            with suppress(OSError):
                written.unlink(missing_ok=True)
            raise
        for _, old in sorted(self._listed(place))[:-_KEPT]:
            old.unlink(missing_ok=True)

    def _listed(self, place: Path) -> list[tuple[Number, Path]]:
        """List the commits in a directory."""
        names = [(path, path.name.split("-")) for path in place.glob(f"commit-{self.state}-*-*")]
        return [((int(name[2]), int(name[3])), path) for path, name in names if all(map(str.isdecimal, name[1:]))]


def open_commits() -> Commits | None:
    """Find this job's places for the commits of one more state.

    Returns
    -------
    Commits or None
        None where the launcher starts no new generation, so that nobody would read them.
    """
    state = next(_states)
    memory, run_dir = os.environ.get("HORA_COMMIT_DIR"), os.environ.get("HORA_RUN_DIR")
    if os.environ.get("HORA_ELASTIC") != "1" or not memory:
        return None
    has_memory = Path(memory).parent.is_dir()
    commits = Commits(Path(memory) if has_memory else None, Path(run_dir) / "commits" if run_dir else None, state)
    _opened.append(commits)
    return commits


def flush_all(seconds: float) -> None:
    """Wait until local disk has what all states have committed, so long at most."""
    end = time.monotonic() + seconds
    for commits in _opened:
        commits.flush(max(0.0, end - time.monotonic()))


def _is_ours(place: Path) -> bool:
    """Whether a directory is there that nobody else can write to or read."""
    try:
        found = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _sign(payload: bytes) -> bytes:
    """Sign with the job's secret, which stays the same over its generations."""
    return hmac.digest(os.environ.get("HORA_SECRET", "").encode(), payload, "sha256")


def _say(what: str) -> None:
    print(f"hora: {what}", file=sys.stderr, flush=True)
