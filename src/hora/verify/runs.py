"""Start the observed runs of a verification, and read back what their workers saw."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from hora.launch import local
from hora.launch.result import RunResult
from hora.launch.stop import Stop
from hora.script.events import (
    BatchLoaded,
    Event,
    FilesWritten,
    OptimizerStepped,
    PassBegan,
    PassEnded,
    PassPlanned,
    Printed,
    RunEnded,
    Samples,
)
from hora.script.mirror import Mirror
from hora.script.trace import read_trace
from hora.verify.job import Job, PlannedPass, differences_path, stack_path, trace_path
from hora.verify.reference import TensorDifference, read_differences
from hora.verify.zygotes import Pair, threads

_E = TypeVar("_E", bound=Event)


@dataclass(frozen=True)
class Script:
    """A script as it will be run: its file, its arguments, and what files hold here if that is not what they hold.

    `joined` tells how many of its batches one worker trains on at once: see `hora.script.joined`.
    """

    path: Path
    args: tuple[str, ...]
    texts: tuple[tuple[Path, bytes], ...] = ()
    joined: int = 1


@dataclass(frozen=True)
class Run:
    """What the workers of one run saw, by rank."""

    workers: int
    events: tuple[tuple[Event, ...], ...]
    differences: tuple[tuple[TensorDifference, ...], ...]
    result: RunResult
    lines: tuple[int | None, ...] = ()
    """For each worker the line of the script that it was at when it was asked to end, None where it was not."""
    left: Mapping[str, Path] = field(default_factory=dict)
    """What the script has left, by the paths that it would have had outside the mirror; kept of compared runs."""

    def of(self, kind: type[_E], rank: int = 0) -> Iterator[_E]:
        """The events of one kind that a worker saw, in order."""
        return (event for event in self.events[rank] if isinstance(event, kind))

    def steps(self, rank: int = 0) -> tuple[OptimizerStepped, ...]:
        """The optimizer steps of a worker."""
        return tuple(self.of(OptimizerStepped, rank))

    def printed(self, rank: int = 0) -> tuple[str, ...]:
        """The lines that a worker printed."""
        return tuple(line.text for line in self.of(Printed, rank))

    @property
    def failed(self) -> bool:
        """Whether the script failed on any worker, or did not end in time."""
        return self.result.status != 0

    @property
    def error(self) -> str | None:
        """The traceback or exit of the worker that failed first."""
        failure = self.result.first_failure
        if failure is None:
            return "it did not end in time" if self.result.timed_out else None
        ended = next(self.of(RunEnded, failure.rank), None)
        return ended.error if ended is not None and ended.error else failure.traceback or failure.how

    def ended(self) -> Iterator[RunEnded]:
        """How the run ended, for each worker that came to say so."""
        for rank in range(self.workers):
            yield from self.of(RunEnded, rank)

    def training_passes(self) -> tuple[PlannedPass, ...]:
        """The passes whose batches an optimizer stepped on, with their global batches.

        Those are the passes that were handed out from last before a step. Where the first step takes a batch of each of
        several loaders, and at least every other step does, all of these train.
        """
        planned: dict[tuple[str, int], PlannedPass] = {}
        training: dict[tuple[str, int], None] = {}
        loaded: tuple[str, int] | None = None
        since: dict[tuple[str, int], None] = {}
        steps: list[dict[tuple[str, int], None]] = []
        for event in self.events[0]:
            if isinstance(event, PassPlanned):
                planned[event.loader, event.number] = (event.loader, event.number, event.batches)
            elif isinstance(event, OptimizerStepped) and loaded is not None:
                training[loaded] = None
                steps += [since] if since else []
                since = {}
            elif isinstance(event, BatchLoaded):
                loaded = (event.loader, event.number)
                since[loaded] = None
            elif isinstance(event, PassEnded) and (event.loader, event.number) not in training:
                since.pop((event.loader, event.number), None)
                loaded = None if loaded == (event.loader, event.number) else loaded
        often = Counter(name for step in steps for name in {name for name, _ in step})
        together = {name for name, _ in steps[0] if 2 * often[name] >= len(steps)} if steps else set()
        training |= {key: None for step in steps for key in step if key[0] in together}
        return tuple(
            (*key, self._handed(key) if key[0] in self.streams else planned[key][2])
            for key in training
            if key in planned
        )

    @cached_property
    def streams(self) -> frozenset[str]:
        """The loaders over streams."""
        return frozenset(began.loader for began in self.of(PassBegan) if began.stream)

    def _handed(self, key: tuple[str, int]) -> tuple[Samples, ...]:
        return tuple(batch.samples for batch in self.of(BatchLoaded) if (batch.loader, batch.number) == key)

    def replayed_passes(self) -> tuple[PlannedPass, ...]:
        """All passes over the loaders that train, with their global batches.

        A script that evaluates on its training data prints what it finds on the batches of such a pass, too.
        """
        loaders = {loader for loader, _, _ in self.training_passes()}
        planned = {
            (event.loader, event.number): (event.loader, event.number, event.batches)
            for event in self.events[0]
            if isinstance(event, PassPlanned) and event.loader in loaders
        }
        return tuple(planned.values())


class Runner:
    """Runs observed scripts, each in a mirror of the directory it is called in.

    Parameters
    ----------
    directory
        Where traces, mirrors and the reference go.
    zygotes
        What the workers are forked from.
    steps
        How many batches (or optimizer steps) each run trains on; its passes are half as long.
    seed
        The state of the random numbers that the reference starts with.
    timeout
        Seconds that a run may take.
    """

    def __init__(self, directory: Path, *, zygotes: Pair, steps: int, seed: int, timeout: float) -> None:
        self._directory, self._steps, self._seed, self._timeout = directory, steps, seed, timeout
        self._zygotes = zygotes
        self._stop = Stop()

    def stop(self) -> None:
        """End the runs that are under way, in whichever threads, and those that come."""
        self._stop.request()
        for zygote in self._zygotes:
            zygote.give_up()

    def beside(self, name: str) -> Runner:
        """The same, with a reference of its own."""
        other = copy(self)
        other._directory = self._directory / name
        return other

    def run(
        self,
        name: str,
        script: Script,
        workers: int,
        *,
        records: bool = False,
        compares: bool = False,
        free: bool = False,
        float64: bool = False,
        replay: Sequence[PlannedPass] = (),
        permutation: int | None = None,
        uncut: Sequence[str] = (),
        by_steps: bool = False,
    ) -> Run:
        """Run `script` on `workers`; `free` lets it draw its own batches and dropout, from unequal random states."""
        here = self._directory / name
        here.mkdir(parents=True)
        temporary = here / "tmp"
        temporary.mkdir()
        mirror = Mirror(here / "mirror")
        staged, work = stage(script, mirror)
        job = Job(
            script=str(staged),
            args=script.args,
            directory=str(here),
            mirror=str(mirror.root),
            work=str(work),
            reference=str(self._directory / ("reference-64" if float64 else "reference-32")),
            records=records,
            compares=compares,
            steps=self._steps,
            pass_length=max(1, self._steps // 2),
            seed=self._seed,
            by_steps=by_steps,
            seed_by_worker=free,
            neutralise=not free,
            float64=float64,
            digests=free,
            replay=tuple(replay),
            permutation=permutation,
            uncut=tuple(uncut),
            joined=script.joined,
        )
        job.write(here / "job.json")
        env = {
            "TMPDIR": str(temporary),
            **threads(),
            "HORA_TIMEOUT_SECONDS": str(min(60.0, self._timeout)),
        }
        command = ["hora.verify.worker", str(here / "job.json")]
        result = local.run(
            command,
            workers,
            env=env,
            timeout=self._timeout,
            stop=self._stop,
            on_notice=_unheard,
            start=lambda command, env, *rest: self._zygotes[env["RANK"] != "0"].start(command, env, *rest),
        )
        run = _read(here, workers, result, staged)
        if records or compares:
            run = replace(run, left=_kept(run, mirror.root, here / "left"))
        shutil.rmtree(mirror.root, ignore_errors=True)
        return run


def _unheard(notice: str) -> None:
    """The launcher's remarks on its workers are no part of the verdict."""


