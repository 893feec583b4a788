"""Hooks on parameters that do not keep alive what they call.

torch holds a hook where Python's collector does not look. One that holds an object which holds the parameter would keep
both, and the network with them, until the process ends.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from types import MethodType
from typing import Any

from torch.utils.hooks import RemovableHandle


def weakly(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a hook that calls a method as long as its object is there; what hooks are given goes on unchanged."""
    assert isinstance(method, MethodType)
    # Hooks run once for each gradient: `weakref.WeakMethod` would make the method anew each time, in Python.
    owner, function = weakref.ref(method.__self__), method.__func__

    def hook(given: Any) -> Any:
        alive = owner()
        return None if alive is None else function(alive, given)

    return hook


def remove_all(hooks: Mapping[int, Iterable[RemovableHandle]]) -> None:
    """Remove the hooks of several parameters."""
    for handle in chain.from_iterable(hooks.values()):
        handle.remove()
