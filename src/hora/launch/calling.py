"""The worker's side of `hora.launch.function`: call what lies in a directory, and leave the result beside it."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FUNCTION = "function.pickle"
RESULT = "result-{generation}-{rank}"
FAILURE = "failure-{rank}"
SCRIPT = """from hora.launch.calling import call

call(__file__)
"""
"""What each worker runs, in the directory."""


def call(script: str) -> None:
    """Call the function that lies beside a script; exceptions go on, after their traceback is written down.

    Parameters
    ----------
    script
        The script that runs, in the directory of the call.
    """
    directory, rank = Path(script).resolve().parent, os.environ["RANK"]
    try:
        with (directory / FUNCTION).open("rb") as file:
            sys.path[:] = pickle.load(file)
            func, args, kwargs = pickle.load(file)
        result = dump(func(*args, **kwargs))
    except Exception:
        _write(directory / FAILURE.format(rank=rank), traceback.format_exc().encode())
        raise
    generation = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    _write(directory / RESULT.format(generation=generation, rank=rank), result)


def read_results(directory: Path) -> list[Any]:
    """Read what the workers of the last generation returned, by rank."""
    found: dict[tuple[int, int], Path] = {}
    for path in directory.glob(RESULT.format(generation="*", rank="*")):
        if path.suffix != ".new":
            _, generation, rank = path.name.split("-")
            found[int(generation), int(rank)] = path
    last = max((generation for generation, _ in found), default=0)
    return [pickle.loads(found[key].read_bytes()) for key in sorted(found) if key[0] == last]


def by_value() -> bool:
    """Return whether cloudpickle is here, which pickles functions by what they do and not by where they stand."""
    return find_spec("cloudpickle") is not None


def dump(thing: object) -> bytes:
    """Pickle a function with its arguments, or a result, by cloudpickle where that is installed."""
    data: bytes = import_module("cloudpickle" if by_value() else "pickle").dumps(thing)
    return data


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(data)
    beside.replace(path)
