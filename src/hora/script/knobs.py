"""What a reader of the stream may override in an observed run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hora.script.events import Samples


@dataclass(frozen=True)
class Replay:
    """Global batches recorded in another run, to be handed out again.

    Attributes
    ----------
    batches
        For each pass, ``(loader, number)``, its global batches as dataset indices.
    permutation
        Seed of a permutation *within* each batch; None keeps the order.
    samples
        Where the samples of streams are that `Knobs.keep_samples` has kept.
    uncut
        Loaders whose batches every worker is given whole, as its script cuts them itself.
    """

    batches: Mapping[tuple[str, int], tuple[Samples, ...]]
    permutation: int | None = None
    samples: Path | None = None
    uncut: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Knobs:
    """How an observed run differs from a plain one.

    Attributes
    ----------
    steps
        The run ends when it asks for one training batch (or, without a loader, one optimizer step) more than this.
    pass_length
        Each pass over a loader is cut to this many batches, of which the last is the pass's own last one.
    by_steps
        Let the run end by its optimizer steps alone and cut no pass: for a script whose batches are in no loader.
    seed
        State that all generators of random numbers have when the script starts.
    replay
        Global batches to hand out instead of the script's own.
    keep_samples
        Where to keep the samples that loaders over streams hand out, so that they can be handed out again.
    joined
        The one worker trains on so many batches at once, as so many workers do under weak scaling; 1 leaves it alone.
    neutralise
        Switch off the randomness inside the model (dropout) and draw that of the data per sample, since no two runs
        draw them alike; normalise over the global batch.
    float64
        Train in double precision, where the order of additions hardly shows.
    digests
        Report a digest of every parameter after each step, to compare workers by.
    """

    steps: int
    pass_length: int
    seed: int
    by_steps: bool = False
    replay: Replay = field(default_factory=lambda: Replay({}))
    keep_samples: Path | None = None
    joined: int = 1
    neutralise: bool = False
    float64: bool = False
    digests: bool = False
