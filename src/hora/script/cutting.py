"""Which rows of its batch a worker trains on, where the script itself cuts what each worker loads in full.

``x[rank::size]`` and ``x.chunk(size)[rank]`` are a deal by hand. What a function of torch makes of a batch is followed
as far as its rows can be told; a piece counts when something is computed from it, as a chunk that is left lying is
another worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hora.script.events import BatchCut, Samples
from hora.script.passes import Passes

# Along the axis of the samples, which is the first unless they are told another.
_PIECES = frozenset({"chunk", "split", "tensor_split", "unbind"})
_ALONG = frozenset({"narrow", "select", "index_select"})
_SHAPED = frozenset({"view", "reshape", "unflatten"})
# What keeps each row in its place.
_SAME = frozenset(
    {"to", "cuda", "cpu", "float", "double", "half", "bfloat16", "long", "clone", "contiguous", "detach", "type"}
    | {"pin_memory", "unsqueeze", "squeeze", "flatten", "requires_grad_"}
)
# What tells of a tensor and computes nothing from it.
_TELLING = frozenset(
    {"__get__", "size", "dim", "__len__", "numel", "stride", "is_floating_point", "__iter__", "__repr__"}
)


class Cuts(TorchFunctionMode):
    """Follows the pieces of each batch that `passes` hands out, and tells `emit` the rows that are used."""

    def __init__(self, passes: Passes, emit: Callable[[BatchCut], None]) -> None:
        super().__init__()
        self._passes, self._emit = passes, emit
        # By the tensor's id: the tensor, which so stays itself, and the row of the batch that each of its rows is.
        self._rows: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._own: Samples = ()
        self._used: set[int] | None = None

    def begin(self, batch: Any) -> None:
        """Follow another batch from here on."""
        self._rows, self._used = {}, None
        self._own = () if self._passes.batch is None else self._passes.batch.own
        for tensor in _tensors(batch):
            if tensor.dim() and len(tensor) == len(self._own):
                self._rows[id(tensor)] = tensor, torch.arange(len(tensor))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, and see what it makes of which rows."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self._rows and args:
            name = getattr(func, "__name__", "")
            known = self._rows.get(id(args[0]))
            pieces = None if known is None else _pieces(func, name, known[1], args, kwargs, result)
            if pieces is not None:
                for tensor, rows in pieces:
                    self._rows[id(tensor)] = tensor, rows
            elif name not in _TELLING:
                self._note(args)
        return result

    def _note(self, args: tuple[Any, ...]) -> None:
        """Remember the rows of the pieces among what something is computed from."""
        for tensor in _tensors(args):
            _, rows = self._rows.get(id(tensor), (None, None))
            if rows is None or rows.numel() == len(self._own):
                continue
            new = set(rows.flatten().tolist()) - (self._used or set())
            if self._used is None or new:
                self._used = new | (self._used or set())
                self._tell(tuple(sorted(new)), tuple(sorted(self._used)))

    def _tell(self, new: tuple[int, ...], used: tuple[int, ...]) -> None:
        batch = self._passes.batch
        if batch is not None:
            self._emit(BatchCut(batch.loader, batch.number, batch.index, new))
            # What is drawn for the piece has a row for each of its samples.
            self._passes.batch = replace(batch, own=tuple(self._own[row] for row in used))


def _pieces(
    func: Any, name: str, rows: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
    """What a function of a tensor gives, with the rows of the batch that are in it; None where that cannot be told."""
    if name == "__getitem__":
        key = args[1][0] if isinstance(args[1], tuple) and args[1] else args[1]
        # Of one sample's own entries any are still that sample's.
        found = rows if key is None or key is Ellipsis or not rows.dim() else _picked(rows, key)
        if found is None:
            return None
    elif name in _PIECES or name in _ALONG:
        place = {"split": 2, "chunk": 2, "tensor_split": 2}.get(name, 1)
        if kwargs.get("dim", args[place] if len(args) > place else 0) != 0:
            return None
        found = func(rows, *args[1:], **kwargs)
    elif name in _SHAPED and isinstance(result, torch.Tensor) and result.dim():
        leading = result.shape[:1] if len(result) == rows.numel() else result.shape[:2]
        if leading.numel() != rows.numel():
            return None
        found = rows.reshape(leading)
    elif name in _SAME and isinstance(result, torch.Tensor) and result.shape[: rows.dim()] == rows.shape:
        found = rows
    else:
        return None
    if isinstance(result, torch.Tensor):
        return [(result, found)]
    return list(zip(result, found, strict=True))


def _picked(rows: torch.Tensor, key: Any) -> torch.Tensor | None:
    """Index rows as what they stand for is; None where the index is of more axes than theirs."""
    try:
        return rows[key]
    except (IndexError, TypeError):
        return None


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of a batch or among arguments, however nested."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
