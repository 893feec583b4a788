"""Opens the notebooks in the browser: marimo serves them, this waits until it does and stays with it."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path

from hora.errors import HoraError
from hora.learn.course import LESSONS, Lesson

PORT = 2718
_HOST = "127.0.0.1"
_START_SECONDS = 60.0


def need_marimo(asked: str) -> None:
    """Raise a HoraError where the notebooks' packages are not installed."""
    for package in ("marimo", "plotly"):
        if importlib.util.find_spec(package) is None:
            raise HoraError(asked, f"{package} is not installed", "pip install 'hora[learn]'")


def serve(
    lesson: Lesson | None = None,
    *,
    port: int = PORT,
    open_browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve a lesson, or the page that lists all, and open it in the browser; return when the server has ended.

    Raises
    ------
    HoraError
        marimo is not installed, the port is taken, or the server does not start.
    """
    asked = f"learn {lesson.number if lesson else ''}".strip()
    need_marimo(asked)
    _check_port(asked, port)
    notebook = lesson.path if lesson else LESSONS[0].path.parent
    url = f"http://{_HOST}:{port}/?show-code=true"
    process = subprocess.Popen(_command(notebook, port), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait(asked, process, port)
        if not (open_browser and _open(url)):
            say(f"open {url} in a browser (another machine's: ssh -L {port}:{_HOST}:{port} THIS_ONE)")
        else:
            say(f"the course is at {url}")
        say("Ctrl-C ends it")
        process.wait()
    except KeyboardInterrupt:
        say("")
    finally:
        _end(process)


def _command(notebook: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "marimo", "--quiet", "--yes", "run", str(notebook)),
        *("--headless", "--include-code", "--show-tracebacks", "--host", _HOST, "--port", str(port)),
    ]


def _check_port(asked: str, port: int) -> None:
    with socket.socket() as probe:
        # As the server itself will: a port that was left a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            probe.close()
            with socket.socket() as other:
                other.bind((_HOST, 0))
                free = other.getsockname()[1]
            raise HoraError(
                f"{asked} --port {port}",
                f"port {port} is taken, or not for you",
                f"Take another, such as this free one: hora {asked} --port {free}",
            ) from None


def _wait(asked: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise HoraError(asked, f"marimo ended with status {process.returncode}", "Its message is above", status=3)
        with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
            return
        time.sleep(0.1)
    raise HoraError(asked, f"marimo did not answer within {_START_SECONDS:g} s", "Try again", status=3)


def _open(url: str) -> bool:
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server; its notebooks' processes end with it."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
