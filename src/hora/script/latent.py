"""Random numbers that a training step draws for its batch, such as a GAN's latent noise: watched, or drawn per sample.

Where a draw has one row for each sample of the batch, each row can come from a stream of its own, seeded by its sample.
A worker then draws for its slice what one worker draws for those samples, in whatever order they come; and a worker
that draws for the whole global batch and takes its slice does, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hora.script.digest import digest
from hora.script.events import BatchDrew, Samples

_NORMAL = (torch.randn, torch.randn_like, torch.Tensor.normal_)
_UNIFORM = (torch.rand, torch.rand_like, torch.Tensor.uniform_, torch.randint)
_CHANCE = (torch.bernoulli, torch.Tensor.bernoulli)


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
        self._batch, self._per_sample, self._emit, self._note = batch, per_sample, emit, note
        self._of: str | None = None
        self._draws = 0

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
        """Report what such a draw gave."""
        batch = self._batch()
        if batch is not None and len(drawn) == len(batch.own):
            row = drawn[0].numel()
            self._emit(BatchDrew(batch.loader, batch.number, batch.index, self._draws, row, digest(drawn)))


class TorchDraws(TorchFunctionMode):
    """Has `draws` watch torch's functions."""

    def __init__(self, draws: Draws) -> None:
        super().__init__()
        self._draws = draws

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let torch draw, then put the rows' own numbers in place, on the scale of what was asked for."""
        kwargs = kwargs or {}
        drawn = func(*args, **kwargs)
        chances = args[0] if func in _CHANCE and len(args) == 1 and "p" not in kwargs else None
        watched = func in _NORMAL or func in _UNIFORM or chances is not None
        if not watched or kwargs.get("generator") is not None:
            return drawn
        begun = self._draws.begin(len(drawn)) if drawn.dim() and not drawn.is_complex() else None
        if begun is None:
            return drawn
        if begun:
            offset, scale = _scale(func, args, kwargs)
            numbers = torch.stack([_row(place, func in _NORMAL, drawn.shape[1:]) for place in begun]) * scale + offset
            if chances is not None:
                numbers = (numbers.to(chances.device) < chances.detach()).to(numbers.dtype)
            with torch.no_grad():
                drawn.detach().copy_(numbers.floor() if func is torch.randint else numbers)
        self._draws.end(drawn)
        return drawn


def _row(place: str, normal: bool, shape: torch.Size) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(place.encode()))
    row = torch.empty(shape, dtype=torch.float64)
    return row.normal_(generator=generator) if normal else row.uniform_(generator=generator)


def _scale(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[float, float]:
    """What to add to standard numbers, and what to multiply them by before."""
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
