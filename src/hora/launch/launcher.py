"""What starts an agent on a host. Each way to do so (ssh, and later srun, kubectl, Ray) is a small class of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

from hora.errors import HoraError
from hora.launch.hosts import Host

AGENT = (sys.executable, "-m", "hora.launch.agent")
"""The agent's command, by its words."""


class Launcher(Protocol):
    """Starts commands on hosts."""

    def command(self, host: Host) -> list[str]:
        """Return what to execute here so that an agent runs on the host, its standard streams connected to ours."""

    def explain(self, host: Host, said: Sequence[str]) -> HoraError:
        """Say why no agent answers, from what the command said on its standard error."""


class Here:
    """Starts an agent on this host, which needs nobody's leave."""

    def command(self, host: Host) -> list[str]:
        """Return the agent's command itself."""
        return list(AGENT)

    def explain(self, host: Host, said: Sequence[str]) -> HoraError:
        """Say why no agent answers."""
        return HoraError(
            f"start an agent on {host.name}", "; ".join(said) or "it ended without a word", f"Try: {' '.join(AGENT)}"
        )
