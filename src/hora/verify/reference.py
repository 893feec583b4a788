"""The reference that every other run is held against: what one worker computed, step by step, on disk.

A run that is compared starts each step from the reference's state, so that what is measured is one step's difference
and not the sum of all before it, which chaos makes large in correct programs too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hora.script import NamedTensor

Compared = Literal["initial parameters", "gradient", "update"]


@dataclass(frozen=True)
class TensorDifference:
    """How far one tensor of a step is from the reference's, on the scale of its layer's gradient or update."""

    step: int
    quantity: Compared
    tensor: str
    difference: float


class Recorder:
    """Writes a file per step: gradients, parameters before and after."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._gradients: list[torch.Tensor | None] = []
        self._before: list[torch.Tensor] = []

    def before_step(self, step: int, optimizer: int, parameters: tuple[NamedTensor, ...]) -> None:
        """Keep what the optimizer is about to see."""
        self._gradients = [_gradient(p.tensor) for p in parameters]
        self._before = [p.tensor.detach().clone() for p in parameters]

    def after_step(self, step: int, optimizer: int, parameters: tuple[NamedTensor, ...]) -> None:
        """Write the step down."""
        record = {
            "optimizer": optimizer,
            "names": [p.name for p in parameters],
            "gradients": self._gradients,
            "before": self._before,
            "after": [p.tensor.detach() for p in parameters],
        }
        torch.save(record, self._directory / f"{step}.pt")


class Comparer:
    """Measures each step against the reference's, and sets the parameters to the reference's after it."""

    def __init__(self, directory: Path, out: Path) -> None:
        self._directory = directory
        self._out = open(out, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._seen: set[int] = set()
        self._record: dict[str, Any] | None = None

    def before_step(self, step: int, optimizer: int, parameters: tuple[NamedTensor, ...]) -> None:
        """Compare gradients; at an optimizer's first step its parameters too."""
        path = self._directory / f"{step}.pt"
        self._record = torch.load(path, weights_only=True) if path.exists() else None
        if self._record is None:
            return
        if self._record["optimizer"] != optimizer or len(self._record["names"]) != len(parameters):
            self._write(step, "gradient", parameters[0].name if parameters else "", float("inf"))
            self._record = None
            return
        if optimizer not in self._seen:
            self._seen.add(optimizer)
            now = [p.tensor for p in parameters]
            self._compare(step, "initial parameters", parameters, now, self._record["before"], self._record["before"])
        gradients = [_gradient(p.tensor) for p in parameters]
        reference = self._record["gradients"]
        self._compare(step, "gradient", parameters, gradients, reference, reference)

    def after_step(self, step: int, optimizer: int, parameters: tuple[NamedTensor, ...]) -> None:
        """Compare the updated parameters, then go on from the reference's."""
        if self._record is None:
            return
        after = self._record["after"]
        updates = [b.to(a.device) - a for a, b in zip(self._record["before"], after, strict=True)]
        self._compare(step, "update", parameters, [p.tensor for p in parameters], after, updates)
        with torch.no_grad():
            for parameter, value in zip(parameters, after, strict=True):
                parameter.tensor.copy_(value)

    def _compare(
        self,
        step: int,
        quantity: Compared,
        parameters: tuple[NamedTensor, ...],
        found: list[Any],
        expected: list[Any],
        scales: list[Any],
    ) -> None:
        """Write the norm of each difference over the norm of `scales` in its layer."""
        layers: dict[str, float] = {}
        for parameter, scale in zip(parameters, scales, strict=True):
            layers[parameter.layer] = layers.get(parameter.layer, 0.0) + _norm(scale) ** 2
        for parameter, a, b in zip(parameters, found, expected, strict=True):
            norm = _norm(a if b is None else b if a is None else a.detach().to(b.device) - b)
            scale = layers[parameter.layer] ** 0.5
            # A layer without gradient in the reference: whatever is found is infinitely more.
            difference = norm / scale if scale > 0 else 0.0 if norm == 0 else float("inf")
            self._write(step, quantity, parameter.name, difference)

    def _write(self, step: int, quantity: Compared, tensor: str, difference: float) -> None:
        self._out.write(json.dumps(asdict(TensorDifference(step, quantity, tensor, difference))) + "\n")


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


def _norm(tensor: torch.Tensor | None) -> float:
    return 0.0 if tensor is None else float(torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64))
