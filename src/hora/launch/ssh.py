"""Starts agents on other hosts over ssh, once for each host, without a password and without a terminal."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from hora.errors import HoraError
from hora.launch.hosts import Host
from hora.launch.launcher import AGENT

_NO_PYTHON = (
    "there is no {python}",
    "Give every host the same environment under the same path, on a shared file system or by copies.",
)
# What ssh says -> what was found, and how to mend it; {host} is the host's name.
_MEANINGS = {
    "could not resolve hostname": (
        "its name does not resolve",
        "Check the name, or give its address or an alias of ~/.ssh/config.",
    ),
    "permission denied": (
        "it does not let you in without a password",
        "Let your key in: ssh-copy-id {host}, then try: ssh -o BatchMode=yes {host} true",
    ),
    "host key verification failed": (
        "its host key is not known here, or has changed",
        "Log in once by hand: ssh {host}",
    ),
    "connection refused": ("nothing listens on its ssh port", "Start sshd there, or name its port: --ssh-port PORT"),
    "timed out": ("it does not answer", "Check that it is up and that no firewall is between: ssh -v {host}"),
    "no route to host": ("no network leads to it", "Check its address and its cable: ping {host}"),
    "network is unreachable": ("no network leads to it", "Check its address, and this machine's network."),
    "no module named": (
        "Hora is not installed there for {python}",
        "Install the same version there: {python} -m pip install hora",
    ),
    "no such file or directory": _NO_PYTHON,
    "not found": _NO_PYTHON,
}


class Ssh:
    """Reaches hosts by ssh. The variable ``HORA_SSH`` replaces the program: ``HORA_SSH="ssh -F my_config"``.

    Parameters
    ----------
    port, identity
        The port and the key file to use, where ssh's own configuration does not say it.
    timeout
        Seconds until a host must have answered.
    """

    def __init__(self, port: int | None = None, identity: Path | None = None, timeout: float = 30.0) -> None:
        self._port, self._identity, self._timeout = port, identity, timeout

    def command(self, host: Host) -> list[str]:
        """Return ssh's command. A shell on the host reads the agent's words once: the interpreter's path, no more."""
        options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(self._timeout))}", "-T"]
        if self._port is not None:
            options += ["-p", str(self._port)]
        if self._identity is not None:
            options += ["-i", str(self._identity)]
        words = ["exec", *AGENT]
        if "PYTHONPATH" in os.environ:
            words = ["exec", "env", f"PYTHONPATH={os.environ['PYTHONPATH']}", *AGENT]
        program = shlex.split(os.environ.get("HORA_SSH", "ssh"))
        return [*program, *options, "--", host.name, shlex.join(words)]

    def explain(self, host: Host, said: Sequence[str]) -> HoraError:
        """Say why no agent answers, from what ssh said."""
        words = "\n".join(said)
        names = {"host": host.name, "python": AGENT[0]}
        for sign, (found, mend) in _MEANINGS.items():
            if sign in words.lower():
                return HoraError(
                    f"reach host {host.name}",
                    f"{found.format(**names)} (ssh says: {said[-1]})",
                    mend.format(**names),
                )
        return HoraError(
            f"reach host {host.name}",
            f"ssh says: {'; '.join(said) or 'nothing'}",
            f"Try: ssh -o BatchMode=yes {host.name} true",
        )
