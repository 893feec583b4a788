"""Unpickle what a script has saved without running anything of it: its own classes become records of their state.

torch.load takes this module in place of pickle. Tensors, arrays and the containers around them are themselves; of a
saved network or a namespace of options remains what it held.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

import torch

# What may be called to rebuild a value; of a module, or single names. Everything else becomes a record.
_NAMES = frozenset(
    {
        "_codecs.encode",
        "collections.Counter",
        "collections.OrderedDict",
        "collections.deque",
        "torch.Size",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch._tensor._rebuild_from_type_v2",
    }
)
_BUILTINS = frozenset({"bool", "bytearray", "complex", "dict", "float", "frozenset", "int", "list", "range", "set"})
_NUMPY = frozenset({"_reconstruct", "scalar", "ndarray", "dtype", "_frombuffer"})


class Record:
    """An object of a class that is not run: what it was made from and what it held."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        """Keep what the object is made from."""
        record = super().__new__(cls)
        record.held = {str(place): value for place, value in enumerate(args)} | kwargs
        return record

    held: dict[Any, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            self.held.update(part if isinstance(part, dict) else {"state": part})

    def __setitem__(self, key: Any, value: Any) -> None:
        self.held[key] = value

    def __hash__(self) -> int:
        return id(self)

    def __call__(self, *args: Any) -> Record:
        """Stand for what a function that is not run would give."""
        return Record(*args)

    def append(self, value: Any) -> None:
        """Keep an item of what was a list."""
        self.held[str(len(self.held))] = value

    def extend(self, values: Any) -> None:
        """Keep several."""
        for value in values:
            self.append(value)


class Unpickler(pickle.Unpickler):
    """Finds the few names that rebuild values, and makes a class of records for every other."""

    def find_class(self, module: str, name: str) -> Any:
        """Give what stands for a name in a pickle."""
        if (
            f"{module}.{name}" in _NAMES
            or (module == "torch._utils" and name.startswith("_rebuild"))
            or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype))
            or (module in ("builtins", "__builtin__") and name in _BUILTINS)
            or (module.startswith("numpy") and name in _NUMPY)
        ):
            return super().find_class(module, name)
        if (module, name) == ("copyreg", "_reconstructor"):
            return _reconstructed
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _loaded
        return type(name, (Record,), {"__module__": module})


def _reconstructed(kind: Any, *_rest: Any) -> Any:
    return kind()


def _loaded(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False, pickle_module=sys.modules[__name__])


def load(file: Any, **options: Any) -> Any:
    """Read one object, as `pickle.load` does."""
    return Unpickler(file, **options).load()
