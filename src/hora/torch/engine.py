"""The one place that touches the private side of torch's autograd engine.

The public hooks say when one gradient is there; only the engine's own callback says when a backward has ended, which is
when gradients must be reduced for whatever reads them next.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle


def at_end_of_backward(callback: Callable[[], None]) -> None:
    """Call back when the backward that is running has ended; what `callback` raises comes out of `backward()`."""
    torch.autograd.Variable._execution_engine.queue_callback(callback)


def current_backward() -> int:
    """Return the number of the backward that is running; a backward inside another has a number of its own."""
    return int(torch._C._current_graph_task_id())


def enclosing_node() -> Node | None:
    """Return, at the end of a backward, the node of another backward that this one ran inside, if any.

    Reentrant checkpointing runs a backward inside another's node.
    """
    node: Node | None = torch._C._current_autograd_node()
    return node


def after_node(node: Node, callback: Callable[[], None]) -> None:
    """Call back once, in the backward that `node` belongs to, when that backward goes on after the node."""
    handles: list[RemovableHandle] = []

    def resume(_gradients: object) -> None:
        while handles:
            handles.pop().remove()
        callback()

    for successor, _ in node.next_functions:
        if successor is not None:
            handles.append(successor.register_prehook(resume))


def count_aliases(tensor: torch.Tensor) -> int:
    """Count the tensors that share a tensor's memory, itself included."""
    return _users(tensor) - _ASKING


def _users(tensor: torch.Tensor) -> int:
    """Count who uses a tensor's memory; with some releases of torch (2.13, not 2.6) who asks is one of them."""
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata))


_ASKING = _users(torch.zeros(1)) - 1
