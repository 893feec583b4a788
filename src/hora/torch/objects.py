"""Any object for every worker: pickled, signed with the job's secret, and unpickled only where the signature is right.

The secret is HORA_SECRET where the launcher set it. Where it did not, worker 0 draws one and leaves it in the store, so
that then whoever can read the store can sign.
"""

from __future__ import annotations

import hmac
import os
import pickle
import secrets
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from hora.torch.broadcasting import check_root
from hora.torch.calls import Call
from hora.torch.exceptions import HorovodInternalError
from hora.torch.failure import engine_errors
from hora.torch.gathering import allgather
from hora.torch.handles import Calls, Works, start, synchronize
from hora.torch.process_sets import ProcessSet, global_process_set, members_of
from hora.torch.world import World, current

_SIGNATURE_BYTES = 32

Thing = TypeVar("Thing")


def broadcast_object(
    obj: Thing, root_rank: int = 0, name: str | None = None, process_set: ProcessSet = global_process_set
) -> Thing:
    """Return worker `root_rank`'s object on every worker; it travels pickled.

    Raises
    ------
    ValueError
        No worker of the set has that rank, or a name in flight.
    HorovodInternalError
        The workers' calls do not match, a worker is gone, or what came was not signed with the job's secret.
    """
    members, world = members_of(process_set), current()
    check_root(root_rank, members)
    if members.size == 1:
        return obj
    is_root = world.rank == root_rank
    data = _pack(obj, world) if is_root else b""
    wires: list[torch.Tensor] = []

    def launch(calls: Calls) -> Works:
        root = calls[list(members.ranks).index(root_rank)]
        length = len(data) if root is None else int(root.own)
        wires.append(torch.frombuffer(bytearray(data or length), dtype=torch.uint8).to(world.device))
        return [dist.broadcast(wires[0], root_rank, members.group, async_op=True)]

    def finish(_: Calls) -> Any:
        return obj if is_root else _unpack(wires[0].cpu().numpy().tobytes(), world)

    call = Call("broadcast_object", name, [], {"root_rank": root_rank}, own=len(data))
    result: Thing = synchronize(start(call, launch, finish, members))
    return result


def allgather_object(obj: Thing, name: str | None = None, process_set: ProcessSet = global_process_set) -> list[Thing]:
    """Return every worker's object, in the order of the ranks; they travel pickled.

    Raises
    ------
    ValueError
        A name in flight.
    HorovodInternalError
        The workers' calls do not match, a worker is gone, or what came was not signed with the job's secret.
    """
    members, world = members_of(process_set), current()
    if members.size == 1:
        return [obj]
    data = _pack(obj, world)
    mine = torch.frombuffer(bytearray(len(data).to_bytes(8, "little") + data), dtype=torch.uint8).to(world.device)
    everything = allgather(mine, name, process_set).cpu().numpy().tobytes()
    objects: list[Thing] = []
    while everything:
        length = int.from_bytes(everything[:8], "little")
        objects.append(_unpack(everything[8 : 8 + length], world))
        everything = everything[8 + length :]
    return objects


def _pack(obj: object, world: World) -> bytes:
    """Pickle and sign an object."""
    data = pickle.dumps(obj)
    return hmac.digest(_secret(world), data, "sha256") + data


def _unpack(data: bytes, world: World) -> Any:
    """Check the signature of what came, and unpickle it."""
    signature, data = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, hmac.digest(_secret(world), data, "sha256")):
        raise HorovodInternalError(
            f"worker {world.rank}: an object came that was not signed with the job's secret (HORA_SECRET); "
            "it was not unpickled"
        )
    return pickle.loads(data)


def _secret(world: World) -> bytes:
    """Return the job's secret; worker 0's is left in the store when the world is made."""
    given = os.environ.get("HORA_SECRET", "")
    if given or world.store is None:
        return given.encode()
    with engine_errors("reading the job's secret from the store of worker 0"):
        return bytes(world.store.get("secret"))


def share_secret(world: World) -> None:
    """Leave a secret in the store, where the launcher gave none."""
    if world.rank == 0 and world.store is not None and not os.environ.get("HORA_SECRET"):
        world.store.set("secret", secrets.token_hex(32))
