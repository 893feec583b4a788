"""What one worker computed, on disk: the bytes of its tensors in one file, what and where they are in another.

Both ways the tensors pass piece by piece: neither who records nor who compares holds a copy of the model. A zip file
for each step, as `torch.save` writes it, takes three times as long for a small network.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

Group = Literal["gradients", "before", "after", "state", "buffers"]

# How much is gathered for one call of the system, in bytes and in pieces.
_BYTES, _PIECES = 16 << 20, 512
# How many numbers of a tensor are compared at a time.
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Kept:
    """A tensor of a step: its name, and where its bytes begin in the file; `dtype` is empty where there was none."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int


@dataclass(frozen=True)
class StepRecord:
    """What is kept of a step of an optimizer."""

    optimizer: int
    groups: dict[str, tuple[Kept, ...]]

    def of(self, group: Group) -> tuple[Kept, ...]:
        """The tensors of a kind, in their order."""
        return self.groups.get(group, ())

    def named(self, group: Group) -> dict[str, Kept]:
        """The same by their names."""
        return {kept.name: kept for kept in self.of(group)}


class RecordWriter:
    """Writes steps, one after the other, into `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._data = os.open(_data(directory), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._index = open(_index(directory), "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._place, self._base = 0, 0
        self._pending: list[tuple[torch.Tensor, Any]] = []
        self._bytes = 0
        self._tensors: list[tuple[str, str, str, tuple[int, ...], int]] = []
        self._layout: list[tuple[str, str, str, tuple[int, ...], int]] = []

    def write(self, group: Group, named: Iterable[tuple[str, torch.Tensor | None]]) -> None:
        """Write tensors of the step that is under way; they may change when this returns."""
        for name, tensor in named:
            begin = self._place + self._bytes - self._base
            if tensor is None:
                self._tensors.append((group, name, "", (), begin))
                continue
            dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
            whole = dense.cpu().contiguous()
            self._tensors.append((group, name, str(whole.dtype).removeprefix("torch."), tuple(whole.shape), begin))
            size = whole.numel() * whole.element_size()
            if size:
                self._pending.append((whole, (ctypes.c_char * size).from_address(whole.data_ptr())))
                self._bytes += size
            if self._bytes >= _BYTES or len(self._pending) >= _PIECES:
                self._flush()
        self._flush()

    def end(self, step: int, optimizer: int) -> None:
        """End the step. Its layout is left out where it is that of the step before."""
        line: dict[str, Any] = {"step": step, "optimizer": optimizer, "base": self._base}
        if self._tensors != self._layout:
            line["tensors"] = self._layout = self._tensors
        self._index.write(json.dumps(line) + "\n")
        self._tensors, self._base = [], self._place

    def _flush(self) -> None:
        pieces: list[Any] = [memoryview(piece).cast("B") for _, piece in self._pending]
        while pieces:
            written = os.writev(self._data, pieces)
            self._place += written
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if written:
                pieces[0] = pieces[0][written:]
        self._pending, self._bytes = [], 0


class RecordReader:
    """Reads the steps in `directory`, of which there may be none."""

    def __init__(self, directory: Path) -> None:
        self._steps: dict[int, tuple[int, int, list[Any]]] = {}
        self._data = -1
        if not _index(directory).exists():
            return
        self._data = os.open(_data(directory), os.O_RDONLY)
        layout: list[Any] = []
        with open(_index(directory), encoding="utf-8") as lines:
            for line in lines:
                fields = json.loads(line)
                layout = fields.get("tensors", layout)
                self._steps[fields["step"]] = fields["optimizer"], fields["base"], layout

    def step(self, number: int) -> StepRecord | None:
        """What is kept of a step; None where there was no such step."""
        if number not in self._steps:
            return None
        optimizer, base, layout = self._steps[number]
        groups: dict[str, list[Kept]] = {}
        for group, name, dtype, shape, begin in layout:
            groups.setdefault(group, []).append(Kept(name, dtype, tuple(shape), base + begin))
        return StepRecord(optimizer, {group: tuple(kept) for group, kept in groups.items()})

    def chunks(self, kept: Kept) -> Iterator[tuple[slice, torch.Tensor]]:
        """The numbers of a tensor in a row, some at a time, and which of them they are."""
        dtype: torch.dtype = getattr(torch, kept.dtype)
        count = 1
        for length in kept.shape:
            count *= length
        for begin in range(0, count, _CHUNK):
            chunk = torch.empty(min(_CHUNK, count - begin), dtype=dtype)
            size = chunk.numel() * chunk.element_size()
            memory = memoryview((ctypes.c_char * size).from_address(chunk.data_ptr())).cast("B")
            place = kept.begin + begin * chunk.element_size()
            while memory:
                read = os.preadv(self._data, [memory], place)
                if not read:
                    raise EOFError(f"the record of {kept.name} ends too soon")
                memory, place = memory[read:], place + read
            yield slice(begin, begin + chunk.numel()), chunk


def _data(directory: Path) -> Path:
    return directory / "tensors.bin"


def _index(directory: Path) -> Path:
    return directory / "steps.jsonl"
