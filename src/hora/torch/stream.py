"""The shared data stream: random numbers that the workers' samplers draw alike, apart from the script's own.

While a sampler draws, the states of torch, random and numpy are swapped for the stream's. What draws a different number
of times on some worker, such as dropout or augmentation, then cannot move the order of the data.
"""

from __future__ import annotations

import hashlib
import pickle
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler


def peek_seeds(deal: int) -> list[int]:
    """Derive a seed for each of torch, random and numpy from its present state, without drawing from it.

    A script that seeds one of them alone so keeps what depends on that one reproducible.

    Parameters
    ----------
    deal
        Which loader the seeds are for; each has seeds of its own.
    """
    torch_state = torch.get_rng_state().numpy().tobytes()
    numpy = sys.modules.get("numpy")
    numpy_state = torch_state if numpy is None else pickle.dumps(numpy.random.get_state())
    return [derive(deal, state) for state in (torch_state, pickle.dumps(random.getstate()), numpy_state)]


def derive(*parts: object) -> int:
    """Mix numbers and bytes into a seed of 63 bits."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"|")
    return int.from_bytes(digest.digest(), "little") >> 1


class Stream:
    """The random numbers of one epoch.

    Parameters
    ----------
    seeds
        What `peek_seeds` returned on worker 0.
    epoch
        Which epoch; each has numbers of its own.
    """

    def __init__(self, seeds: Sequence[int], epoch: int) -> None:
        torch_seed, random_seed, self._numpy_seed = (derive(seed, epoch) for seed in seeds)
        self._torch = torch.Generator().manual_seed(torch_seed).get_state()
        self._random = random.Random(random_seed).getstate()
        self._numpy: Any = None

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Let what runs inside draw from this stream."""
        numpy = sys.modules.get("numpy")
        if numpy is not None and self._numpy is None:
            self._numpy = numpy.random.MT19937(self._numpy_seed)
        self._swap(numpy)
        try:
            yield
        finally:
            self._swap(numpy)

    def _swap(self, numpy: Any) -> None:
        """Exchange the global states with the stream's."""
        state = torch.get_rng_state()
        torch.set_rng_state(self._torch)
        self._torch = state
        python_state = random.getstate()
        random.setstate(self._random)
        self._random = python_state
        if numpy is not None:
            # Generators change places, as copying numpy's state costs 100 times more.
            generator = numpy.random.get_bit_generator()
            numpy.random.set_bit_generator(self._numpy)
            self._numpy = generator


def generator_states(loader: DataLoader[Any]) -> list[Any]:
    """Return the states of the generators that the script gave the loader or its samplers."""
    return [_get_state(generator) for generator in _generators(loader)]


def set_generator_states(loader: DataLoader[Any], states: Sequence[Any]) -> None:
    """Set those generators to the states that another worker's have."""
    for generator, state in zip(_generators(loader), states, strict=True):
        _set_state(generator, state)


def _generators(loader: DataLoader[Any]) -> list[Any]:
    """Find the generators: the loader's own, and those among the attributes of its samplers or its stream."""
    found: dict[int, Any] = {}
    visited: set[int] = set()

    def visit(thing: object, look_inside: bool) -> None:
        if isinstance(thing, (torch.Generator, random.Random)) or _is_numpy_generator(thing):
            found.setdefault(id(thing), thing)
        elif look_inside and id(thing) not in visited:
            visited.add(id(thing))
            for name, value in getattr(thing, "__dict__", {}).items():
                visit(value, isinstance(value, (Sampler, IterableDataset)) or name.endswith("sampler"))

    visit(loader.generator, False)
    visit(loader.batch_sampler, True)
    # A stream has no sampler: what shuffles it draws within.
    visit(loader.dataset, isinstance(loader.dataset, IterableDataset))
    return list(found.values())


def _is_numpy_generator(thing: object) -> bool:
    """Return whether this is a generator of numpy's, new style or old."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(thing, (numpy.random.Generator, numpy.random.RandomState))


def _get_state(generator: Any) -> Any:
    """Read the state of a generator of any of the libraries."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state if hasattr(generator, "bit_generator") else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    """Write the state of a generator of any of the libraries."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)
