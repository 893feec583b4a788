"""How a run is told to end from outside the loop that supervises it."""

from __future__ import annotations

import signal


class Stop:
    """A request that a run end, made by a signal handler or another thread.

    The run looks at it several times a second. A handler may interrupt anything, itself included: so no locks here.

    Attributes
    ----------
    signal
        The signal to send to the workers, None as long as there is no request.
    urgent
        Asked again by Ctrl-C: do not wait for the workers to end in order.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.urgent = False

    def request(self, number: int = signal.SIGTERM) -> None:
        """Ask the run to end its workers with this signal; SIGINT after another request asks to kill them."""
        if self.signal is None:
            self.signal = number
        elif number == signal.SIGINT:  # others repeat themselves: a closed terminal sends SIGHUP twice
            self.urgent = True
