"""Turning what the engine raises into an error that says what failed, where, and which worker is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from hora.torch.exceptions import HorovodInternalError
from hora.torch.rendezvous import await_keys
from hora.torch.world import World, current

_PATIENCE = timedelta(seconds=1)


@contextmanager
def engine_errors(what: object) -> Iterator[None]:
    """Raise what the engine raises inside as HorovodInternalError; `what` is the operation, as the message names it."""
    try:
        yield
    except HorovodInternalError:
        raise
    except RuntimeError as error:
        world = current()
        raise HorovodInternalError(f"worker {world.rank}: {what} failed: {error}{_missing(world)}") from error


def _missing(world: World) -> str:
    """Name the workers that do not meet the same failure at about the same time."""
    if world.store is None:
        return ""
    keys = [f"failed/{rank}" for rank in range(world.size)]
    missing = [0]
    # Where the store is gone, so is worker 0.
    with suppress(RuntimeError):
        world.store.set(keys[world.rank], "")
        missing = await_keys(world.store, keys, _PATIENCE)
    names = ", ".join(str(rank) for rank in missing if rank != world.rank)
    return f" Not here: worker {names}, which has ended or is elsewhere in its script." if names else ""
