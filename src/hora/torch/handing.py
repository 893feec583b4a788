"""What hands a dealt loader's batches to a loop, whether they come from a sampler or from a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hora.torch import at_hand, heartbeat
from hora.torch.shares import Share


class HandsOut(Iterator[Any]):
    """Tells the loader the weight of each batch; has its `weight`, `first`, `total` and `gather`, too.

    Parameters
    ----------
    loader
        The dealt loader.
    handed
        How many batches of the pass are left out, as a commit has them already.
    of
        How many there are, as far as known.

    Attributes
    ----------
    handed, exhausted
        How many batches were handed out, and whether there are no more.
    """

    def __init__(self, loader: Any, handed: int = 0, of: int | None = None) -> None:
        self.handed, self.exhausted = handed, False
        self._loader, self._of = loader, of
        self.total, self.gather = loader.total, loader.gather

    @property
    def weight(self) -> float:
        """The weight of the batch that the loader handed out last."""
        return float(self._loader.weight)

    @property
    def first(self) -> int:
        """The place in its global batch of the first sample that the loader handed out last."""
        return int(self._loader.first)

    def _hand_out(self, share: Share) -> None:
        """Note that a batch goes to the loop, and what this worker has of it."""
        self._loader.weight, self._loader.first = share.weight, share.first
        self.handed += 1
        sampler = self._loader.batch_sampler
        if not sampler.evaluation:
            at_hand.note(self._loader)
            heartbeat.handed_out(share.samples, sampler.epoch, self.handed, self._of)
