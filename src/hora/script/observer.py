"""Run a script in this process, as `python SCRIPT ARGS` would, and report what it does.

Everything that is patched is patched here or in a context manager entered here, for the time that the script runs.
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

import hora.torch
from hora.script.augmentation import drawn_per_sample
from hora.script.batchnorm import synchronised_batch_norm
from hora.script.cutting import Cuts
from hora.script.digest import digest
from hora.script.events import BackwardRan, BatchLoaded, Event, OptimizerBegan, OptimizerStepped, Printed, RunEnded
from hora.script.joined import joined_batches
from hora.script.knobs import Knobs
from hora.script.latent import Draws, TorchDraws
from hora.script.latent_numpy import numpy_draws
from hora.script.naming import NamedTensor, Stepping, stepping
from hora.script.passes import Passes, StopRun
from hora.script.precision import float64
from hora.script.randomness import seed_everything, without_dropout
from hora.script.single_draws import SingleDraws


class StepListener(Protocol):
    """Reads (and may write) an optimizer's tensors around its innermost step."""

    def before_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Called when the gradients are as the optimizer will see them."""

    def after_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Called when the parameters are updated."""


class Observer:
    """The eyes on one run of one script, on worker `rank` of `size`."""

    def __init__(self, emit: Callable[[Event], None], knobs: Knobs, listener: StepListener | None = None) -> None:
        self._emit, self._knobs, self._listener = emit, knobs, listener
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self._singles = SingleDraws()
        self._passes = Passes(knobs, rank, size, self._emit_of_loaders)
        self._optimizers: dict[torch.optim.Optimizer, tuple[int, Stepping]] = {}
        self._steps = 0
        self._about_to_step: torch.optim.Optimizer | None = None
        self._neutralised: dict[str, None] = {}
        self._loaded: dict[str, None] = {}
        self._cuts = Cuts(self._passes, emit) if size > 1 else None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Patch torch and the standard output for as long as the context lasts."""
        with ExitStack() as patches:
            patches.enter_context(self._watch_loaders())
            patches.enter_context(self._watch_backward())
            patches.enter_context(self._watch_files())
            patches.enter_context(_Lines.watching(lambda line: self._emit(Printed(line))))
            for hook in (
                register_optimizer_step_pre_hook(_unwatched(self._before_step)),
                register_optimizer_step_post_hook(_unwatched(self._after_step)),
            ):
                patches.callback(hook.remove)
            draws = Draws(lambda: self._passes.batch, self._knobs.neutralise, self._emit, self._note_neutralised)
            patches.enter_context(TorchDraws(draws))
            patches.enter_context(numpy_draws(draws))
            if self._cuts is not None:
                patches.enter_context(self._cuts)
                self._passes.handed = self._cuts.begin
            patches.enter_context(self._singles.watching())
            if self._knobs.neutralise:
                patches.enter_context(without_dropout(self._note_neutralised))
                patches.enter_context(synchronised_batch_norm(self._note_neutralised))
                patches.enter_context(drawn_per_sample(self._note_neutralised, draws.collating))
            if self._knobs.joined > 1:
                patches.enter_context(joined_batches(self._knobs.joined))
            if self._knobs.float64:
                patches.enter_context(float64())
            yield

    def ended(self, *, status: int, stopped: bool, error: str | None) -> RunEnded:
        """Sum the run up."""
        neutralised, remarks = tuple(self._neutralised), tuple(self._passes.remarks)
        return RunEnded(status, stopped, error, neutralised, remarks, tuple(self._loaded))

    def _emit_of_loaders(self, event: Event) -> None:
        if isinstance(event, BatchLoaded):
            # What was drawn to load a batch is drawn per sample.
            self._singles.taken()
        self._emit(event)

    def _note_neutralised(self, what: str) -> None:
        self._neutralised[what] = None

    @contextmanager
    def _watch_loaders(self) -> Iterator[None]:
        walk, length = DataLoader.__iter__, DataLoader.__len__
        passes = self._passes
        DataLoader.__iter__ = lambda loader: passes.walk(loader, walk)  # type: ignore[method-assign, assignment, return-value]
        DataLoader.__len__ = lambda loader: passes.length(length(loader))  # type: ignore[method-assign]
        try:
            yield
        finally:
            DataLoader.__iter__ = walk  # type: ignore[method-assign]
            DataLoader.__len__ = length  # type: ignore[method-assign]

    @contextmanager
    def _watch_backward(self) -> Iterator[None]:
        backward = torch.autograd.backward

        def watched(tensors: Any, *args: Any, **kwargs: Any) -> None:
            backward(tensors, *args, **kwargs)
            starts = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
            whole = all(start.numel() == 1 for start in starts)
            self._emit(BackwardRan(float(sum(start.detach().double().item() for start in starts)) if whole else None))

        # Tensor.backward looks this name up at each call, so both ways into the engine pass here.
        torch.autograd.backward = watched
        try:
            yield
        finally:
            torch.autograd.backward = backward

    @contextmanager
    def _watch_files(self) -> Iterator[None]:
        load = torch.load

        def watched(f: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(f, str | os.PathLike):
                self._loaded[os.fspath(f)] = None
            return load(f, *args, **kwargs)

        torch.load = watched
        try:
            yield
        finally:
            torch.load = load

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # A subclass that calls super().step() passes here twice; only the innermost, the last before a post hook,
        # counts.
        by_steps = self._knobs.by_steps or not self._passes.training
        if self._about_to_step is not optimizer and by_steps and self._steps >= self._knobs.steps:
            raise StopRun
        self._about_to_step = optimizer
        index, stepped = self._known(optimizer)
        if self._listener is not None and not _has_closure(args, kwargs):
            self._listener.before_step(self._steps, index, stepped)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        if self._about_to_step is not optimizer:
            return
        self._about_to_step = None
        index, stepped = self._known(optimizer)
        if self._listener is not None:
            if _has_closure(args, kwargs):
                self._listener.before_step(self._steps, index, stepped)
            self._listener.after_step(self._steps, index, stepped)
        self._passes.note_step()
        rates = tuple(float(group.get("lr", float("nan"))) for group in optimizer.param_groups)
        random = digest(torch.get_rng_state()) if self._knobs.digests else ""
        digests, singles = self._digests(stepped.parameters), self._singles.taken()
        self._emit(OptimizerStepped(self._steps, index, rates, digests, random, singles))
        self._steps += 1

    def _known(self, optimizer: torch.optim.Optimizer) -> tuple[int, Stepping]:
        known = self._optimizers.get(optimizer)
        if known is None or len(known[1].parameters) != sum(len(group["params"]) for group in optimizer.param_groups):
            known = (len(self._optimizers) if known is None else known[0]), stepping(optimizer)
        if optimizer not in self._optimizers:
            self._emit(OptimizerBegan(known[0], self._digests(known[1].parameters)))
        self._optimizers[optimizer] = known
        return known

    def _digests(self, parameters: tuple[NamedTensor, ...]) -> tuple[tuple[str, str], ...]:
        return tuple((p.name, digest(p.tensor)) for p in parameters) if self._knobs.digests else ()


def _unwatched(hook: Callable[[torch.optim.Optimizer, Any, Any], None]) -> Callable[..., None]:
    """Return a hook whose own work with tensors is not watched, which would take as long as the work."""

    def unwatched(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        with torch._C.DisableTorchFunction():
            hook(optimizer, args, kwargs)

    return unwatched


_left: list[object] = []
"""What a script has left behind, kept until the process ends.

