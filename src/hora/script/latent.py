"""Random numbers that a training step draws for its batch, such as a GAN's latent noise: watched, or drawn per sample.

Where a draw has one row for each sample of the batch, each row can come from a stream of its own, seeded by its sample.
A worker then draws for its slice what one worker draws for those samples, in whatever order they come; and a worker
that draws for the whole global batch and takes its slice does, too. The stream that the script draws from is left where
it was, so that what is drawn later for no batch, such as samples at the end of an epoch, is the same as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hora.script.digest import digest
from hora.script.events import BatchDrew, Samples

_NORMAL = (torch.randn, torch.randn_like, torch.Tensor.normal_, torch.normal)
_UNIFORM = (torch.rand, torch.rand_like, torch.Tensor.uniform_, torch.randint)
_EXPONENTIAL = (torch.Tensor.exponential_,)
_CHANCE = (torch.bernoulli, torch.Tensor.bernoulli)
_DRAWING = frozenset({*_NORMAL, *_UNIFORM, *_EXPONENTIAL, *_CHANCE})


@dataclass(frozen=True)
class Batch:
    """The batch that a step is on: where it stands, its samples on this worker, and those of the whole global batch."""

    seed: int
    loader: str
    number: int
    index: int
    own: Samples
    whole: Samples

    @property
    def name(self) -> str:
        """What tells it from all others, and is the same in each run."""
        return f"{self.seed} {self.loader} {self.number} {self.index}"


class Draws:
    """Watches the draws that have a row for each sample, while `batch()` gives a batch.

    Parameters
    ----------
    batch
        The batch that the script is on, None where it is on none.
    per_sample
        Whether to draw the rows anew, each by its sample.
    emit
        Told of each draw for the samples of this worker.
    note
        Told if rows are drawn anew.
    """

    def __init__(
        self,
        batch: Callable[[], Batch | None],
        per_sample: bool,
        emit: Callable[[BatchDrew], None],
        note: Callable[[str], None],
    ) -> None:
        self._of_step, self._per_sample, self._emit, self._note = batch, per_sample, emit, note
        self._of: str | None = None
        self._draws = 0
        self._collated: Batch | None = None

    @property
    def anew(self) -> bool:
        """Whether a draw may be one whose rows are drawn anew."""
        return self._per_sample and self._batch() is not None

    @contextmanager
    def collating(self, samples: Samples) -> Iterator[None]:
        """Take draws for those of samples that a loader puts together, such as the masks of a masked language model."""
        step = self._of, self._draws
        self._collated, self._of = Batch(0, "collate", 0, 0, samples, samples), None
        try:
            yield
        finally:
            self._collated = None
            self._of, self._draws = step

    def _batch(self) -> Batch | None:
        """Give the batch that draws are for."""
        return self._collated or self._of_step()

    def begin(self, rows: int) -> tuple[str, ...] | None:
        """Name the rows of a draw that are to be drawn anew; None where it is not one for a batch's samples."""
        batch = self._batch()
        samples = {len(batch.whole): batch.whole, len(batch.own): batch.own}.get(rows) if batch is not None else None
        if batch is None or samples is None:
            return None
        if batch.name != self._of:
            self._of, self._draws = batch.name, 0
        self._draws += 1
        if not self._per_sample:
            return ()
        self._note("random numbers of the batch, drawn per sample")
        return tuple(f"{batch.name} {self._draws} {sample}" for sample in samples)

    def end(self, drawn: torch.Tensor) -> None:
        """Report what such a draw gave, of a step's batch."""
        batch = None if self._collated else self._of_step()
        if batch is not None and len(drawn) == len(batch.own):
            row = drawn[0].numel()
            self._emit(BatchDrew(batch.loader, batch.number, batch.index, self._draws, row, digest(drawn)))


