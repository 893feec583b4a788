"""One observed run, as `verify` asks a worker process for it: a JSON file that all workers of the run read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hora.script import Knobs, Replay
from hora.script.events import Samples

PlannedPass = tuple[str, int, tuple[Samples, ...]]


@dataclass(frozen=True)
class Job:
    """What each worker of a run does.

    Attributes
    ----------
    script, args
        The script as it stands in the run's mirror, and its arguments.
    directory
        Where the run's traces go, one file per worker.
    mirror, work
        The root of the mirror that the script may write in, and its working directory there.
    reference
        Where the reference's steps are.
    records
        This run is the reference: it writes its steps there. Else `compares` tells whether it is held against it.
    by_steps
        As `Knobs.by_steps`.
    seed_by_worker
        Each worker starts with random numbers of its own, so that what the script does not equalise shows.
    replay
        The global batches to hand out, as ``(loader, pass, batches)``.
    permutation
        Seed of a permutation within each batch; None keeps the recorded order.
    uncut
        As `Replay.uncut`.
    joined
        As `Knobs.joined`.
    """

    script: str
    args: tuple[str, ...]
    directory: str
    mirror: str
    work: str
    reference: str
    records: bool
    compares: bool
    steps: int
    pass_length: int
    seed: int
    by_steps: bool
    seed_by_worker: bool
    neutralise: bool
    float64: bool
    digests: bool
    replay: tuple[PlannedPass, ...] = ()
    permutation: int | None = None
    uncut: tuple[str, ...] = ()
    joined: int = 1

    def write(self, path: Path) -> None:
        """Write the file that the workers read."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read it, in a worker."""
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name, value in fields.items():
            if isinstance(value, list):
                fields[name] = tuple(value)
        return cls(**fields)

    def knobs(self, rank: int) -> Knobs:
        """What worker `rank` overrides in the script's run."""
        recorded = {(loader, number): tuple(map(tuple, batches)) for loader, number, batches in self.replay}
        samples = Path(self.reference) / "samples"
        return Knobs(
            steps=self.steps,
            pass_length=self.pass_length,
            by_steps=self.by_steps,
            joined=self.joined,
            seed=self.seed + (1 + rank if self.seed_by_worker else 0),
            replay=Replay(recorded, self.permutation, None if self.records else samples, frozenset(self.uncut)),
            keep_samples=samples if self.records else None,
            neutralise=self.neutralise,
            float64=self.float64,
            digests=self.digests,
        )


def trace_path(directory: Path, rank: int) -> Path:
    """Where worker `rank` writes its events."""
    return directory / f"events-{rank}.jsonl"


def differences_path(directory: Path, rank: int) -> Path:
    """Where worker `rank` writes its differences from the reference."""
    return directory / f"differences-{rank}.jsonl"


def stack_path(directory: Path, rank: int) -> Path:
    """Where worker `rank` writes the lines that it is at when it is asked to end."""
    return directory / f"stack-{rank}.txt"
