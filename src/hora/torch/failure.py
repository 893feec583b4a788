"""Turning what the engine raises into an error that says what failed, where, and which worker is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from hora.torch import heartbeat
from hora.torch.exceptions import HorovodInternalError
from hora.torch.rendezvous import await_keys
from hora.torch.world import Members, World, current

_PATIENCE = timedelta(seconds=1)


@contextmanager
def engine_errors(what: object, members: Members | None = None) -> Iterator[None]:
    """Raise what the engine raises inside as HorovodInternalError; let the launcher know what is waited for.

    Parameters
    ----------
    what
        The operation, as the message names it.
    members
        Whose it is; by default all workers'.
    """
    try:
        with heartbeat.waiting(what):
            yield
    except HorovodInternalError:
        raise
    except RuntimeError as error:
        world = current()
        missing = _missing(world, members or world.members)
        raise HorovodInternalError(f"worker {world.rank}: {what} failed: {error}{missing}") from error


def _missing(world: World, members: Members) -> str:
    """Name the workers that do not meet the same failure at about the same time."""
    if world.store is None:
        return ""
    keys = [f"failed/{rank}" for rank in members.ranks]
    missing = [0]
    # Where the store is gone, so is worker 0.
    with suppress(RuntimeError):
        world.store.set(keys[members.rank], "")
        missing = [members.ranks[place] for place in await_keys(world.store, keys, _PATIENCE)]
    names = ", ".join(str(rank) for rank in missing if rank != world.rank)
    return f" Not here: worker {names}, which has ended or is elsewhere in its script." if names else ""
