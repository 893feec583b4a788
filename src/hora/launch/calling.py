"""The worker's side of `hora.launch.call`: call the function that lies in a directory, and leave the result there."""

from __future__ import annotations

import os
import pickle
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

FUNCTION = "function"
RESULT = "result-{rank}"


def call() -> None:
    """Call the function that lies in the directory HORA_ERRAND."""
    directory = Path(os.environ["HORA_ERRAND"])
    with (directory / FUNCTION).open("rb") as file:
        sys.path[:] = pickle.load(file)
        func, args, kwargs = pickle.load(file)
    result = dump(func(*args, **kwargs))
    path = directory / RESULT.format(rank=os.environ["RANK"])
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(result)


def by_value() -> bool:
    """Return whether cloudpickle is here, which pickles functions by what they do and not by where they stand."""
    return find_spec("cloudpickle") is not None


def dump(thing: object) -> bytes:
    """Pickle a function with its arguments, or a result, by cloudpickle where that is installed."""
    data: bytes = import_module("cloudpickle" if by_value() else "pickle").dumps(thing)
    return data
