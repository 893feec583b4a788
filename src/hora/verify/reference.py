"""The reference that every other run is held against: what one worker computed, step by step, on disk.

A run that is compared starts each step from the reference's state, so that what is measured is one step's difference
and not the sum of all before it, which chaos makes large in correct programs too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hora.script import NamedTensor, Stepping
from hora.script.events import StatisticsKept

Compared = Literal["parameters", "initial parameters", "gradient", "update", "optimizer state", "buffer"]

# How near to a multiple of the reference's a gradient has to be to count as one.
_MULTIPLE = 1e-4

Values = Sequence[torch.Tensor | None]


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
    """Writes a file per step: gradients, parameters before and after, the optimizer's state and the buffers after."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._gradients: list[torch.Tensor | None] = []
        self._before: list[torch.Tensor] = []

    def before_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Keep what the optimizer is about to see."""
        self._gradients = [_gradient(p.tensor) for p in stepping.parameters]
        self._before = [p.tensor.detach().clone() for p in stepping.parameters]

    def after_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Write the step down."""
        record = {
            "optimizer": optimizer,
            "gradients": self._gradients,
            "before": self._before,
            "after": [p.tensor.detach() for p in stepping.parameters],
            "state": {s.name: s.tensor.detach() for s in stepping.state()},
            "buffers": {b.name: b.tensor.detach() for b in stepping.buffers()},
        }
        torch.save(record, self._directory / f"{step}.pt")


class Comparer:
    """Measures each step against the reference's, and sets what the step changed to the reference's after it."""

    def __init__(self, directory: Path, out: Path) -> None:
        self._directory = directory
        self._out = open(out, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._seen: set[int] = set()
        self._record: dict[str, Any] | None = None

    def before_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Compare gradients; at an optimizer's first step its parameters too."""
        path = self._directory / f"{step}.pt"
        self._record = torch.load(path, weights_only=True) if path.exists() else None
        if self._record is None:
            return
        parameters = stepping.parameters
        expected = self._record["optimizer"], len(self._record["before"])
        if expected != (optimizer, len(parameters)):
            other = f"{len(parameters)} parameters of optimizer {optimizer}, where one worker's updates "
            other += f"{expected[1]} of optimizer {expected[0]}"
            self._write(TensorDifference(step, "parameters", other, float("inf")))
            self._record = None
            return
        if optimizer not in self._seen:
            self._seen.add(optimizer)
            now = [p.tensor for p in parameters]
            self._compare(step, "initial parameters", parameters, now, self._record["before"], self._record["before"])
        gradients = [_gradient(p.tensor) for p in parameters]
        reference = self._record["gradients"]
        self._compare(step, "gradient", parameters, gradients, reference, reference)

    def after_step(self, step: int, optimizer: int, stepping: Stepping) -> None:
        """Compare what the step left, then go on from the reference's."""
        if self._record is None:
            return
        after = self._record["after"]
        updates = [b.to(a.device) - a for a, b in zip(self._record["before"], after, strict=True)]
        # A step that calls a closure is seen when it is over: there is no update then to hold the difference against.
        updates = updates if any(bool(update.any()) for update in updates) else after
        parameters = stepping.parameters
        found = [_but_for_rounding(p.tensor, a) for p, a in zip(parameters, after, strict=True)]
        # A step with a closure is seen when it is over: what it updated is then on the scale of the parameters.
        moved = any(bool(update.any()) for update in updates)
        self._compare(step, "update", parameters, found, after, updates if moved else after)
        _set(parameters, after)
        self._compare_named(step, "optimizer state", stepping.state(), self._record["state"])
        self._compare_named(step, "buffer", [_alone(b) for b in stepping.buffers()], self._record["buffers"])

    def _compare_named(
        self, step: int, quantity: Compared, tensors: Sequence[NamedTensor], reference: dict[str, torch.Tensor]
    ) -> None:
        """Compare what both runs have under a name, and set it to the reference's."""
        shared = [t for t in tensors if t.name in reference and reference[t.name].shape == t.tensor.shape]
        expected = [reference[t.name] for t in shared]
        self._compare(step, quantity, shared, [t.tensor for t in shared], expected, expected)
        _set(shared, expected)

    def _compare(
        self,
        step: int,
        quantity: Compared,
        tensors: Sequence[NamedTensor],
        found: Values,
        expected: Values,
        scales: Values,
    ) -> None:
        """Write the norm of each difference over the norm of `scales` in its layer."""
        layers: dict[str, float] = {}
        for tensor, scale in zip(tensors, scales, strict=True):
            layers[tensor.layer] = layers.get(tensor.layer, 0.0) + _norm(scale) ** 2
        whole = sum(layers.values())
        for tensor, a, b in zip(tensors, found, expected, strict=True):
            norm = _norm(a if b is None else b if a is None else a.detach().to(b.device) - b)
            # A layer of zeros, such as a bias that a difference of outputs leaves out, is measured by all layers.
            scale = (layers[tensor.layer] or whole) ** 0.5
            # A layer without gradient in the reference: whatever is found is infinitely more.
            difference = norm / scale if scale > 0 else 0.0 if norm == 0 else float("inf")
            ratio = _ratio(a, b) if quantity == "gradient" and difference > _MULTIPLE else None
            self._write(TensorDifference(step, quantity, tensor.name, difference, ratio, scale))

    def _write(self, found: TensorDifference) -> None:
        self._out.write(json.dumps(asdict(found)) + "\n")


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


def _gradient(parameter: torch.Tensor) -> torch.Tensor | None:
    if parameter.grad is None:
        return None
    gradient = parameter.grad.detach()
    return gradient.to_dense() if gradient.is_sparse else gradient.clone()


def _but_for_rounding(found: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """`found`, or `expected` where they are a rounding of the parameter apart; a small update makes that look large."""
    found, expected = found.detach(), expected.to(found.device)
    near = (found - expected).abs() <= 2 * torch.finfo(found.dtype).eps * expected.abs()
    return torch.where(near, expected, found)


def _alone(buffer: NamedTensor) -> NamedTensor:
    """A buffer as a layer of its own: a count of batches says nothing of the size of a mean."""
    return NamedTensor(buffer.name, buffer.name, buffer.tensor)


def _set(tensors: Sequence[NamedTensor], values: Sequence[torch.Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.tensor.copy_(value)


def _ratio(found: torch.Tensor | None, expected: torch.Tensor | None) -> float | None:
    """How many times `expected` what was found is, None if it is no multiple of it."""
    if found is None or expected is None:
        return None
    found, expected = found.detach().double().flatten(), expected.to(found.device).double().flatten()
    square = float(expected @ expected)
    ratio = float(found @ expected) / square if square > 0 else 0.0
    return ratio if ratio and _norm(found - ratio * expected) <= _MULTIPLE * _norm(found) else None


def _norm(tensor: torch.Tensor | None) -> float:
    if tensor is None:
        return 0.0
    tensor = tensor.detach()
    if not tensor.is_floating_point() and not tensor.is_complex():
        tensor = tensor.double()
    dtype = torch.complex128 if tensor.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(tensor, dtype=dtype))
