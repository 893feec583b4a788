"""Random numbers that a training step draws for its batch, such as a GAN's latent noise: drawn per sample.

Where a draw has one row for each sample of the batch, each row comes from a stream of its own, seeded by its sample. A
worker then draws for its slice what one worker draws for those samples, in whatever order they come; and a worker that
draws for the whole global batch and takes its slice does, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hora.script.events import Samples

_NORMAL = (torch.randn, torch.randn_like, torch.Tensor.normal_)
_UNIFORM = (torch.rand, torch.rand_like, torch.Tensor.uniform_, torch.randint)


@dataclass(frozen=True)
class Batch:
    """The batch that a step is on: which one it is, its samples on this worker, and those of the whole global batch."""

    name: str
    own: Samples
    whole: Samples


class DrawnPerSample(TorchFunctionMode):
    """Draws rows by their samples while `batch()` gives a batch; `note` is told if it did."""

    def __init__(self, batch: Callable[[], Batch | None], note: Callable[[str], None]) -> None:
        super().__init__()
        self._batch, self._note = batch, note
        self._of: str | None = None
        self._draws = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let torch draw, then put the rows' own numbers in place, on the scale of what was asked for."""
        kwargs = kwargs or {}
        drawn = func(*args, **kwargs)
        if (func not in _NORMAL and func not in _UNIFORM) or kwargs.get("generator") is not None:
            return drawn
        batch = self._batch()
        if batch is None or drawn.dim() == 0 or drawn.is_complex():
            return drawn
        samples = {len(batch.whole): batch.whole, len(batch.own): batch.own}.get(drawn.shape[0])
        if samples is None:
            return drawn
        if batch.name != self._of:
            self._of, self._draws = batch.name, 0
        self._draws += 1
        self._note("random numbers of the batch, drawn per sample")
        offset, scale = _scale(func, args, kwargs)
        rows = [
            self._row(f"{batch.name} {self._draws} {sample}", func in _NORMAL, drawn.shape[1:]) for sample in samples
        ]
        numbers = torch.stack(rows) * scale + offset
        with torch.no_grad():
            drawn.detach().copy_(numbers.floor() if func is torch.randint else numbers)
        return drawn

    @staticmethod
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
