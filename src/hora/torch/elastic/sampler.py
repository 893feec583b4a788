"""A sampler that deals out anew, to however many workers there are, what is left of an epoch."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import torch
from torch.utils.data import Sampler

from hora.errors import HoraError
from hora.torch.world import rank, size


class ElasticSampler(Sampler[int]):
    """Shards a data set over the workers, and knows how far the epoch has come.

    As in Horovod the last samples are repeated until all workers have as many; `hvd.deal` repeats none. What was
    trained on is recorded by `record_batch` after each batch or, where a loop takes samples otherwise than in whole
    batches of one size, by `record_indices`; not by both within one epoch.

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
        # A byte for each sample, where samples were recorded one by one; and those that this worker alone knows of.
        self._recorded: torch.Tensor | None = None
        self._untold: list[int] = []
        self.reset()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; call this at the end of the one before, so that a restart does not begin it again."""
        self.epoch, self.processed_num, self._recorded, self._untold = epoch, 0, None, []
        self.reset()

    def record_batch(self, batch_idx: int, batch_size: int) -> None:
        """Note that each worker has trained on a batch of so many samples, in the order of the sampler.

        Raises
        ------
        HoraError
            This epoch is recorded by `record_indices`.
        """
        if self._recorded is not None:
            raise _mixed("record_batch", "record_indices")
        self.processed_num += batch_size * self.num_replicas

    def record_indices(self, indices: Iterable[int]) -> None:
        """Note which samples this worker has trained on; the others come to know of them at the next commit.

        Parameters
        ----------
        indices
            Their places in the data set, in any order; a tensor of whole numbers will do.

        Raises
        ------
        HoraError
            One is no place in the data set, or this epoch is recorded by `record_batch`.
        """
        if self.processed_num:
            raise _mixed("record_indices", "record_batch")
        places = [int(index) for index in indices]
        if wrong := [place for place in places if not 0 <= place < len(self.dataset)]:
            raise HoraError(
                "ElasticSampler.record_indices",
                f"index {wrong[0]}; the data set has {len(self.dataset)} samples",
                "Pass what the sampler gave, not places in the batch",
            )
        self._mark(places)
        self._untold += places

    def take_untold(self) -> list[int]:
        """Return what this worker has recorded and the others have not been told."""
        untold, self._untold = self._untold, []
        return untold

    def learn(self, indices: Iterable[int]) -> None:
        """Note what other workers have recorded."""
        if places := list(indices):
            self._mark(places)

    @property
    def processed_indices(self) -> set[int]:
        """The samples of this epoch that the workers have trained on, as far as this one knows."""
        recorded = [] if self._recorded is None else self._recorded.nonzero().flatten().tolist()
        return {*self._order()[: self.processed_num], *recorded}

    def state_dict(self) -> dict[str, Any]:
        """Return how far the epoch has come."""
        recorded = None if self._recorded is None else self._recorded.clone()
        return {
            "epoch": self.epoch,
            "processed_num": self.processed_num,
            "recorded": recorded,
            "untold": self._untold.copy(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, with the workers that there are now."""
        self.epoch, self.processed_num = state_dict["epoch"], state_dict["processed_num"]
        recorded = state_dict.get("recorded")
        self._recorded = None if recorded is None else recorded.clone()
        self._untold = list(state_dict.get("untold", ()))
        self.reset()

    def reset(self) -> None:
        """Deal what is left to the workers that there are now."""
        self.num_replicas, self.rank = size(), rank()
        done = bytes(len(self.dataset)) if self._recorded is None else self._recorded.numpy().tobytes()
        self.remaining_indices = [index for index in self._order()[self.processed_num :] if not done[index]]
        self.num_samples = -(-len(self.remaining_indices) // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        left = self.remaining_indices
        padded = [left[place % len(left)] for place in range(self.total_size)]
        return iter(padded[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def _mark(self, places: list[int]) -> None:
        if self._recorded is None:
            self._recorded = torch.zeros(len(self.dataset), dtype=torch.bool)
        self._recorded[places] = True

    def _order(self) -> list[int]:
        """Return the epoch's order, the same on all workers."""
        order = list(range(len(self.dataset)))
        if self.shuffle:
            random.Random(self.seed + self.epoch).shuffle(order)
        return order


def _mixed(asked: str, found: str) -> HoraError:
    """The error where an epoch is recorded in both ways: what a batch was then depends on what is left."""
    return HoraError(f"ElasticSampler.{asked}", f"this epoch is recorded by {found}", f"Use {found} until set_epoch()")
