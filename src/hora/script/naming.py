"""Names for what an optimizer steps, by way of the modules that own its parameters.

The modules are looked for where every object is: in the garbage collector.
Scripts keep their models under any name, in any class, behind any function; some train through methods, so that no
forward hook sees them. The collector's list of objects has none of these blind spots and is read once per optimizer.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class NamedTensor:
    """A live parameter of an optimizer, its name as its module says it, and that module."""

    name: str
    layer: str
    tensor: torch.Tensor


def named_parameters(optimizer: torch.optim.Optimizer) -> tuple[NamedTensor, ...]:
    """Name every parameter of an optimizer, in its own order.

    A parameter that no module holds is called ``group0.1`` after its place. Where several root modules are alive,
    their class names tell them apart.
    """
    known = _module_names()
    found = []
    for group_index, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            name = known.get(id(parameter), f"group{group_index}.{index}")
            found.append(NamedTensor(name, name.rpartition(".")[0] or name, parameter))
    return tuple(found)


def _module_names() -> dict[int, str]:
    # By type: isinstance would ask the objects themselves, of which some are proxies that act when asked.
    modules = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module)]
    children = {id(child) for module in modules for child in module.children()}
    roots = [module for module in modules if id(module) not in children and any(True for _ in module.parameters())]
    names: dict[int, str] = {}
    for root in roots:
        prefix = f"{type(root).__name__}." if len(roots) > 1 else ""
        for name, parameter in root.named_parameters():
            names.setdefault(id(parameter), prefix + name)
    return names
