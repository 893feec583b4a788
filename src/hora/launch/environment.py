"""What a worker finds in its environment: torchrun's variables and Horovod's, so that either kind of script runs."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


def worker_environment(rank: int, workers: int, port: int) -> dict[str, str]:
    """Variables that tell a worker on this host who it is and where the others meet.

    Parameters
    ----------
    rank, workers
        Which of how many.
    port
        The TCP port on 127.0.0.1 where worker 0 will listen.

    Returns
    -------
    dict of str to str
        To be laid over this process's own environment, which decides ``OMP_NUM_THREADS`` if it is set there.
    """
    who, size = str(rank), str(workers)
    variables = {
        "RANK": who,
        "WORLD_SIZE": size,
        "LOCAL_RANK": who,
        "LOCAL_WORLD_SIZE": size,
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        # What torch.distributed.is_torchelastic_launched() looks for: libraries ask it whether to start workers.
        "TORCHELASTIC_RUN_ID": f"hora-{port}",
        "HOROVOD_RANK": who,
        "HOROVOD_SIZE": size,
        "HOROVOD_LOCAL_RANK": who,
        "HOROVOD_LOCAL_SIZE": size,
        "HOROVOD_CROSS_RANK": "0",
        "HOROVOD_CROSS_SIZE": "1",
        "HOROVOD_HOSTNAME": socket.gethostname(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // workers))),
        "PYTHONUNBUFFERED": "1",
    }
    if find_spec("horovod") is None:
        # A script that imports it finds Hora's own in its place.
        standin = Path(__file__).parents[1] / "torch" / "standin"
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(standin)]))
    if sys.platform == "linux":
        # Without it Gloo takes the interface that this host's own name resolves to, if it resolves at all.
        variables["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
    return variables


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a TCP port that worker 0 can listen on, and nobody else is given in the meantime.

    The port stays bound but not listening. Linux lets another socket with ``SO_REUSEADDR`` (every torch store's) listen
    there all the same, yet gives the port to no one who asks for any free one. Elsewhere it is only found, then let go.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":
            held.close()
        yield port
