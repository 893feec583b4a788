"""A sampler that deals out anew, to however many workers there are, what is left of an epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import Sampler

from hora.torch.world import rank, size


class ElasticSampler(Sampler[int]):
    """Shards a data set over the workers, and knows how far the epoch has come.

    As in Horovod the last samples are repeated until all workers have as many; `hvd.deal` repeats none.

    Parameters
    ----------
    dataset
        Of a constant size.
    shuffle
        Whether each epoch has an order of its own.
    seed
        Of the order, the same on all workers.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int = 0) -> None:
        self.dataset, self.shuffle, self.seed = dataset, shuffle, seed
        self.epoch = self.processed_num = 0
        self.reset()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; call this at the end of the one before, so that a restart does not begin it again."""
        self.epoch, self.processed_num = epoch, 0
        self.reset()

    def record_batch(self, batch_idx: int, batch_size: int) -> None:
        """Note that each worker has trained on a batch of so many samples."""
        self.processed_num += batch_size * self.num_replicas

    @property
    def processed_indices(self) -> set[int]:
        """The samples of this epoch that the workers have trained on."""
        return set(self._order()[: self.processed_num])

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch has come."""
        return {"epoch": self.epoch, "processed_num": self.processed_num}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, with the workers that there are now."""
        self.epoch, self.processed_num = state_dict["epoch"], state_dict["processed_num"]
        self.reset()

    def reset(self) -> None:
        """Deal what is left to the workers that there are now."""
        self.num_replicas, self.rank = size(), rank()
        self.remaining_indices = self._order()[self.processed_num :]
        self.num_samples = -(-len(self.remaining_indices) // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        left = self.remaining_indices
        padded = [left[place % len(left)] for place in range(self.total_size)]
        return iter(padded[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def _order(self) -> list[int]:
        """Return the epoch's order, the same on all workers."""
        order = list(range(len(self.dataset)))
        if self.shuffle:
            random.Random(self.seed + self.epoch).shuffle(order)
        return order
