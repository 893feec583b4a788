"""The reference that every other run is held against: what one worker computed, step by step, on disk.

A run that is compared starts each step from the reference's state, so that what is measured is one step's difference
and not the sum of all before it, which chaos makes large in correct programs too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from hora.script import NamedTensor, Stepping
from hora.script.events import StatisticsKept
from hora.verify.record import Kept, RecordReader, RecordWriter, StepRecord

Compared = Literal["parameters", "initial parameters", "gradient", "update", "optimizer state", "buffer"]

# How near to a multiple of the reference's a gradient has to be to count as one.
_MULTIPLE = 1e-4


@dataclass(frozen=True)
class TensorDifference:
    """How far one tensor of a step is from the reference's.

    For gradients and updates this is on the scale of their layer's, for the optimizer's state on that of the same kind
    of state in the layer, for buffers on their own. `ratio` tells of a gradient how many times the reference's it is,
    if it is a multiple of that; `scale` is the norm that the difference is measured by. Where other `parameters` are
    stepped, `tensor` says which.
    """

    step: int
    quantity: Compared
    tensor: str
    difference: float
    ratio: float | None = None
    scale: float = 0.0


class Recorder:
    """Writes each step down: gradients, parameters before and after, the optimizer's state and the buffers after."""

    def __init__(self, directory: Path) -> None:
        self._record = RecordWriter(directory)

    def before_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Write what the optimizer is about to see."""
        self._record.write("gradients", ((p.name, p.tensor.grad) for p in stepping.parameters))
        self._record.write("before", ((p.name, p.tensor) for p in stepping.parameters))

    def after_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Write what it made of it."""
        self._record.write("after", ((p.name, p.tensor) for p in stepping.parameters))
        self._record.write("state", ((s.name, s.tensor) for s in stepping.state()))
        self._record.write("buffers", ((b.name, b.tensor) for b in stepping.buffers()))
        self._record.end(step, optimizer)


@dataclass
class _Sums:
    """Sums of squares over a tensor: of the reference's numbers, of those found, of both together, of what is between.

    `moved` is the sum over what the reference's step has changed.
    """

    expected: float = 0.0
    found: float = 0.0
    both: float = 0.0
    apart: float = 0.0
    moved: float = 0.0

    def add(self, found: torch.Tensor | None, expected: torch.Tensor | None) -> None:
        """Add pieces of both; None stands for zeros."""
        a = None if found is None else _wide(found)
        b = None if expected is None else _wide(expected)
        self.found += 0.0 if a is None else _dot(a, a)
        self.expected += 0.0 if b is None else _dot(b, b)
        if a is None or b is None:
            self.apart = self.expected + self.found
            return
        self.both += _dot(a, b)
        between = a - b
        self.apart += _dot(between, between)

    @property
    def ratio(self) -> float | None:
        """How many times the reference's what was found is, None if it is no multiple of it."""
        ratio = self.both / self.expected if self.expected > 0 else 0.0
        rest = self.found - 2 * ratio * self.both + ratio**2 * self.expected
        return ratio if ratio and rest <= _MULTIPLE**2 * self.found else None


