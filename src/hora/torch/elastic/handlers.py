"""How each kind of thing in a state is saved, rolled back and made equal on all workers."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from hora.torch.broadcast import broadcast_optimizer_state, broadcast_parameters
from hora.torch.elastic.sampler import ElasticSampler
from hora.torch.objects import allgather_object, broadcast_object


class StateHandler:
    """Handles a thing with `state_dict` and `load_state_dict`; a subclass may do any of it otherwise.

    Attributes
    ----------
    value
        The thing.
    saved
        What `save` has kept; it is what outlives the process.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self.saved: Any = None
        self.save()

    def save(self) -> None:
        """Keep a copy of its state."""
        self.saved = copy.deepcopy(self.value.state_dict())

    def restore(self) -> None:
        """Go back to what was kept."""
        self.value.load_state_dict(copy.deepcopy(self.saved))

    def sync(self) -> None:
        """Take over worker 0's state."""
        self.value.load_state_dict(broadcast_object(self.value.state_dict()))

    def untold(self) -> Any:
        """Return what this worker alone knows and all must, before a commit."""

    def learn(self, everyones: list[Any]) -> None:
        """Take in what `untold` returned on each worker."""

    def set_value(self, value: Any) -> None:
        """Handle another thing from now on."""
        self.value = value
        self.save()


class ModelStateHandler(StateHandler):
    """Handles a module."""

    def sync(self) -> None:
        """Take over worker 0's parameters and buffers."""
        broadcast_parameters(self.value.state_dict(), root_rank=0)


class OptimizerStateHandler(StateHandler):
    """Handles an optimizer."""

    def sync(self) -> None:
        """Take over worker 0's state."""
        broadcast_optimizer_state(self.value, root_rank=0)


class SamplerStateHandler(StateHandler):
    """Handles an `ElasticSampler`; the samples that each worker has recorded become known to all."""

    def sync(self) -> None:
        """Take over worker 0's state, and what the others have recorded."""
        self.learn(allgather_object(self.untold()))
        super().sync()

    def untold(self) -> list[int]:
        """Return which samples this worker has recorded since the last commit."""
        recorded: list[int] = self.value.take_untold()
        return recorded

    def learn(self, everyones: list[Any]) -> None:
        """Take in what each worker has recorded."""
        self.value.learn(index for indices in everyones for index in indices)


_registry: list[tuple[type, type[StateHandler]]] = [
    (torch.nn.Module, ModelStateHandler),
    (torch.optim.Optimizer, OptimizerStateHandler),
    (ElasticSampler, SamplerStateHandler),
    (LRScheduler, StateHandler),
    (torch.amp.GradScaler, StateHandler),
]


def get_handler_registry() -> list[tuple[type, type[StateHandler]]]:
    """Return which handler each type has; the first that fits counts."""
    return _registry


def set_handler_registry(registry: list[tuple[type, type[StateHandler]]]) -> None:
    """Set which handler each type has."""
    global _registry
    _registry = registry


def handler_for(value: Any) -> StateHandler | None:
    """Return a handler of a thing, None where it is an ordinary object."""
    return next((handler(value) for kind, handler in _registry if isinstance(value, kind)), None)
