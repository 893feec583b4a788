"""The noise floor: how far two correct computations of the same step lie apart, measured on the script at hand.

One worker trains on the same global batches, permuted within; nothing but the order of additions changes. What differs
then is noise, and a difference between one worker and several means something only well above it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from hora.verify.reference import Compared, TensorDifference
from hora.verify.result import Precision

# A tensor that noise alone moves by this share of its layer's gradient cannot be judged (a bias in front of BatchNorm):
# with the margin below, what passes would be as large as what a sample left out of a batch makes.
NOISE = 1e-4
# Several workers add in another order than any permutation within a batch does: a sum of partial sums.
MARGIN = 100.0
# Single precision decides a ReLU or a maximum differently where two correct computations straddle its kink; one
# flipped unit moves its layer's gradient by up to about this much. Double precision meets a kink a billion times more
# rarely.
KINK: dict[Precision, float] = {"float64": 0.0, "float32": 1e-3}
# What passes where the floor cannot be measured.
UNPERMUTED: dict[Precision, float] = {"float64": 1e-9, "float32": 1e-3}
# What passes of what is not a gradient: Adam divides gradients that are noise by their own size.
_STEPPED: dict[Precision, float] = {"float64": 1e-7, "float32": 1e-3}


@dataclass(frozen=True)
class Floor:
    """The floor of each tensor for each quantity, what is typical of a quantity, and the least that is taken."""

    precision: Precision
    tensors: dict[tuple[Compared, str], float]
    typical: dict[Compared, float]
    least: float

    @classmethod
    def measured(cls, precision: Precision, repeated: Iterable[TensorDifference], *, permuted: bool) -> Floor:
        """Take the largest difference of each tensor over all steps of all repeated runs.

        Repetitions that are not `permuted`, for want of batches that are known, show no noise; what passes then is what
        a deep network makes of rounding.
        """
        tensors: dict[tuple[Compared, str], float] = {}
        for found in repeated:
            key = found.quantity, found.tensor
            tensors[key] = max(tensors.get(key, 0.0), found.difference)
        alike: dict[Compared, list[float]] = {}
        for (quantity, _), floor in tensors.items():
            alike.setdefault(quantity, []).append(floor)
        typical = {quantity: median(floors) for quantity, floors in alike.items()}
        return cls(precision, tensors, typical, 0.0 if permuted else UNPERMUTED[precision])

    def of(self, found: TensorDifference) -> float:
        """The floor of the tensor that a difference is of."""
        return self.tensors.get((found.quantity, found.tensor), 0.0)

    def judges(self, found: TensorDifference) -> bool:
        """Whether a difference of this tensor can mean anything."""
        return self.of(found) <= NOISE

    def allowed(self, found: TensorDifference) -> float:
        """The largest difference that passes for noise; never below what the precision can resolve."""
        noise = max(self.of(found), self.typical.get(found.quantity, 0.0), _RESOLUTION[self.precision])
        # An optimizer may divide by what is nearly zero, as Adam does: what it makes of rounding is larger than that.
        least = self.least if found.quantity == "gradient" else _STEPPED[self.precision]
        return max(MARGIN * noise, KINK[self.precision], least)

    @property
    def largest(self) -> float:
        """The floor of the noisiest gradient that is judged, or what is taken for it where it cannot be measured."""
        judged = [f for (quantity, _), f in self.tensors.items() if quantity == "gradient" and f <= NOISE]
        return max([*judged, self.least])

    @property
    def unjudged(self) -> tuple[str, ...]:
        """The tensors whose gradients are noise."""
        return tuple(name for (quantity, name), f in self.tensors.items() if quantity == "gradient" and f > NOISE)


_RESOLUTION: dict[Precision, float] = {"float64": 2.0**-52, "float32": 2.0**-23}
