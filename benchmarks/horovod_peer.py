"""Horovod itself as a contestant of `optimizer_step.py`, where it is importable: its rendezvous, and its variables."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager


def available() -> bool:
    """Whether Horovod is installed; its last release builds on today's torch once its C++ standard is set to 20."""
    return importlib.util.find_spec("horovod") is not None


@contextmanager
def rendezvous(workers: int) -> Iterator[list[dict[str, object]]]:
    """Serve the store where Horovod's workers on this host meet; yield each one's variables."""
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.http.http_server import RendezvousServer

    server = RendezvousServer()
    port = server.start()
    try:
        plan = get_host_assignments(parse_hosts(f"localhost:{workers}"), workers)
        server.init(plan)
        yield [
            {
                "HOROVOD_HOSTNAME": slot.hostname,
                "HOROVOD_RANK": slot.rank,
                "HOROVOD_SIZE": slot.size,
                "HOROVOD_LOCAL_RANK": slot.local_rank,
                "HOROVOD_LOCAL_SIZE": slot.local_size,
                "HOROVOD_CROSS_RANK": slot.cross_rank,
                "HOROVOD_CROSS_SIZE": slot.cross_size,
                "HOROVOD_GLOO_RENDEZVOUS_ADDR": "127.0.0.1",
                "HOROVOD_GLOO_RENDEZVOUS_PORT": port,
                "HOROVOD_GLOO_IFACE": "lo",
                "HOROVOD_CONTROLLER": "gloo",
                "HOROVOD_CPU_OPERATIONS": "gloo",
            }
            for slot in plan
        ]
    finally:
        server.stop()
