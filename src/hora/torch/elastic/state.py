"""What training is made of, as an elastic job commits it, rolls it back and shares it."""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hora.errors import HoraError
from hora.torch.deal import dealt_samplers
from hora.torch.elastic.commits import Commits, Number, open_commits
from hora.torch.elastic.handlers import StateHandler, handler_for
from hora.torch.elastic.randomness import random_state, set_random_state
from hora.torch.exceptions import HostsUpdatedInterrupt
from hora.torch.objects import allgather_object, broadcast_object
from hora.torch.world import local_rank, rank


class State:
    """A state of the script's own kind: it says how it is saved, restored and shared. It does not outlive the process.

    Parameters
    ----------
    bcast_object, get_rank
        Horovod has them; `broadcast_object` and `rank`.
    """

    def __init__(self, bcast_object: Callable[..., Any] = broadcast_object, get_rank: Callable[[], int] = rank) -> None:
        self._bcast_object, self._rank = bcast_object, get_rank
        self._reset_callbacks: list[Callable[[], None]] = []

    def register_reset_callbacks(self, callbacks: list[Callable[[], None]]) -> None:
        """Have functions called once the workers have started anew, such as one that sets the rate by `size()`."""
        self._reset_callbacks.extend(callbacks)

    def on_reset(self) -> None:
        """Call them."""
        self.reset()
        for callback in self._reset_callbacks:
            callback()

    def commit(self) -> None:
        """Save, so that training goes on from here after a failure.

        Raises
        ------
        HostsUpdatedInterrupt
            On all workers alike: the set of hosts has changed.
        """
        self.save()
        self.check_host_updates()

    def check_host_updates(self) -> None:
        """Raise HostsUpdatedInterrupt, on all workers alike, where the set of hosts has changed."""
        if any(allgather_object(_hosts_updated())):
            raise HostsUpdatedInterrupt

    def save(self) -> None:
        """Keep a copy in memory."""
        raise NotImplementedError

    def restore(self) -> None:
        """Go back to that copy."""
        raise NotImplementedError

    def sync(self) -> None:
        """Make all workers equal."""
        raise NotImplementedError

    def reset(self) -> None:
        """Do what a new start needs."""


