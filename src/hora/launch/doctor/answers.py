"""What a host's agent answers the doctor: what the host is, what time it is, and whether it reaches another host."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from hora.launch.doctor.facts import gather
from hora.launch.frames import Message

DIAL_SECONDS = 3.0
"""How long a host may take to answer another."""


class Answers:
    """Answers the doctor's requests on one host."""

    def __init__(self) -> None:
        self._listening: socket.socket | None = None
        self.serve: dict[str, Callable[[Message], Message]] = {
            "facts": lambda message: {"facts": gather().as_record()},
            "clock": lambda message: {"time": time.time()},
            "listen": self._listen,
            "dial": self._dial,
        }

    def _listen(self, message: Message) -> Message:
        """Listen at an address of this host, in place of whatever was listened at before."""
        if self._listening is not None:
            self._listening.close()
        family = socket.AF_INET6 if ":" in message["address"] else socket.AF_INET
        self._listening = socket.create_server((message["address"], 0), family=family)
        return {"port": self._listening.getsockname()[1]}

    def _dial(self, message: Message) -> Message:
        """Connect to another host; tell why that fails, or None."""
        try:
            socket.create_connection((message["address"], message["port"]), timeout=DIAL_SECONDS).close()
        except OSError as error:
            return {"refused": error.strerror or str(error)}
        return {"refused": None}
