"""The draws of `hora.script.latent` that a step makes with NumPy."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hora.script.latent import Draws

# Functions of NumPy's own stream, and which of their positional arguments is the size; None where all are.
_SIZES = {
    "normal": 2,
    "uniform": 2,
    "randint": 2,
    "standard_normal": 0,
    "random": 0,
    "random_sample": 0,
    "randn": None,
    "rand": None,
}


@contextmanager
def numpy_draws(draws: Draws) -> Iterator[None]:
    """Watch NumPy's functions, where NumPy is installed; those with a parameter for each entry are left alone."""
    try:
        import numpy as np
    except ImportError:
        yield
        return
    originals = {name: getattr(np.random, name) for name in _SIZES}

    def watching(name: str) -> Callable[..., Any]:
        def drawing(*args: Any, **kwargs: Any) -> Any:
            state = np.random.get_state() if draws.anew else None
            drawn = originals[name](*args, **kwargs)
            size = _SIZES[name]
            parameters = [*args[: size or 0], *(value for key, value in kwargs.items() if key != "size")]
            if not isinstance(drawn, np.ndarray) or drawn.ndim == 0 or any(map(np.ndim, parameters)):
                return drawn
            begun = draws.begin(drawn.shape[0])
            if begun is None:
                return drawn
            if begun and state is not None:
                np.random.set_state(state)
            for row, place in enumerate(begun):
                stream = np.random.RandomState(zlib.crc32(place.encode()))
                drawn[row] = getattr(stream, name)(*_one_row(args, size), **_one_row_by_name(kwargs))[0]
            draws.end(torch.from_numpy(np.ascontiguousarray(drawn)))
            return drawn

        return drawing

    for name in originals:
        setattr(np.random, name, watching(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(np.random, name, original)


def _one_row(args: tuple[Any, ...], size: int | None) -> tuple[Any, ...]:
    if size is None:
        return (1, *args[1:])
    return tuple(_one_row_of(value) if place == size else value for place, value in enumerate(args))


def _one_row_by_name(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: _one_row_of(value) if key == "size" else value for key, value in kwargs.items()}


def _one_row_of(size: Any) -> Any:
    return (1, *tuple(size)[1:]) if hasattr(size, "__iter__") else 1
