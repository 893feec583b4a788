"""How workers find each other: what the launcher's variables say, the store that they share, who is on which host."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from hora.errors import HoraError
from hora.torch.groups import count_anew

_RANKS = (("RANK", "WORLD_SIZE"), ("LOCAL_RANK", "LOCAL_WORLD_SIZE"), ("GROUP_RANK", "GROUP_WORLD_SIZE"))
_VARIABLES = (*(name for pair in _RANKS for name in pair), "MASTER_ADDR", "MASTER_PORT")

_BACKLOG = 4096  # workers that may ask to connect at the same time

_stores: dict[tuple[str, int, int, int, str], Store] = {}
_rounds: dict[int, int] = {}


@dataclass(frozen=True)
class Place:
    """What the launcher says: which worker this is, on which host, and where the store is."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    host: int
    address: str
    port: int


def timeout() -> timedelta:
    """Return how long a collective may wait for the other workers: HORA_TIMEOUT_SECONDS, 600 by default."""
    text = os.environ.get("HORA_TIMEOUT_SECONDS", "600")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e8:
        raise HoraError("HORA_TIMEOUT_SECONDS", f"found {text!r}, which is no number of seconds", "Set it to 600, say")
    return timedelta(seconds=seconds)


def read_place() -> Place | None:
    """Read torchrun's variables; None where none of them is set.

    Raises
    ------
    HoraError
        Some of them are set and others are not, or one is wrong.
    """
    found = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    if not found:
        return None
    missing = [name for name in _VARIABLES if name not in found]
    if missing:
        raise HoraError(
            "hvd.init()",
            f"{', '.join(missing)} not set while {', '.join(found)} {'is' if len(found) == 1 else 'are'}",
            "Start the script with `hora run -n 2 SCRIPT` or torchrun, which set all, or unset them for one worker",
        )
    number = {name: _number(name, text) for name, text in found.items() if name != "MASTER_ADDR"}
    for part, whole in _RANKS:
        if not number[part] < number[whole]:
            raise HoraError(
                "hvd.init()",
                f"{part}={number[part]} but {whole}={number[whole]}",
                f"{part} counts from 0 to {whole} - 1",
            )
    return Place(
        rank=number["RANK"],
        size=number["WORLD_SIZE"],
        local_rank=number["LOCAL_RANK"],
        local_size=number["LOCAL_WORLD_SIZE"],
        host=number["GROUP_RANK"],
        address=found["MASTER_ADDR"],
        port=number["MASTER_PORT"],
    )


