"""Making workers start equal: parameters, buffers and optimizer state, as worker `root_rank` has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from hora.errors import HoraError
from hora.torch.broadcasting import broadcast_, check_root
from hora.torch.exchange import agree
from hora.torch.gathering import as_bytes
from hora.torch.objects import broadcast_object
from hora.torch.world import current

_CHUNK_BYTES = 32 << 20

Parameters = torch.nn.Module | Mapping[str, Any] | Iterable[tuple[str, torch.Tensor]]


def broadcast_parameters(params: Parameters, root_rank: int) -> None:
    """Overwrite parameters and buffers with those of one worker, in place.

    Parameters
    ----------
    params
        A module, a `state_dict()` (of which an `_extra_state` is left alone), another dict of tensors, or pairs of name
        and tensor as from `named_parameters()`.
    root_rank
        Whose values all get.

    Raises
    ------
    ValueError
        `params` is none of these, or no worker has that rank.
    HorovodInternalError
        The workers' names, shapes or dtypes differ (named on every worker), or a worker is gone.
    """
    check_root(root_rank, current().members)
    pairs = list(_named_tensors(params))
    agree([f"{name}: {_kind(tensor)}" for name, tensor in pairs], "broadcast_parameters")
    _broadcast_tensors([tensor.detach() for _, tensor in pairs], root_rank)


def broadcast_optimizer_state(
    optimizer: torch.optim.Optimizer, root_rank: int, model: torch.nn.Module | None = None
) -> None:
    """Overwrite an optimizer's state and options with those of one worker, in place.

    The optimizer takes no step and no weight moves. A worker without state receives the root's, so resuming on worker
    0 alone is enough.

    Parameters
    ----------
    optimizer
        Any optimizer, wrapped or not, over the same parameters on every worker.
    root_rank
        Whose state all get.
    model
        Horovod has it; not needed here.

    Raises
    ------
    ValueError
        No worker has that rank.
    HorovodInternalError
        The parameters differ between workers (named on every worker), or a worker is gone.
    """
    check_root(root_rank, current().members)
    world = current()
    if world.size == 1:
        return
    groups = optimizer.param_groups
    parameters = [parameter for group in groups for parameter in group["params"]]
    agree(
        [
            f"parameter {i} of group {g}: {_kind(p)}"
            for g, group in enumerate(groups)
            for i, p in enumerate(group["params"])
        ],
        "broadcast_optimizer_state",
    )
    place = {parameter: index for index, parameter in enumerate(parameters)}
    # Options come first, under the key 0; a tensor among them lives beside the first parameter.
    items: list[tuple[Any, Any]] = []
    tensors: list[torch.Tensor] = []
    if world.rank == root_rank:
        items = [(0, [{key: value for key, value in group.items() if key != "params"} for group in groups])]
        items += [(place.get(key, key), value) for key, value in optimizer.state.items()]
        items = [(key, _pack(value, _home(key, parameters), tensors)) for key, value in items]
    items = broadcast_object(items, root_rank)
    if world.rank != root_rank:
        items = [(key, _unpack(value, _home(key, parameters), tensors)) for key, value in items]
    _broadcast_tensors(tensors, root_rank)
    if world.rank != root_rank:
        (_, options), *state = items
        for group, own in zip(groups, options, strict=True):
            group.update(own)
        optimizer.state.clear()
        optimizer.state.update({parameters[key] if isinstance(key, int) else key: value for key, value in state})


@dataclass(frozen=True)
class _Slot:
    """Stands for a tensor in a pickled structure, and the tensor travels beside it; no device means that of its key."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str | None


def _home(key: object, parameters: Sequence[torch.Tensor]) -> torch.device:
    """Return the device of the parameter that a state belongs to."""
    return parameters[key].device if isinstance(key, int) else torch.device("cpu")


def _pack(value: Any, home: torch.device, tensors: list[torch.Tensor]) -> Any:
    """Replace each tensor in a structure by a slot, and append it to `tensors`."""
    if isinstance(value, torch.Tensor):
        tensors.append(value.detach())
        return _Slot(tuple(value.shape), value.dtype, None if value.device == home else value.device.type)
    return _map(value, lambda part: _pack(part, home, tensors))


def _unpack(value: Any, home: torch.device, tensors: list[torch.Tensor]) -> Any:
    """Undo `_pack`: replace each slot by a tensor without values, and append that to `tensors`."""
    if isinstance(value, _Slot):
        tensors.append(torch.empty(value.shape, dtype=value.dtype, device=value.device or home))
        return tensors[-1]
    return _map(value, lambda part: _unpack(part, home, tensors))


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to the members of a dict, list or tuple; return anything else as it is."""
    if isinstance(value, dict):
        return {key: function(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(function(part) for part in value)
    return value


def _named_tensors(params: Parameters) -> Iterator[tuple[str, torch.Tensor]]:
    """List what is to be broadcast."""
    if isinstance(params, torch.nn.Module):
        pairs: Iterable[Any] = [*params.named_parameters(), *params.named_buffers()]
    elif isinstance(params, Mapping):
        pairs = params.items()
    elif isinstance(params, Iterable) and not isinstance(params, torch.Tensor):
        pairs = params
    else:
        raise ValueError(f"broadcast_parameters needs a module, a dict or pairs; got {type(params).__name__}")
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise ValueError(f"broadcast_parameters needs pairs of name and tensor; got {type(pair).__name__}")
        name, tensor = pair
        if tensor is None or name.endswith("_extra_state"):
            continue
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"broadcast_parameters needs tensors; {name!r} is {type(tensor).__name__}")
        if is_lazy(tensor):
            raise HoraError(
                "broadcast_parameters",
                f"{name!r} has no shape yet, as its module is lazy",
                "Run one batch through the model first",
            )
        yield name, tensor


def _kind(tensor: torch.Tensor) -> str:
    """Describe what must be alike on all workers."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _broadcast_tensors(tensors: Sequence[torch.Tensor], root_rank: int) -> None:
    """Overwrite tensors with the root's, a chunk of many at a time."""
    world = current()
    if world.group is None:
        return
    for chunk in _chunks(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in chunk])
        wire = as_bytes(flat)
        if wire.device.type == "cpu":
            wire = wire.to(world.device)
        broadcast_(wire, root_rank)
        if world.rank != root_rank:
            values = wire.to(flat.device).view(flat.dtype).split([tensor.numel() for tensor in chunk])  # type: ignore[no-untyped-call]
            for tensor, value in zip(chunk, values, strict=True):
                tensor.copy_(value.view(tensor.shape))


def _chunks(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Cut tensors into runs of one dtype and device, of a size worth a collective."""
    by_kind: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for tensor in tensors:
        if tensor.numel():
            by_kind.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for alike in by_kind.values():
        chunk: list[torch.Tensor] = []
        for tensor in alike:
            if chunk and sum(other.nbytes for other in chunk) + tensor.nbytes > _CHUNK_BYTES:
                yield chunk
                chunk = []
            chunk.append(tensor)
        yield chunk
