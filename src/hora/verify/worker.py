"""The process of one worker of an observed run: ``python -m hora.verify.worker JOB``."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

from hora.script import StepListener, TraceWriter, observe
from hora.script.events import FilesWritten
from hora.script.scratch import Scratch
from hora.verify.job import Job, differences_path, stack_path, trace_path
from hora.verify.reference import Comparer, LastStep, Recorder


def main(job_path: Path) -> int:
    """Run the job's script on this worker; returns the script's exit status."""
    job = Job.read(job_path)
    directory = Path(job.directory)
    rank = int(os.environ.get("RANK", "0"))
    listener: StepListener
    if job.records:
        listener = Recorder(Path(job.reference))
    elif job.compares:
        listener = Comparer(Path(job.reference), differences_path(directory, rank))
    else:
        listener = LastStep()
    trace = TraceWriter(trace_path(directory, rank))
    # Opened here and never closed: the signal may come at any time.
    faulthandler.register(signal.SIGTERM, open(stack_path(directory, rank), "w"), chain=True)  # noqa: SIM115
    os.chdir(job.work)
    scratch = Scratch(Path(job.mirror), free=(directory, Path(job.reference)))
    with scratch.guarding():
        ended = observe(Path(job.script), job.args, trace.write, job.knobs(rank), listener)
    trace.write(FilesWritten(scratch.left()))
    if isinstance(listener, LastStep):
        trace.write(listener.statistics())
    trace.close()
    if ended.error is not None:
        print(ended.error, file=sys.stderr)
    return ended.status


def _leave(status: int) -> NoReturn:
    """End as the interpreter does, but leave all that was imported to the system: to take it apart takes a second."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the script has closed it, or nobody reads it
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    _leave(main(Path(sys.argv[1])))