def open_store(place: Place) -> Store:
    """Open a new round of the store that all workers share; the connection itself outlives the rounds.

    Raises
    ------
    HoraError
        There is no store at that address, or another program holds its port.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key = (place.address, place.port, place.rank, place.size, attempt)
    if key not in _stores:
        served_by_launcher = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        try:
            _stores[key] = _connect(place, serves=place.rank == 0 and not served_by_launcher)
        except RuntimeError as error:
            raise HoraError(
                "hvd.init()",
                f"worker {place.rank} of {place.size} has no store at {place.address}:{place.port}: {error}",
                "Check that worker 0 runs there and that no other job holds the port (MASTER_ADDR, MASTER_PORT)",
                status=3,
            ) from error
    store = _stores[key]
    _rounds[id(store)] = _rounds.get(id(store), 0) + 1
    return PrefixStore(f"hora/{attempt}/{_rounds[id(store)]}", store)


def _connect(place: Place, *, serves: bool) -> TCPStore:
    """Connect to the store of all workers; worker 0 serves it."""
    listening = _listen(place.address, place.port) if serves else None
    store = functools.partial(
        TCPStore,
        place.address,
        place.port,
        place.size,
        is_master=serves,
        timeout=timeout(),
        wait_for_workers=False,
        multi_tenant=True,
        master_listen_fd=None if listening is None else listening.detach(),
    )
    try:
        return store(use_libuv=not torch.__version__.startswith("2.6."))
    except NotImplementedError:  # as 2.6 has it: the newer of torch's two ways to serve takes no socket that listens
        return store(use_libuv=False)


def _listen(address: str, port: int) -> socket.socket | None:
    """Listen at this address alone, where torch's store would listen at all that this host has.

    Returns
    -------
    socket.socket or None
        None where the address is none of this host's own, such as one that a router translates, or the port is taken:
        the store then tries by itself, and says what it meets.
    """
    try:
        family, kind, protocol, _name, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError:
        return None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        return None
    return listening


def await_keys(store: Store, keys: Sequence[str], patience: timedelta) -> list[int]:
    """Wait until a store has all the keys, or the patience ends; return the places of those that it does not have.

    The store's own wait would print warnings when it ends without success.
    """
    end, pause = time.monotonic() + patience.total_seconds(), 0.001
    while not store.check(list(keys)):
        left = end - time.monotonic()
        if left <= 0:
            return [place for place, key in enumerate(keys) if not store.check([key])]
        time.sleep(min(pause, left))
        pause = min(2 * pause, 0.1)
    return []


def meet(store: Store, place: Place) -> list[int]:
    """Wait until every worker is there; return the host of each, in the order of the ranks.

    Raises
    ------
    HoraError
        Workers did not come in time (it names them), or the store is gone.
    """
    keys = [f"host/{rank}" for rank in range(place.size)]
    try:
        store.set(keys[place.rank], str(place.host))
        absent = await_keys(store, keys, timeout())
    except RuntimeError as error:
        raise HoraError(
            "hvd.init()",
            f"worker {place.rank} of {place.size} lost the store at {place.address}:{place.port}: {error}",
            "Look for an error of worker 0",
            status=3,
        ) from error
    if absent:
        raise HoraError(
            "hvd.init()",
            f"worker {place.rank} of {place.size} waited {timeout().total_seconds():g} s for "
            f"worker {', '.join(map(str, absent))}",
            "Look for an error of that worker; HORA_TIMEOUT_SECONDS sets how long workers wait",
            status=3,
        )
    return [int(store.get(key)) for key in keys]


def connect(store: Store, place: Place) -> dist.ProcessGroup:
    """Make the process group of all workers.

    Raises
    ------
    HoraError
        The workers cannot reach each other.
    """
    count_anew()
    try:
        dist.init_process_group(_engine(), store=store, rank=place.rank, world_size=place.size, timeout=timeout())
    except RuntimeError as error:
        raise HoraError(
            "hvd.init()",
            f"worker {place.rank} of {place.size} could not connect to the others: {error}",
            "If this host has several networks, name the right one in GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME",
            status=3,
        ) from error
    group: dist.ProcessGroup = dist.group.WORLD  # type: ignore[assignment]
    return group


def across(hosts: Sequence[object], rank: int, local_rank: int) -> tuple[int, int, bool]:
    """Count the hosts that have a worker with this local rank.

    Returns
    -------
    tuple of (int, int, bool)
        This worker's host among them, how many they are, and whether all hosts have as many workers.
    """
    sizes = {host: hosts.count(host) for host in dict.fromkeys(hosts)}
    peers = [host for host, workers in sizes.items() if workers > local_rank]
    return peers.index(hosts[rank]), len(peers), len(set(sizes.values())) == 1


def _engine() -> str:
    """Name the engine: Gloo for tensors on the CPU, the accelerator's own (NCCL, XCCL) beside it."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return "gloo"
    return f"cpu:gloo,{accelerator.type}:{dist.get_default_backend_for_device(accelerator)}"


def _number(name: str, text: str) -> int:
    """Read a variable that must be a whole number."""
    if not text.isdecimal():
        raise HoraError("hvd.init()", f"{name}={text!r} is no number", "Start the script with `hora run` or torchrun")
    return int(text)