class ObjectState(State):
    """Ordinary objects, which are attributes of the state.

    Parameters
    ----------
    bcast_object, get_rank
        As above.
    kwargs
        The objects by their names.
    """

    _handlers: dict[str, StateHandler]

    def __init__(
        self,
        bcast_object: Callable[..., Any] = broadcast_object,
        get_rank: Callable[[], int] = rank,
        **kwargs: Any,
    ) -> None:
        self.__dict__.setdefault("_handlers", {})
        super().__init__(bcast_object, get_rank)
        self._saved_state = copy.deepcopy(kwargs)
        self._random = [random_state()]
        self._loaders = dealt_samplers()
        self._saved_loaders = [loader.state_dict() for loader in self._loaders]
        self._commits: Commits | None = open_commits()
        self._number: Number = (int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")), 0)
        self._looked = False
        self._set_attributes()

    def commit(self) -> None:
        """Save in memory and, in an elastic job, where it outlives this process.

        Raises
        ------
        HostsUpdatedInterrupt
            On all workers alike: the set of hosts has changed.
        HoraError
            Neither memory nor disk takes the commit, it would not hold how far a loader has come, or the state was not
            synchronised before, so that a new start would write over what was committed.
        """
        if self._keep():
            raise HostsUpdatedInterrupt

    def check_host_updates(self) -> None:
        """Commit and raise HostsUpdatedInterrupt, on all workers alike, where the set of hosts has changed."""
        if any(allgather_object(_hosts_updated())):
            self._keep()
            raise HostsUpdatedInterrupt

    def save(self) -> None:
        """Keep a copy in memory."""
        self._saved_state = {name: copy.deepcopy(getattr(self, name)) for name in self._saved_state}
        for handler in self._handlers.values():
            handler.save()
        self._saved_loaders = [loader.state_dict() for loader in self._loaders]
        self._random = [random_state()]

    def restore(self) -> None:
        """Go back to that copy."""
        for handler in self._handlers.values():
            handler.restore()
        self._set_attributes()
        for loader, saved in zip(self._loaders, self._saved_loaders, strict=True):
            loader.load_state_dict(saved)
        set_random_state(self._random, 0)

    def sync(self) -> None:
        """Take over the newest commit that any host holds, after a new start; else what worker 0 has."""
        payload = None if self._looked else self._agree_on_newest()
        self._looked = True
        if payload is not None:
            self._load(payload)
            self.on_reset()
            return
        for handler in self._handlers.values():
            handler.sync()
        self._saved_state = broadcast_object({name: getattr(self, name) for name in self._saved_state})
        self._set_attributes()
        self._saved_loaders = broadcast_object([loader.state_dict() for loader in self._loaders])
        for loader, saved in zip(self._loaders, self._saved_loaders, strict=True):
            loader.load_state_dict(saved)

    def flush(self, seconds: float = 30.0) -> None:
        """Wait until local disk has what was committed, so long at most."""
        if self._commits is not None:
            self._commits.flush(seconds)

    def _keep(self) -> bool:
        """Commit; return whether the set of hosts has changed. All workers have come so far when any writes."""
        self._refuse_unknown_loaders()
        if self._commits is not None and not self._looked:
            raise HoraError(
                "state.commit()",
                "this state was not synchronised: after a new start it would write over what it has committed",
                "Call state.sync() before the first commit, or pass the state to a function under hvd.elastic.run",
            )
        untold = {name: handler.untold() for name, handler in self._handlers.items()}
        pieces = allgather_object((random_state(), _hosts_updated(), untold))
        for name, handler in self._handlers.items():
            handler.learn([everyones[name] for _, _, everyones in pieces])
        self.save()
        self._number = (self._number[0], self._number[1] + 1)
        if self._commits is not None and local_rank() == 0:
            content = {
                "objects": self._saved_state,
                "handlers": {name: handler.saved for name, handler in self._handlers.items()},
                "loaders": self._saved_loaders,
                "random": [state for state, *_ in pieces],
            }
            buffer = io.BytesIO()
            torch.save(content, buffer)
            self._commits.write(self._number, buffer.getvalue())
        return any(updated for _, updated, _ in pieces)

    def _refuse_unknown_loaders(self) -> None:
        """Refuse a commit within the epoch of a loader that is none of the state's: after a new start it began anew."""
        if any(
            not sampler.evaluation and sampler.is_under_way() for sampler in set(dealt_samplers()) - {*self._loaders}
        ):
            raise HoraError(
                "commit within an epoch",
                "its loader was dealt after the state was made, so the commit would not hold how far it has come",
                "Call hvd.deal() before hvd.elastic.TorchState(), or commit after the loop over the loader",
            )

    def _agree_on_newest(self) -> bytes | None:
        """Return the newest commit that any host holds; None where there is none."""
        own = self._commits.newest() if self._commits is not None and local_rank() == 0 else None
        held = allgather_object(None if own is None else own[0])
        known = [(number, -holder) for holder, number in enumerate(held) if number is not None]
        if not known:
            return None
        number, holder = max(known)
        self._number = (self._number[0], number[1])
        return broadcast_object(None if own is None else own[1], -holder)

    def _load(self, payload: bytes) -> None:
        """Go on from a commit; all of it was signed with the job's secret."""
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=False)
        held, wanted = {*content["objects"], *content["handlers"]}, {*self._saved_state, *self._handlers}
        if held != wanted:
            raise HoraError(
                "state.sync()",
                f"its commit holds {', '.join(sorted(held))}; this state has {', '.join(sorted(wanted))}",
                "Make the same states in the same order at every start: the order says whose commit it is",
            )
        for name, handler in self._handlers.items():
            handler.saved = content["handlers"][name]
        self._saved_state, self._saved_loaders = content["objects"], content["loaders"]
        self.restore()
        self._random = content["random"]
        set_random_state(self._random, rank())
        self._random = [random_state()]

    def _set_attributes(self) -> None:
        for name, value in copy.deepcopy(self._saved_state).items():
            setattr(self, name, value)


class TorchState(ObjectState):
    """The state of training: networks, optimizers, schedules, samplers and ordinary objects, attributes by their names.

    A script may have several; each has its own commits, by the order in which the states are made.

    Loaders that `hvd.deal` made before it belong to it without being named: after a new start an epoch goes on with
    the global batch after the last that was trained on.

    Parameters
    ----------
    model, optimizer
        A network and an optimizer, if any.
    kwargs
        Anything else.
    """

    def __init__(self, model: Any = None, optimizer: Any = None, **kwargs: Any) -> None:
        everything = {"model": model, "optimizer": optimizer, **kwargs}
        handlers = {name: handler_for(value) for name, value in everything.items()}
        self._handlers = {name: handler for name, handler in handlers.items() if handler is not None}
        for name, handler in self._handlers.items():
            object.__setattr__(self, name, handler.value)
        super().__init__(**{name: value for name, value in everything.items() if name not in self._handlers})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_handlers", {}):
            self._handlers[name].set_value(value)
        super().__setattr__(name, value)


def _hosts_updated() -> bool:
    """Whether the launcher has said that the set of hosts has changed."""
    flag = os.environ.get("HORA_HOSTS_UPDATED")
    return bool(flag) and Path(flag or "").exists()