class TorchDraws(TorchFunctionMode):
    """Has `draws` watch torch's functions."""

    def __init__(self, draws: Draws) -> None:
        super().__init__()
        self._draws = draws

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Watch what draws, and what is made of it within torch."""
        kwargs = kwargs or {}
        if func in _DRAWING:
            return self._draw(func, args, kwargs)
        return self._within(func, args, kwargs) if func is functional.gumbel_softmax else func(*args, **kwargs)

    def _within(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Watch a draw that a function of torch makes on its own account, where no mode is told of it."""
        original = torch.Tensor.exponential_

        def watched(tensor: torch.Tensor, *own: Any, **named: Any) -> torch.Tensor:
            drawn: torch.Tensor = self._draw(original, (tensor, *own), named)
            return drawn

        torch.Tensor.exponential_ = watched  # type: ignore[method-assign, assignment]
        try:
            return func(*args, **kwargs)
        finally:
            torch.Tensor.exponential_ = original  # type: ignore[method-assign]

    def _draw(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let torch draw, then put the rows' own numbers in place, on the scale of what was asked for."""
        states = _states() if self._draws.anew else None
        drawn = func(*args, **kwargs)
        chances = args[0] if func in _CHANCE and len(args) == 1 and "p" not in kwargs else None
        if (func in _CHANCE and chances is None) or kwargs.get("generator") is not None:
            return drawn
        begun = self._draws.begin(len(drawn)) if drawn.dim() and not drawn.is_complex() else None
        if begun is None:
            return drawn
        if begun:
            _restore(states or {})
            offset, scale = _scale(func, args, kwargs)
            rows = torch.stack([_row(place, func, drawn.shape[1:]) for place in begun]).to(drawn.device)
            numbers = rows * scale + offset
            if chances is not None:
                numbers = (numbers < chances.detach()).to(numbers.dtype)
            with torch.no_grad():
                drawn.detach().copy_(numbers.floor() if func is torch.randint else numbers)
        self._draws.end(drawn)
        return drawn


def _states() -> dict[int | None, torch.Tensor]:
    """Give the states of torch's streams, by the number of their GPU; that of None is the CPU's."""
    states: dict[int | None, torch.Tensor] = {None: torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states[torch.cuda.current_device()] = torch.cuda.get_rng_state()
    return states


def _restore(states: dict[int | None, torch.Tensor]) -> None:
    for gpu, state in states.items():
        if gpu is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, gpu)


def _row(place: str, func: Any, shape: torch.Size) -> torch.Tensor:
    """Draw a row of standard numbers, as a function draws them, from the stream of its place."""
    generator = torch.Generator().manual_seed(zlib.crc32(place.encode()))
    row = torch.empty(shape, dtype=torch.float64)
    if func in _EXPONENTIAL:
        return row.exponential_(generator=generator)
    return row.normal_(generator=generator) if func in _NORMAL else row.uniform_(generator=generator)


def _scale(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """What to add to standard numbers, and what to multiply them by before: numbers, or tensors of such."""
    if func is torch.normal:
        given = dict(zip(("mean", "std"), args, strict=False)) | kwargs
        mean, deviation = given.get("mean", 0.0), given.get("std", 1.0)
        return _detached(mean), _detached(deviation)
    if func in _EXPONENTIAL:
        return 0.0, 1 / float(kwargs.get("lambd", args[1] if len(args) > 1 else 1.0))
    if func is torch.Tensor.normal_:
        mean, deviation = (*args[1:], *(0.0, 1.0)[len(args) - 1 :])[:2]
        return float(kwargs.get("mean", mean)), float(kwargs.get("std", deviation))
    if func is torch.Tensor.uniform_:
        begin, end = (*args[1:], *(0.0, 1.0)[len(args) - 1 :])[:2]
        begin, end = float(kwargs.get("from", begin)), float(kwargs.get("to", end))
        return begin, end - begin
    if func is torch.randint:
        bounds = [argument for argument in args if isinstance(argument, int)]
        low = kwargs.get("low", bounds[0] if len(bounds) > 1 else 0)
        return float(low), float(kwargs.get("high", bounds[-1] if bounds else 0) - low)
    return 0.0, 1.0


def _detached(number: Any) -> Any:
    return number.detach() if isinstance(number, torch.Tensor) else float(number)
