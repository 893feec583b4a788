"""What scripts and tests take from `horovod.common.util`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from hora.torch import ccl_built, ddl_built, gloo_built, mpi_built, nccl_built

__all__ = ["ccl_built", "ddl_built", "env", "extension_available", "gloo_built", "mpi_built", "nccl_built"]

Value = TypeVar("Value")


def extension_available(ext_base_name: str, verbose: bool = False) -> bool:
    """Return whether Horovod's names are there for a framework; here they are for "torch" alone."""
    return ext_base_name == "torch"


@contextmanager
def env(**variables: str | None) -> Iterator[None]:
    """Set variables of the environment inside, or unset those that are None."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _cache(function: Callable[[], Value]) -> Callable[[], Value]:
    """Remember what a function returns."""
    return functools.cache(function)


def _set(variables: dict[str, str | None]) -> None:
    """Set variables, or unset those that are None."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
