"""What the launcher knows of its workers while they run: each one's last heartbeat, when it came, and its process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from hora.launch.heartbeats import Heartbeat, read
from hora.launch.worker import Worker

SECONDS = 0.5
"""How often the workers are looked at."""

SILENT_SECONDS = 10.0
"""A worker without a heartbeat for so long is frozen, or as good as that."""


@dataclass(frozen=True)
class Vital:
    """A worker's sign of life.

    Attributes
    ----------
    rank, who
        Which worker, by its number and in words.
    beat
        Its last heartbeat, None before the first.
    silent
        Seconds since that came.
    state
        The letter that Linux has for the state of its process.
    ended
        Whether its process has ended.
    """

    rank: int
    who: str
    beat: Heartbeat | None = None
    silent: float = 0.0
    state: str = "?"
    ended: bool = False

    @property
    def frozen(self) -> bool:
        """Whether it lives and cannot run: by SIGSTOP, or because a debugger holds it."""
        return not self.ended and self.state in ("T", "t")


class Vitals:
    """Looks at the workers of a generation every half second."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._looked_at = 0.0

    def look(self, workers: Sequence[Worker]) -> Sequence[Vital] | None:
        """Return each worker's signs of life; None where it is not time yet to look again."""
        now = time.monotonic()
        if now - self._looked_at < SECONDS:
            return None
        self._looked_at = now
        return [self._vital(worker, now) for worker in workers]

    def _vital(self, worker: Worker, now: float) -> Vital:
        data, since = self._seen.get(worker.rank, (b"", now))
        ended = worker.ended_at is not None
        fresh = b"" if ended else worker.heartbeat()
        if fresh and fresh != data:
            data, since = self._seen[worker.rank] = fresh, now
        return Vital(worker.rank, worker.who, read(data), now - since, "" if ended else worker.state(), ended)
