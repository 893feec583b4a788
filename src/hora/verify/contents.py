"""What a file holds that a script has left: lines of text, or values under names; None where its format is not known.

Nothing of a file is run. A checkpoint is read as weights alone, or by `hora.verify.inert` where it holds more.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hora.verify import inert

_TEXTS = frozenset({"", ".csv", ".err", ".jsonl", ".log", ".md", ".out", ".tsv", ".txt", ".yaml", ".yml"})
# A longer text is no log that somebody reads.
_TEXT_BYTES = 4 << 20
# So many numbers in a row are one array, such as the losses of all epochs.
_ROW = 8


@dataclass(frozen=True)
class Text:
    """Lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Values:
    """Tensors and numbers by the keys that lead to them: ``optimizer.state.0.exp_avg``."""

    entries: Mapping[str, torch.Tensor]


def read(path: Path) -> Text | Values | None:
    """Read a file; None where its format is not known, or it is not what its name says."""
    reader = _READERS.get(path.suffix.lower())
    try:
        if reader is None and path.suffix.lower() in _TEXTS:
            return _text(path)
        if reader is None and not zipfile.is_zipfile(path):
            return None
        loaded = (reader or _checkpoint)(path)
        return Values(dict(_entries(loaded, "", set(), within=False)))
    except Exception:
        # Anything may be in a file, and its reader raises what it likes.
        return None


def _text(path: Path) -> Text | None:
    content = path.read_bytes() if path.stat().st_size <= _TEXT_BYTES else b"\0"
    return None if b"\0" in content else Text(tuple(content.decode().splitlines()))


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _checkpoint(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=inert)


def _pickle(path: Path) -> Any:
    with open(path, "rb") as file:
        return inert.load(file)


def _arrays(path: Path) -> Any:
    import numpy as np

    loaded = np.load(path, allow_pickle=False)
    return dict(loaded) if path.suffix.lower() == ".npz" else loaded


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file  # type: ignore[import-not-found, unused-ignore]

    return load_file(path)


_READERS: dict[str, Callable[[Path], Any]] = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".tar", ".bin"), _checkpoint),
    **dict.fromkeys((".pkl", ".pickle"), _pickle),
    **dict.fromkeys((".npy", ".npz"), _arrays),
    ".json": _json,
    ".safetensors": _safetensors,
}


def _entries(value: Any, key: str, above: set[int], *, within: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Walk down to the tensors and numbers; `within` the record of an object only tensors count, not its settings."""
    tensor = None if isinstance(value, (bool, int, float)) and within else _tensor(value)
    if tensor is not None:
        yield key, tensor
        return
    if isinstance(value, inert.Record):
        value, within = value.held, True
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        return
    if id(value) in above:
        return
    above = above | {id(value)}
    for name, item in items:
        yield from _entries(item, f"{key}.{name}" if key else str(name), above, within=within)


def _tensor(value: Any) -> torch.Tensor | None:
    """Give a tensor, an array, a number or a row of numbers as a tensor."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        strided: torch.Tensor = value.to_dense() if value.layout is not torch.strided else value
        return strided
    number = (bool, int, float)
    if isinstance(value, (list, tuple)) and len(value) >= _ROW and all(isinstance(item, number) for item in value):
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, number):
        return torch.tensor(value, dtype=torch.float64)
    if hasattr(value, "__array__") and getattr(getattr(value, "dtype", None), "kind", "O") in "biufc":
        return torch.as_tensor(value)
    return None
