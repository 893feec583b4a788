"""`hora.run(function)`: call a function as N workers, and return what each returned.

The function travels to the workers, and its results back, as files in a directory of the user's own; the workers are
started as those of any script.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hora.errors import HoraError
from hora.launch.calling import FAILURE, FUNCTION, RESULT, SCRIPT, by_value, dump, read_results
from hora.launch.logs import state_directory
from hora.launch.request import Request
from hora.launch.script import run_script

# Horovod's other arguments, which nothing here depends on.
_WITHOUT_MEANING = frozenset(["disable_cache", "output_filename", "verbose", "use_gloo", "use_mpi", "mpi_args"])


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
    network_interface: str | None = None,
    *,
    np: int | None = None,
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
        How many workers: 1 by default, or as many as `hosts` have slots. `np` is Horovod's older name.
    min_num_proc, max_num_proc, slots, reset_limit, cooldown_range, host_discovery_script
        Those of an elastic job, as of ``hora run``.
    hosts, hostfile, start_timeout, ssh_port, ssh_identity_file, network_interface
        Other hosts, as of ``hora run``. They need the home directory in common.
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
        interface=network_interface,
        ssh_port=ssh_port,
        ssh_identity=None if ssh_identity_file is None else Path(ssh_identity_file),
        start_timeout=start_timeout or 30.0,
        least=min_num_proc,
        most=max_num_proc,
        resets=reset_limit,
        cooldown=30.0 if cooldown_range is None else cooldown_range[0],
    )
    asked = f"run {getattr(func, '__qualname__', func)}"
    data = _pickled(asked, func, (func, tuple(args), dict(kwargs or {})))
    with _directory() as directory:
        (directory / FUNCTION).write_bytes(pickle.dumps(sys.path) + data)
        script = directory / "call.py"
        script.write_text(SCRIPT)
        status = run_script(str(script), request=request, env=env)
        if status:
            raise _failure(asked, directory, status)
        return read_results(directory)


def _pickled(asked: str, func: Callable[..., Any], call: object) -> bytes:
    """Pickle a function and its arguments, by cloudpickle where that is installed."""
    if not by_value() and getattr(func, "__module__", "") == "__main__":
        raise HoraError(
            asked,
            "the function stands in the script itself, where workers cannot import it",
            "Install cloudpickle, or move the function to a module and import it.",
        )
    try:
        return dump(call)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        mend = "Pass what can be pickled." if by_value() else "Install cloudpickle, or pass what pickle can pickle."
        raise HoraError(asked, f"it does not travel to the workers: {error}", mend) from error


@contextmanager
def _directory() -> Any:
    """Make a directory that only this user can read, and remove it in the end."""
    parent = state_directory() / "calls"
    try:
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = Path(tempfile.mkdtemp(dir=parent))
    except OSError:
        place = Path(tempfile.mkdtemp(prefix="hora-call-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _failure(asked: str, directory: Path, status: int) -> HoraError:
    """Say how the workers failed, with the traceback of the first."""
    told = sorted(directory.glob(FAILURE.format(rank="*")), key=lambda path: path.stat().st_mtime_ns)
    if not told:
        done = len(list(directory.glob(RESULT.format(generation="*", rank="*"))))
        return HoraError(
            asked, f"exit status {status}; {done} workers had returned", "See what they said above.", status=status
        )
    rank = told[0].name.rpartition("-")[2]
    return HoraError(
        asked, f"worker {rank} failed\n{told[0].read_text().rstrip()}", "Mend what it says.", status=status
    )
