"""What an observed script does, one frozen record per happening.

A *pass* is one walk over a DataLoader, from `iter()` on. A loader is named by its dataset's type and length and by the
order in which loaders of that name were first walked, so that the same loader has the same name in every run of a
script.
"""

from __future__ import annotations

from dataclasses import dataclass

Samples = tuple[int, ...]


@dataclass(frozen=True)
class PassBegan:
    """A DataLoader is walked; `dealt` tells that the runtime cuts its batches for the workers.

    The samples of a `stream`, an IterableDataset, have no indices: they are numbered by what they hold, and its batches
    are not planned but come as they are loaded.
    """

    loader: str
    number: int
    dealt: bool
    stream: bool = False


@dataclass(frozen=True)
class PassPlanned:
    """The batches, as dataset indices, that the script's own sampler hands out in a pass.

    `batches` may be a shortened form of the whole pass, which holds `samples` samples, some of them again if `repeats`.
    """

    loader: str
    number: int
    batches: tuple[Samples, ...]
    samples: int
    repeats: bool


@dataclass(frozen=True)
class BatchLoaded:
    """A batch reaches the script: the dataset indices that *this* worker was handed."""

    loader: str
    number: int
    index: int
    samples: Samples


@dataclass(frozen=True)
class BatchCut:
    """The script computes from some of its batch's rows alone: from these, which it has not used before."""

    loader: str
    number: int
    index: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class StreamRead:
    """A pass over a stream was read: its `batches` and `samples` before it was shortened, and whether they are all."""

    loader: str
    number: int
    batches: int
    samples: Samples
    ended: bool


@dataclass(frozen=True)
class BatchDrew:
    """While on a batch, the script drew random numbers with a row for each sample that this worker was handed.

    `draw` counts such draws on the batch from 1, `row` is how many numbers each row has.
    """

    loader: str
    number: int
    index: int
    draw: int
    row: int
    digest: str


@dataclass(frozen=True)
class PassEnded:
    """A pass has no more batches."""

    loader: str
    number: int


@dataclass(frozen=True)
class BackwardRan:
    """A backward ended; `loss` is the value it started from, None where that was not one number."""

    loss: float | None


@dataclass(frozen=True)
class OptimizerBegan:
    """An optimizer is about to step for the first time; `digests` of its parameters as they are, if asked for."""

    optimizer: int
    digests: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class OptimizerStepped:
    """The innermost optimizer stepped.

    `step` counts the steps of all optimizers, `optimizer` is its order of appearance, `learning_rates` has one entry
    per parameter group, `digests` one per parameter after the step (empty if not asked for), `random` is a digest of
    the state of torch's random numbers (if asked for), `singles` counts the draws from the streams of Python and NumPy
    since the batch was handed out, or since the step before.
    """

    step: int
    optimizer: int
    learning_rates: tuple[float, ...]
    digests: tuple[tuple[str, str], ...] = ()
    random: str = ""
    singles: int = 0


@dataclass(frozen=True)
class Printed:
    """The script wrote a line to its standard output."""

    text: str


@dataclass(frozen=True)
class RunEnded:
    """The script is over: `stopped` by the observer, or by itself with `status`.

    `error` is its traceback if it raised one, `neutralised` names the randomness inside the model that was switched
    off, `remarks` what the reader has to know, `loaded` the files that torch loaded, as the script calls them.
    """

    status: int
    stopped: bool
    error: str | None
    neutralised: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()


@dataclass(frozen=True)
class FilesWritten:
    """The files that the script wrote and left, as the paths that they would have had outside the mirror."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class StatisticsKept:
    """BatchNorm's running statistics at the end of a run: for each buffer its name and its values."""

    buffers: tuple[tuple[str, tuple[float, ...]], ...]


Event = (
    PassBegan
    | PassPlanned
    | BatchLoaded
    | BatchCut
    | StreamRead
    | BatchDrew
    | PassEnded
    | BackwardRan
    | OptimizerBegan
    | OptimizerStepped
    | Printed
    | RunEnded
    | FilesWritten
    | StatisticsKept
)
