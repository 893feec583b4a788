"""`hora.run(function)`: call a function as N workers, and return what each returned.

The workers are started as those of any script; `hora.launch.call` carries the function to them, and its results back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hora.errors import HoraError
from hora.launch.attended import attend
from hora.launch.call import COMMAND, Call
from hora.launch.report import how
from hora.launch.request import Request
from hora.launch.result import RunResult

# Horovod's other arguments, which nothing here depends on.
_WITHOUT_MEANING = frozenset(["disable_cache", "verbose", "use_gloo", "use_mpi", "mpi_args"])


def run(
    func: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    num_proc: int | None = None,
    min_num_proc: int | None = None,
    max_num_proc: int | None = None,
    slots: int | None = None,
    reset_limit: int | None = None,
    cooldown_range: Sequence[float] | None = None,
    hosts: str | None = None,
    hostfile: str | os.PathLike[str] | None = None,
    host_discovery_script: str | os.PathLike[str] | None = None,
    start_timeout: float | None = None,
    ssh_port: int | None = None,
    ssh_identity_file: str | os.PathLike[str] | None = None,
    *,
    output_filename: str | os.PathLike[str] | None = None,
    network_interface: str | None = None,
    network_interfaces: Sequence[str] | None = None,
    np: int | None = None,
    min_np: int | None = None,
    max_np: int | None = None,
    env: Mapping[str, str] | None = None,
    **others: object,
) -> list[Any]:
    """Call a function as several workers, here or on other hosts; its name in Horovod is `horovod.run`.

    Parameters
    ----------
    func
        What each worker calls; it calls `hvd.init()` itself. With cloudpickle installed any function, else one that
        stands in a module.
    args, kwargs
        Its arguments.
    num_proc, np
        How many workers: 1 by default, or as many as `hosts` have slots. `np`, `min_np` and `max_np` are older names.
    min_num_proc, max_num_proc, min_np, max_np, slots, reset_limit, cooldown_range, host_discovery_script
        Those of an elastic job, as of ``hora run``.
    hosts, hostfile, start_timeout, ssh_port, ssh_identity_file, network_interface, network_interfaces
        Other hosts, as of ``hora run``.
    output_filename
        A directory for what each worker writes.
    env
        Variables to set for all workers.
    **others
        Horovod's other arguments, which decide nothing here.

    Returns
    -------
    list
        What each worker returned, by rank.

    Raises
    ------
    HoraError
        A worker failed (with its traceback), the function or its result cannot be pickled, or a host cannot be used.
    TypeError
        An argument that Horovod does not have.
    """
    unknown = sorted(set(others) - _WITHOUT_MEANING)
    if unknown:
        raise TypeError(f"run() got an unexpected keyword argument {unknown[0]!r}")
    elsewhere = hosts or hostfile or host_discovery_script
    request = Request(
        workers=num_proc or np or (None if elsewhere else 1),
        hosts=hosts,
        hostfile=None if hostfile is None else Path(hostfile),
        discovery_script=None if host_discovery_script is None else Path(host_discovery_script),
        slots_per_host=slots or 1,
        interface=network_interface or ",".join(network_interfaces or ()) or None,
        ssh_port=ssh_port,
        ssh_identity=None if ssh_identity_file is None else Path(ssh_identity_file),
        start_timeout=start_timeout or 30.0,
        least=min_num_proc or min_np,
        most=max_num_proc or max_np,
        resets=reset_limit,
        cooldown=30.0 if cooldown_range is None else cooldown_range[0],
    )
    call = Call(func, args, kwargs or {})
    output = None if output_filename is None else Path(output_filename)
    result = attend(COMMAND, request, [Path.cwd()], env=env, output=output, errand=call)
    if result.status:
        raise _failure(call.asked, result)
    return call.results()


def _failure(asked: str, result: RunResult) -> HoraError:
    """Say how the workers failed, with the traceback of the first."""
    cause = result.first_failure
    if cause is None:
        return HoraError(asked, f"exit status {result.status}", "See what was said above.", status=result.status)
    told = f"{cause.who} failed" + (f"\n{cause.traceback}" if cause.traceback else f": {how(cause)}")
    return HoraError(asked, told, "Mend what it says.", status=result.status)
