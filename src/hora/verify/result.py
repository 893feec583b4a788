"""What `verify` answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Answer = Literal["equivalent", "not-equivalent", "cannot-tell"]
Precision = Literal["float64", "float32"]
Quantity = Literal[
    "samples",
    "steps",
    "parameters",
    "initial parameters",
    "gradient",
    "update",
    "optimizer state",
    "buffer",
    "learning rate",
    "noise",
    "printed",
    "files",
    "contents",
    "failure",
]

STATUS: dict[Answer, int] = {"equivalent": 0, "not-equivalent": 1, "cannot-tell": 3}


@dataclass(frozen=True)
class Difference:
    """Where several workers first part from one.

    Attributes
    ----------
    quantity
        What differs.
    step
        Optimizer step, from 0; for samples the number of the global batch in its pass.
    tensor
        Name of the parameter, None where none is concerned.
    difference, allowed
        Norm of the difference over the norm of its layer's gradient (or update), and the most that would pass.
    detail
        One sentence for the reader, with the samples or the numbers.
    """

    quantity: Quantity
    step: int | None
    tensor: str | None
    difference: float | None
    allowed: float | None
    detail: str


Finding = tuple[Difference, str | None]
"""A difference, and the code of the rule that explains it, None where no rule does."""


@dataclass(frozen=True)
class Step:
    """One optimizer step: its largest difference of a gradient that is judged, and the loss on one and on several.

    The loss of several workers is the mean of what their backwards start from; it is shown and not judged.
    """

    step: int
    difference: float | None
    loss: float | None
    loss_of_several: float | None


@dataclass(frozen=True)
class Tensor:
    """One parameter: the largest difference of its gradient over all steps, its floor, and the most that would pass."""

    name: str
    difference: float
    floor: float
    allowed: float | None


@dataclass(frozen=True)
class Coverage:
    """One training pass: its samples on one worker, and how many each of several was handed in the free run."""

    loader: str
    number: int
    samples: int
    by_worker: tuple[int, ...]


@dataclass(frozen=True)
class Confirmation:
    """What one rule would change in the converted script: with that alone, the first difference is gone.

    Attributes
    ----------
    code, reason
        The rule, and what it finds.
    line, text
        The line of the converted script, from 1, and what belongs there.
    """

    code: str
    reason: str
    line: int
    text: str


@dataclass(frozen=True)
class Verification:
    """The answer, its evidence, and what to do next.

    Attributes
    ----------
    verdict
        Whether the workers train what one worker trains.
    why, next
        One sentence each.
    workers, steps
        How many workers were compared with one, over how many optimizer steps.
    max_relative_difference
        The largest difference of a gradient on its layer's scale, over all steps; None if none was compared.
    noise_floor
        The largest such difference between two correct runs of one worker, whose batches are permuted within; where
        that cannot be (not `permuted`), what is taken for it.
    joined
        On how many of the script's batches at once the one worker was trained: more than one for weak scaling.
    precision
        In which precision gradients were compared.
    neutralised
        Randomness inside the model that was switched off for the comparison, and BatchNorm if it was synchronised.
    unjudged
        Tensors that are noise: their own floor is too high for a difference to mean anything.
    statistics_drift
        How far BatchNorm's running statistics of the workers lie apart at the end of the run in which each normalises
        its own slice, as the script has it; None without BatchNorm.
    first_difference, cause
        Where they part, and the code of the rule that explains it, None where no rule does.
    confirmed
        The experiment that confirms the cause, None where there was none, or it did not.
    remarks
        What else the reader has to know.
    by_step, by_tensor, coverage
        The evidence in full.
    """

    verdict: Answer
    why: str
    next: str
    workers: int
    steps: int
    max_relative_difference: float | None = None
    noise_floor: float | None = None
    permuted: bool = True
    joined: int = 1
    precision: Precision = "float64"
    neutralised: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    first_difference: Difference | None = None
    cause: str | None = None
    confirmed: Confirmation | None = None
    remarks: tuple[str, ...] = ()
    statistics_drift: float | None = None
    by_step: tuple[Step, ...] = ()
    by_tensor: tuple[Tensor, ...] = ()
    coverage: tuple[Coverage, ...] = ()

    @property
    def status(self) -> int:
        """The exit status of the command."""
        return STATUS[self.verdict]
