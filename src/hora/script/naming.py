"""Names for what an optimizer steps, by way of the modules that own its parameters.

The modules are looked for where every object is: in the garbage collector.
Scripts keep their models under any name, in any class, behind any function; some train through methods, so that no
forward hook sees them. The collector's list of objects has none of these blind spots and is read once per optimizer.
"""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class NamedTensor:
    """A live tensor, its name as its module says it, and that module."""

    name: str
    layer: str
    tensor: torch.Tensor


@dataclass(frozen=True)
class Stepping:
    """What an optimizer steps.

    Attributes
    ----------
    optimizer
        The innermost one.
    parameters
        Its parameters, in its own order.
    roots
        The modules that the parameters come from, and what stands before the names of what they hold.
    """

    optimizer: torch.optim.Optimizer
    parameters: tuple[NamedTensor, ...]
    roots: tuple[tuple[str, nn.Module], ...]

    def buffers(self) -> tuple[NamedTensor, ...]:
        """The buffers of the modules, as they are now, such as BatchNorm's running statistics."""
        return tuple(
            _named(prefix + name, buffer) for prefix, root in self.roots for name, buffer in root.named_buffers()
        )

    def state(self) -> tuple[NamedTensor, ...]:
        """What the optimizer keeps for each parameter, such as Adam's moments; each kind of a layer is a layer here."""
        return tuple(
            NamedTensor(f"{parameter.name}:{key}", f"{parameter.layer}:{key}", value)
            for parameter in self.parameters
            for key, value in self.optimizer.state.get(parameter.tensor, {}).items()
            if isinstance(value, torch.Tensor)
        )


def stepping(optimizer: torch.optim.Optimizer) -> Stepping:
    """Name every parameter of an optimizer.

    A parameter that no module holds is called ``group0.1`` after its place. Where the parameters come from several root
    modules, their class names tell them apart, with a number from the second of a class on.
    """
    places = [(g, i, p) for g, group in enumerate(optimizer.param_groups) for i, p in enumerate(group["params"])]
    known, roots = _names([parameter for _, _, parameter in places])
    parameters = tuple(_named(known.get(id(p), f"group{group}.{index}"), p) for group, index, p in places)
    return Stepping(optimizer, parameters, roots)


def _named(name: str, tensor: torch.Tensor) -> NamedTensor:
    return NamedTensor(name, name.rpartition(".")[0] or name, tensor)


def _names(parameters: list[torch.Tensor]) -> tuple[dict[int, str], tuple[tuple[str, nn.Module], ...]]:
    """Names by the parameters' ids, the same in each run of a script: their own order decides what comes first."""
    position = {id(parameter): index for index, parameter in reversed(list(enumerate(parameters)))}
    owned = [
        (root, {id(parameter): name for name, parameter in root.named_parameters() if id(parameter) in position})
        for root in _roots()
    ]
    holding = [(root, names) for root, names in owned if names]
    holding.sort(key=lambda item: (-len(item[1]), min(map(position.__getitem__, item[1]))))
    names: dict[int, str] = {}
    used: Counter[str] = Counter()
    roots = []
    several = len({frozenset(own) for _, own in holding}) > 1
    for root, own in holding:
        if own.keys() <= names.keys():
            continue
        kind = type(root).__name__
        used[kind] += 1
        prefix = f"{kind}{used[kind] if used[kind] > 1 else ''}." if several else ""
        roots.append((prefix, root))
        for parameter, name in own.items():
            names.setdefault(parameter, prefix + name)
    return names, tuple(roots)


def _roots() -> list[nn.Module]:
    # By type: isinstance would ask the objects themselves, of which some are proxies that act when asked.
    modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
    children = {id(child) for module in modules for child in module.children()}
    return [module for module in modules if id(module) not in children]