def _read(here: Path, workers: int, result: RunResult, staged: Path) -> Run:
    ranks = range(workers)
    events = tuple(read_trace(trace_path(here, rank)) for rank in ranks)
    differences = tuple(read_differences(differences_path(here, rank)) for rank in ranks)
    return Run(workers, events, differences, result, tuple(_line(stack_path(here, rank), staged) for rank in ranks))


def _kept(run: Run, mirror: Path, place: Path) -> dict[str, Path]:
    """Move what the workers have left out of their mirror."""
    place.mkdir()
    left: dict[str, Path] = {}
    for path in (path for rank in range(run.workers) for files in run.of(FilesWritten, rank) for path in files.paths):
        origin, kept = Path(f"{mirror}{path}"), place / f"{len(left)}{Path(path).suffix}"
        if path not in left and origin.is_file():
            left[path] = origin.rename(kept)
    return left


def _line(stack: Path, staged: Path) -> int | None:
    """The innermost line of the script in what `faulthandler` has written, the most recent call first."""
    text = stack.read_text(encoding="utf-8", errors="replace") if stack.exists() else ""
    found = re.search(rf'File "{re.escape(str(staged))}", line (\d+)', text)
    return int(found[1]) if found else None


def stage(script: Script, mirror: Mirror) -> tuple[Path, Path]:
    """Where the script lies in the mirror, with its files' texts in place, and the working directory there."""
    path = script.path.absolute()
    work = mirror.contents(Path.cwd())
    staged = mirror.sources(path.parent) / path.name
    for file, text in script.texts:
        origin = file.absolute().resolve()
        place = staged if origin == path.resolve() else mirror.sources(origin.parent) / origin.name
        place.unlink(missing_ok=True)
        place.write_bytes(text)
    return staged, work
