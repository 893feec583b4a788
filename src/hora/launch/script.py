"""`hora run SCRIPT ARGS…`: checks what was asked, runs the script as N workers, prints what comes of it."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import sys
import time
import tokenize
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from tempfile import TemporaryDirectory

from hora.errors import HoraError
from hora.launch.elastic import Generations
from hora.launch.environment import visible_gpus
from hora.launch.generation import run_generation
from hora.launch.hosts import places
from hora.launch.job import Job
from hora.launch.live import Live
from hora.launch.logs import Logs, log_directory
from hora.launch.outputs import Outputs
from hora.launch.report import Report
from hora.launch.request import Request, Stage, stage
from hora.launch.result import Line, RunResult
from hora.launch.signals import quit_asks, signals_request
from hora.launch.stop import Stop
from hora.launch.watch import Watch, patience

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
    r"""Run a Python script as N workers, here or on other hosts, and print their output.

    Ctrl-C, SIGTERM and a closed terminal end the workers; a second Ctrl-C kills them at once. SIGQUIT (Ctrl-\) prints
    their stacks. Called in another thread than the main one, it leaves signals alone.

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
    request = Request(workers=workers) if request is None else request
    asked = f"run {'-m ' if module else ''}{script}"
    if module:
        _check_module(script, asked)
    else:
        _check_file(Path(script), asked)
    stop = Stop()
    paths = [Path.cwd(), *([] if module else [Path(script)])]
    try:
        with signals_request(stop), stage(request, paths, _to_stderr) as where:
            size = where.workers if where.bounds is None else where.bounds.most
            report = Report(size, sys.stdout, sys.stderr)
            _advise(script, module, where, size, report)
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
            with ExitStack() as stack:
                logs = stack.enter_context(Logs(log_directory(name), report.notice))
                keep: list[Logs | Outputs] = [logs]
                if output is not None:
                    keep.append(stack.enter_context(Outputs(output, size, report.notice)))

                def on_line(line: Line) -> None:
                    for kept in keep:
                        kept.line(line)
                    report.line(line)
                    live.read(line)

                def verdict(result: RunResult) -> None:
                    for kept in keep:
                        kept.verdict(result)
                    report.verdict(result, logs.place, watch.steps)

                live = Live(
                    report.status if report.has_terminal and os.environ.get("HORA_LIVE") != "0" else None, report.notice
                )
                watch = Watch(patience({**os.environ, **(env or {})}), report.notice, live.show, logs.directory)
                job = Job(
                    [sys.executable, "-u", *(["-m"] if module else []), script, *args],
                    {"HORA_JOB": name, **(env or {})},
                    on_line=on_line,
                    on_notice=report.notice,
                    timeout=timeout,
                    grace=grace,
                    stop=stop,
                    on_tick=report.tick,
                    watch=watch,
                )
                with quit_asks(watch.ask_for_stacks):
                    result = _run(where, job, verdict)
                verdict(result)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        _stop_printing()
        return 128 + (signal.SIGPIPE if stop.signal is None else stop.signal)
    return result.status


def _run(where: Stage, job: Job, verdict: Callable[[RunResult], None]) -> RunResult:
    """Run a job to its end."""
    with TemporaryDirectory(prefix="hora-") as run_dir:
        job = replace(job, env={"HORA_RUN_DIR": run_dir, **job.env})
        if where.bounds is None:
            return run_generation(where.site, places(where.hosts, where.workers), job)
        commits = f"/dev/shm/hora-{os.getuid()}-{job.env['HORA_JOB']}"
        job = replace(job, env={"HORA_COMMIT_DIR": commits, **job.env})
        try:
            return Generations(where.site, where.discovery, job, where.bounds, Path(run_dir), verdict).run()
        finally:  # what the workers committed to memory
            where.site.remove(commits)


def _lives(report: Report) -> bool:
    """Whether lines are drawn below the output."""
    return report.has_terminal and os.environ.get("HORA_LIVE") != "0"


def _advise(script: str, module: bool, where: Stage, workers: int, report: Report) -> None:
    """Say what looks like an oversight."""
    if len(where.hosts) == 1 and where.hosts[0].is_here and 0 < (gpus := _visible_gpus()) < workers:
        report.notice(f"{workers} workers share {gpus} GPU{'s' if gpus > 1 else ''}")
    if workers > 1 and not module and not _speaks_of_workers(Path(script)):
        report.notice(
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


def _to_stderr(notice: str) -> None:
    print(f"hora: {notice}", file=sys.stderr)


def _stop_printing() -> None:
    """Point this process's output nowhere: its reader has gone, and flushing at exit would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
