"""What signals mean to a launcher: some end the run, one asks for the workers' stacks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from hora.launch.stop import Stop

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_request(stop: Stop) -> Iterator[None]:
    """Let the signals that end this process request the end of the run instead."""
    with _handled(_ENDING, stop.request):
        yield


@contextmanager
def quit_asks(ask: Callable[[], None]) -> Iterator[None]:
    r"""Let SIGQUIT, which a terminal sends for Ctrl-\, ask for something instead of ending this process."""
    with _handled((signal.SIGQUIT,), lambda number: ask()):
        yield


@contextmanager
def _handled(numbers: Sequence[signal.Signals], handle: Callable[[int], None]) -> Iterator[None]:
    """Handle signals, in the main thread; elsewhere they are left alone."""

    def handler(number: int, frame: FrameType | None) -> None:
        handle(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What is ignored stays so: under nohup a closed terminal ends nothing.
    former = {number: signal.getsignal(number) for number in numbers}
    former = {number: before for number, before in former.items() if before not in (signal.SIG_IGN, None)}
    for number in former:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in former.items():
            signal.signal(number, before)