class Comparer:
    """Measures each step against the reference's, and sets what the step changed to the reference's after it."""

    def __init__(self, directory: Path, out: Path) -> None:
        self._reference = RecordReader(directory)
        self._out = open(out, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._seen: set[int] = set()
        self._record: StepRecord | None = None

    def before_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Compare gradients; at an optimizer's first step its parameters too."""
        record = self._record = self._reference.step(step)
        if record is None:
            return
        parameters = stepping.parameters
        expected = record.optimizer, len(record.of("before"))
        if expected != (optimizer, len(parameters)):
            other = f"{len(parameters)} parameters of optimizer {optimizer}, where one worker's updates "
            other += f"{expected[1]} of optimizer {expected[0]}"
            self._write(TensorDifference(step, "parameters", other, float("inf")))
            self._record = None
            return
        if optimizer not in self._seen:
            self._seen.add(optimizer)
            start = [self._sums(p.tensor, kept) for p, kept in zip(parameters, record.of("before"), strict=True)]
            self._tell(step, "initial parameters", parameters, start, [sums.expected for sums in start])
        gradients = [
            self._sums(p.tensor.grad, kept) for p, kept in zip(parameters, record.of("gradients"), strict=True)
        ]
        self._tell(step, "gradient", parameters, gradients, [sums.expected for sums in gradients])

    def after_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Compare what the step left, then go on from the reference's."""
        record = self._record
        if record is None:
            return
        parameters = stepping.parameters
        kept = zip(parameters, record.of("before"), record.of("after"), strict=True)
        updates = [self._sums(p.tensor, after, before=before, sets=True) for p, before, after in kept]
        # A step that calls a closure is seen when it is over: there is no update then to hold the difference against.
        moved = any(sums.moved for sums in updates)
        self._tell(step, "update", parameters, updates, [sums.moved if moved else sums.expected for sums in updates])
        self._compare_named(step, "optimizer state", stepping.state(), record.named("state"))
        self._compare_named(step, "buffer", [_alone(b) for b in stepping.buffers()], record.named("buffers"))

    def _compare_named(
        self, step: int, quantity: Compared, tensors: Sequence[NamedTensor], reference: dict[str, Kept]
    ) -> None:
        """Compare what both runs have under a name, and set it to the reference's."""
        shared = [t for t in tensors if t.name in reference and reference[t.name].shape == tuple(t.tensor.shape)]
        found = [self._sums(t.tensor, reference[t.name], sets=True) for t in shared]
        self._tell(step, quantity, shared, found, [sums.expected for sums in found])

    def _sums(
        self, tensor: torch.Tensor | None, kept: Kept, *, before: Kept | None = None, sets: bool = False
    ) -> _Sums:
        """Go through a tensor and what the reference kept of it, a piece at a time, and set it to that if asked.

        Where the reference's tensor `before` the step is given, differences of a rounding are none: a small update
        makes them look large.
        """
        sums = _Sums()
        row = None if tensor is None else _row(tensor)
        if not kept.dtype:
            sums.add(row, None)
            return sums
        if tensor is not None and tuple(tensor.shape) != kept.shape:
            sums.apart = float("inf")
            return sums
        if row is None or tensor is None:
            for _, expected in self._reference.chunks(kept):
                sums.add(None, expected)
            return sums
        earlier = None if before is None else self._reference.chunks(before)
        for place, expected in self._reference.chunks(kept):
            found = row[place].cpu()
            if earlier is not None:
                between = _wide(expected) - _wide(next(earlier)[1])
                sums.moved += _dot(between, between)
                found = _but_for_rounding(found, expected)
            sums.add(found, expected)
            if sets:
                with torch.no_grad():
                    row[place] = expected.to(row.device)
        if sets and row.data_ptr() != tensor.data_ptr():
            # It does not lie in a row in its own memory.
            with torch.no_grad():
                tensor.copy_(row.view(tensor.shape))
        return sums

    def _tell(
        self,
        step: int,
        quantity: Compared,
        tensors: Sequence[NamedTensor],
        found: Sequence[_Sums],
        scales: Sequence[float],
    ) -> None:
        """Write the norm of each difference over the norm of its layer, of which `scales` has the squares."""
        layers: dict[str, float] = {}
        for tensor, square in zip(tensors, scales, strict=True):
            layers[tensor.layer] = layers.get(tensor.layer, 0.0) + square
        whole = sum(layers.values())
        for tensor, sums in zip(tensors, found, strict=True):
            norm = sums.apart**0.5
            # A layer of zeros, such as a bias that a difference of outputs leaves out, is measured by all layers.
            scale = (layers[tensor.layer] or whole) ** 0.5
            # A layer without gradient in the reference: whatever is found is infinitely more.
            difference = norm / scale if scale > 0 else 0.0 if norm == 0 else float("inf")
            ratio = sums.ratio if quantity == "gradient" and difference > _MULTIPLE else None
            self._write(TensorDifference(step, quantity, tensor.name, difference, ratio, scale))

    def _write(self, found: TensorDifference) -> None:
        self._out.write(json.dumps(vars(found)) + "\n")


class LastStep:
    """Remembers what was stepped, of a run that is not compared step by step."""

    def __init__(self) -> None:
        self._stepping: dict[int, Stepping] = {}

    def before_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Nothing to see yet."""

    def after_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Remember."""
        self._stepping[optimizer] = stepping

    def statistics(self) -> StatisticsKept:
        """The running statistics of BatchNorm, as they are now."""
        kept = {
            f"{optimizer}:{buffer.name}": tuple(buffer.tensor.detach().double().flatten().tolist())
            for optimizer, stepping in self._stepping.items()
            for buffer in stepping.buffers()
            if buffer.name.endswith(("running_mean", "running_var"))
        }
        return StatisticsKept(tuple(kept.items()))


def read_differences(path: Path) -> tuple[TensorDifference, ...]:
    """Read what a `Comparer` wrote."""
    if not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return tuple(TensorDifference(**json.loads(line)) for line in lines if line.endswith("\n"))


def _but_for_rounding(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """`found`, or `expected` where they are a rounding of the parameter apart; a small update makes that look large."""
    found, expected = found.detach(), expected.to(found.device)
    near = (found - expected).abs() <= 2 * torch.finfo(found.dtype).eps * expected.abs()
    return torch.where(near, expected, found)


def _alone(buffer: NamedTensor) -> NamedTensor:
    """A buffer as a layer of its own: a count of batches says nothing of the size of a mean."""
    return NamedTensor(buffer.name, buffer.name, buffer.tensor)


def _row(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor in a row: its own memory, or a copy where it is not contiguous."""
    tensor = tensor.detach()
    return (tensor.to_dense() if tensor.is_sparse else tensor).contiguous().view(-1)


def _wide(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.to(torch.complex128 if numbers.is_complex() else torch.float64)


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.vdot(b, a).real)