A process group of torch that is taken apart waits, holding Python's lock, for its threads; one that is just letting go
of a finished operation waits for that lock (torch 2.13, Gloo, with DistributedDataParallel).
"""


def observe(
    script: Path,
    args: Sequence[str],
    emit: Callable[[Event], None],
    knobs: Knobs,
    listener: StepListener | None = None,
) -> RunEnded:
    """Run `script` with `args` in this process under `knobs`, and tell `emit` what happens.

    The last event, which is also returned, says how the run ended. Nothing that the script raises leaves this function.

    Parameters
    ----------
    script
        A Python file; it sees itself as ``__main__``, and its own directory first on ``sys.path``.
    args
        Its arguments.
    emit
        Called with each event, in order, in the script's own thread of execution.
    knobs
        What is overridden.
    listener
        Reads the tensors around each optimizer step.
    """
    observer = Observer(emit, knobs, listener)
    sys.argv = [str(script), *args]
    sys.path[0] = str(script.parent)
    if find_spec("horovod") is None:
        sys.path.append(str(Path(hora.torch.__file__).with_name("standin")))
    seed_everything(knobs.seed)
    status, stopped, error = 0, False, None
    try:
        with observer.watching():
            _left.append(runpy.run_path(str(script), run_name="__main__"))
    except StopRun as stop:
        _left.append(stop)
        stopped = True
    except SystemExit as exit_:
        _left.append(exit_)
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException as failure:
        _left.append(failure)
        status, error = 1, _script_traceback(failure, script)
    _left.append(observer)
    ended = observer.ended(status=status, stopped=stopped, error=error)
    emit(ended)
    return ended


def _has_closure(args: Any, kwargs: Any) -> bool:
    # The hooks see step's own arguments, the optimizer first.
    return (len(args) > 1 and args[1] is not None) or kwargs.get("closure") is not None


def _script_traceback(failure: BaseException, script: Path) -> str:
    """Format an exception as the script's own interpreter would have: from its first frame on."""
    frames = failure.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != str(script):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(failure), failure, frames or failure.__traceback__))


class _Lines:
    """Standard output that is passed on, and reported line by line."""

    def __init__(self, out: TextIO, report: Callable[[str], None]) -> None:
        self._out, self._report, self._line = out, report, ""

    def write(self, text: str) -> int:
        *whole, self._line = (self._line + text).split("\n")
        for line in whole:
            self._report(line)
        return self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)

    @classmethod
    @contextmanager
    def watching(cls, report: Callable[[str], None]) -> Iterator[None]:
        out = sys.stdout
        lines = cls(out, report)
        sys.stdout = lines
        try:
            yield
        finally:
            sys.stdout = out
            if lines._line:
                report(lines._line)
