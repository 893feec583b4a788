"""Starts the workers of a job, stays with them, and says which one failed first."""

from __future__ import annotations

from hora.launch.local import run
from hora.launch.request import Request
from hora.launch.result import Line, RunResult, WorkerExit
from hora.launch.script import run_script
from hora.launch.stop import Stop

__all__ = ["Line", "Request", "RunResult", "Stop", "WorkerExit", "run", "run_script"]
