"""`hvd.elastic.run`: a training function that goes on after failures, in this process or in a new one."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from hora.torch.elastic.commits import flush_all
from hora.torch.elastic.state import State
from hora.torch.exceptions import HorovodInternalError, HostsUpdatedInterrupt
from hora.torch.rounds import init, shutdown

RESTART = 79
"""The exit status of a worker that asks for a new generation; its state is committed."""

_PATIENCE_SECONDS = 30.0


def run(func: Callable[..., Any]) -> Callable[..., Any]:
    """Run a training function so that it goes on from the last commit after a failure or a change of hosts.

    Under `hora run --min-np` all workers then end and start anew, and the state is what was committed last. Elsewhere
    a failure ends the worker; a change of hosts makes the world anew in this process.

    Parameters
    ----------
    func
        A function whose first argument is a state, such as `TorchState`.
    """

    @functools.wraps(func)
    def wrapper(state: State, *args: Any, **kwargs: Any) -> Any:
        init()
        while True:
            try:
                state.sync()
                return func(state, *args, **kwargs)
            except HorovodInternalError as error:
                if not _elastic():
                    raise
                print(f"hora: {error}; asking for a new generation", file=sys.stderr, flush=True)
                _leave()
            except HostsUpdatedInterrupt:
                if _elastic():
                    _leave()
                shutdown()
                init()
                state.on_reset()

    return wrapper


def _elastic() -> bool:
    """Whether the launcher starts new generations."""
    return os.environ.get("HORA_ELASTIC") == "1"


def _leave() -> NoReturn:
    """End this worker for a new generation, within a bounded time even if an exit handler hangs."""
    flush_all(5.0)

    def insist() -> None:
        time.sleep(_PATIENCE_SECONDS)
        os._exit(RESTART)

    threading.Thread(target=insist, daemon=True, name="hora ends").start()
    raise SystemExit(RESTART)
