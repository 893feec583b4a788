"""The worker's side of `hora.launch.call`: call the function that lies in a directory, and leave the result there."""

from __future__ import annotations

import io
import os
import pickle
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import CodeType

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
    if not by_value():
        return pickle.dumps(thing)
    pickler = import_module("cloudpickle").Pickler
    reduce = pickler.dispatch_table[CodeType]

    def with_file(code: CodeType) -> tuple[object, ...]:
        """Leave the name of the file in a function, which cloudpickle replaces: tracebacks show its lines."""
        make, arguments = reduce(code)
        return make, tuple(code.co_filename if part == "<dynamic-code>" else part for part in arguments)

    table = {"dispatch_table": pickler.dispatch_table.new_child({CodeType: with_file})}
    out = io.BytesIO()
    type("Pickler", (pickler,), table)(out).dump(thing)
    return out.getvalue()
