"""Running a function beside the rest, as tests of Horovod's do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any


def in_thread(
    target: Callable[..., Any],
    args: tuple[Any, ...] = (),
    name: str | None = None,
    daemon: bool = True,
    silent: bool = False,
) -> threading.Thread:
    """Call a function in a thread of its own; return the thread.

    Parameters
    ----------
    target, args
        The function, and what to call it with.
    name, daemon
        The thread's.
    silent
        Whether the function's exceptions are dropped.
    """

    def call() -> None:
        with contextlib.suppress(*([Exception] if silent else [])):
            target(*args)

    thread = threading.Thread(target=call, name=name, daemon=daemon)
    thread.start()
    return thread
