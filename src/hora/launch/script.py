"""`hora run SCRIPT ARGS…`: checks the script, and runs it as N workers."""

from __future__ import annotations

import os
import sys
import tokenize
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from hora.errors import HoraError
from hora.launch.attended import attend
from hora.launch.environment import visible_gpus
from hora.launch.request import Request, Stage

# What a script that trains on several workers names, itself or by way of what it reads from its environment.
_RUNTIMES = (
    "hora",
    "horovod",
    "torch.distributed",
    "accelerate",
    "lightning",
    "deepspeed",
    "fairscale",
    "colossalai",
    "ignite",
    "transformers",
    "ray",
    "mpi4py",
    "RANK",
    "WORLD_SIZE",
)


def run_script(
    script: str,
    args: Sequence[str] = (),
    *,
    workers: int | None = None,
    module: bool = False,
    request: Request | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    grace: float = 5.0,
    output: Path | None = None,
) -> int:
    """Run a Python script as N workers, here or on other hosts, and print their output.

    Signals mean what they mean to `hora.launch.attended.attend`.

    Parameters
    ----------
    script
        A path, or with `module` a module's name, as ``python -m`` takes it.
    args
        The script's own arguments.
    workers
        How many, on this host; `request` says it otherwise.
    module
        `script` names a module.
    request
        Which hosts, how many workers there, whether the job is elastic.
    env
        Variables to set for all workers.
    timeout, grace
        As in `hora.launch.run`; the former counts for each generation.
    output
        A directory for what each worker writes, beside the logs that are kept anyway.

    Returns
    -------
    int
        The exit status: 0, the first failing worker's, 128 + the signal's number if that killed it or ended the run.

    Raises
    ------
    HoraError
        There is no such script, it is not Python, there are fewer than 1 workers, or a host cannot be used.
    """
    asked = f"run {'-m ' if module else ''}{script}"
    if module:
        _check_module(script, asked)
    else:
        _check_file(Path(script), asked)

    def advise(where: Stage, workers: int, notice: Callable[[str], None]) -> None:
        _advise(script, module, where, workers, notice)

    return attend(
        [sys.executable, "-u", *(["-m"] if module else []), script, *args],
        Request(workers=workers) if request is None else request,
        [Path.cwd(), *([] if module else [Path(script)])],
        env=env,
        timeout=timeout,
        grace=grace,
        output=output,
        advise=advise,
    ).status


def _advise(script: str, module: bool, where: Stage, workers: int, notice: Callable[[str], None]) -> None:
    """Say what looks like an oversight."""
    if len(where.hosts) == 1 and where.hosts[0].is_here and 0 < (gpus := _visible_gpus()) < workers:
        notice(f"{workers} workers share {gpus} GPU{'s' if gpus > 1 else ''}")
    if workers > 1 and not module and not _speaks_of_workers(Path(script)):
        notice(
            f"{script} names no other workers; unless a module of its does, each trains alone on all the data. "
            f"Convert it: hora convert {script} -o CONVERTED.py"
        )


def _check_file(script: Path, asked: str) -> None:
    if script.exists() and not script.is_file():
        kind = "a directory" if script.is_dir() else "no regular file, which N workers could read"
        raise HoraError(asked, f"this is {kind}", "Name a Python file, or a module with -m.")
    try:
        with tokenize.open(script) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each worker would repeat them
            compile(file.read(), script, "exec", dont_inherit=True)
    except FileNotFoundError:
        raise HoraError(asked, "there is no such file", f"Look for it from {Path.cwd()}.") from None
    except OSError as error:
        raise HoraError(asked, f"it cannot be read: {error.strerror}", "Check its permissions.") from error
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        raise HoraError(asked, f"it is not Python: {place}{error.msg}", "Mend it, or name a Python file.") from None
    except ValueError as error:  # bytes that are no text
        raise HoraError(asked, f"it is not Python: {error}", "Name a Python file.") from None


def _speaks_of_workers(script: Path) -> bool:
    """Whether a script names what could make its workers one world; one that does not name torch may be anything."""
    with tokenize.open(script) as file:
        text = file.read()
    return "torch" not in text or any(name in text for name in _RUNTIMES)


def _check_module(module: str, asked: str) -> None:
    # Of a dotted name only the package is looked for: to look further would execute it.
    package = module.partition(".")[0]
    if PathFinder.find_spec(package, [str(Path.cwd()), *sys.path]) is None:
        raise HoraError(asked, f"there is no module {package}", f"Look for it from {Path.cwd()}, or install it.")


def _visible_gpus() -> int:
    """Count the NVIDIA GPUs that the workers will see, without the time that asking torch takes."""
    known = Path("/proc/driver/nvidia/gpus")
    here = len(list(known.iterdir())) if known.is_dir() else 0
    return visible_gpus(here, os.environ.get("CUDA_VISIBLE_DEVICES"))
