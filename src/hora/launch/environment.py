"""What a worker finds in its environment: torchrun's variables and Horovod's, so that either kind of script runs."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from hora.errors import HoraError
from hora.launch.hosts import Place


def worker_environment(place: Place, address: str, port: int, interface: str | None) -> dict[str, str]:
    """Variables that tell a worker who it is and where the others meet.

    Parameters
    ----------
    place
        Which worker, where.
    address, port
        Where worker 0 will listen.
    interface
        The network interface of its host that leads to the other workers, as far as known.

    Returns
    -------
    dict of str to str
        To be laid over its host's own environment, which decides ``GLOO_SOCKET_IFNAME`` if it is set there.
    """
    variables = {
        "RANK": place.rank,
        "WORLD_SIZE": place.size,
        "LOCAL_RANK": place.local_rank,
        "LOCAL_WORLD_SIZE": place.local_size,
        "GROUP_RANK": place.host_rank,
        "GROUP_WORLD_SIZE": place.hosts,
        "MASTER_ADDR": address,
        "MASTER_PORT": port,
        # What torch.distributed.is_torchelastic_launched() looks for: libraries ask it whether to start workers.
        "TORCHELASTIC_RUN_ID": f"hora-{port}",
        "HOROVOD_RANK": place.rank,
        "HOROVOD_SIZE": place.size,
        "HOROVOD_LOCAL_RANK": place.local_rank,
        "HOROVOD_LOCAL_SIZE": place.local_size,
        "HOROVOD_CROSS_RANK": place.cross_rank,
        "HOROVOD_CROSS_SIZE": place.cross_size,
        "PYTHONUNBUFFERED": 1,
    }
    if interface is not None:
        # Without it Gloo takes the interface that its host's own name resolves to, if it resolves at all.
        variables["GLOO_SOCKET_IFNAME"] = interface
    return {name: str(value) for name, value in variables.items()}


def host_environment(local_size: int, env: Mapping[str, str]) -> dict[str, str]:
    """Variables that depend on the host that a worker runs on; called there.

    Parameters
    ----------
    local_size
        How many workers this host has.
    env
        The environment that they are laid over.
    """
    variables = {
        "HOROVOD_HOSTNAME": socket.gethostname(),
        "OMP_NUM_THREADS": env.get("OMP_NUM_THREADS", str(max(1, cores() // local_size))),
    }
    if find_spec("horovod") is None:
        # A script that imports it finds Hora's own in its place.
        standin = Path(__file__).parents[1] / "torch" / "standin"
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [env.get("PYTHONPATH"), str(standin)]))
    return variables


def seconds(name: str, default: float, env: Mapping[str, str] = os.environ) -> float:
    """Read a variable that holds seconds, by default of this process's environment.

    Raises
    ------
    HoraError
        It holds something else.
    """
    setting = env.get(name, str(default))
    try:
        return float(setting)
    except ValueError:
        raise HoraError(f"read {name}", f"{setting!r} is no number", "Set it to seconds.") from None


def installed_torch() -> str | None:
    """The version of torch that is installed here, None where there is none."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def visible_gpus(gpus: int, devices: str | None) -> int:
    """Count those of a host's NVIDIA GPUs that workers see, by CUDA_VISIBLE_DEVICES; None where it is not set."""
    return gpus if devices is None else min(gpus, len([device for device in devices.split(",") if device.strip()]))


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextmanager
def reserved_port(address: str = "127.0.0.1") -> Iterator[int]:
    """Hold a TCP port that worker 0 can listen on, and nobody else is given in the meantime.

    The port stays bound but not listening. Linux lets another socket with ``SO_REUSEADDR`` (every torch store's) listen
    there all the same, yet gives the port to no one who asks for any free one. Elsewhere it is only found, then let go.

    Parameters
    ----------
    address
        An address of this host.

    Raises
    ------
    OSError
        It is none of this host's.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, 0))
        port = int(held.getsockname()[1])
        if sys.platform != "linux":
            held.close()
        yield port
