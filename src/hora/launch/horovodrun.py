"""horovodrun's options on `hora run`: the same meaning under the same name, a variable, or a word that it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hora.errors import HoraError

# Another spelling of an option of `hora run`.
_SPELLINGS = {
    "-np": "-n",
    "--num-proc": "-n",
    "-hostfile": "--hostfile",
    "--hosts": "-H",
    "--host": "-H",
    "--min-num-proc": "--min-np",
    "--max-num-proc": "--max-np",
    "--network-interfaces": "--network-interface",
    "-p": "--ssh-port",
    "-i": "--ssh-identity-file",
}
# What is a variable of Hora's, in the same unit.
_VARIABLES = {
    "--fusion-threshold-mb": "HORA_BUCKET_MB",
    "--gloo-timeout-seconds": "HORA_TIMEOUT_SECONDS",
    "--timeline-filename": "HORA_TIMELINE",
    "--stall-check-warning-time-seconds": "HORA_STALL_SECONDS",
    "--stall-check-shutdown-time-seconds": "HORA_STALL_SHUTDOWN_SECONDS",
}
_FLAGS = {
    "--timeline-mark-cycles": "HORA_TIMELINE_MARK_CYCLES=1",
    "--no-timeline-mark-cycles": "HORA_TIMELINE_MARK_CYCLES=0",
    "--stall-check": "HOROVOD_STALL_CHECK_DISABLE=0",
    "--no-stall-check": "HOROVOD_STALL_CHECK_DISABLE=1",
}
# What decides nothing here, with a value and without.
_VALUES_WITHOUT_MEANING = frozenset(
    [
        "--cycle-time-ms",
        "--cache-capacity",
        "--autotune-log-file",
        "--autotune-warmup-samples",
        "--autotune-steps-per-sample",
        "--autotune-bayes-opt-max-samples",
        "--autotune-gaussian-process-noise",
        "--num-nccl-streams",
        "--thread-affinity",
        "--binding-args",
        "--mpi-args",
        "--log-level",
    ]
)
_FLAGS_WITHOUT_MEANING = frozenset(
    [
        "--gloo",
        "--mpi",
        "--jsrun",
        "--tcp",
        "--disable-cache",
        "--hierarchical-allreduce",
        "--no-hierarchical-allreduce",
        "--hierarchical-allgather",
        "--no-hierarchical-allgather",
        "--autotune",
        "--no-autotune",
        "--mpi-threads-disable",
        "--no-mpi-threads-disable",
        "--log-with-timestamp",
        "--log-without-timestamp",
        "--prefix-output-with-timestamp",
        "--verbose",
    ]
)
_NO_BUILD = (
    "Hora has no build of its own",
    'What torch has: python -c "import hora.torch as hvd; print(hvd.gloo_built(), hvd.nccl_built())"',
)
_ELSEWHERE = {
    "--check-build": _NO_BUILD,
    "-cb": _NO_BUILD,
    "--config-file": ("it reads no such file", "Give its entries as options."),
}
# Options of `hora run` that take a value; the word after one is not the script.
_VALUED = frozenset(
    [
        "-n",
        "--workers",
        "-H",
        "--hostfile",
        "--host-discovery-script",
        "--slots-per-host",
        "--min-np",
        "--max-np",
        "--min-n",
        "--max-n",
        "--reset-limit",
        "--elastic-timeout",
        "--blacklist-cooldown",
        "--network-interface",
        "--ssh-port",
        "--ssh-identity-file",
        "--start-timeout",
        "--env",
        "--output-filename",
    ]
)


@dataclass(frozen=True)
class Translation:
    """A command line of `hora run`.

    Attributes
    ----------
    arguments
        The command line in Hora's own words.
    without_meaning
        The options that were left out, since nothing here depends on them.
    """

    arguments: tuple[str, ...]
    without_meaning: tuple[str, ...]


def translate(arguments: Sequence[str]) -> Translation:
    """Put the options before the script into Hora's words; the script and what follows it stay as they are.

    Raises
    ------
    HoraError
        An option lacks its value, or asks for what another command does.
    """
    words, out, idle = list(arguments), list[str](), list[str]()

    def value(option: str, count: int = 1) -> list[str]:
        if len(words) < count:
            raise HoraError(f"run {option}", "it lacks a value", f"Give it one: {option} VALUE")
        taken = words[:count]
        del words[:count]
        return taken

    while words and words[0].startswith("-") and words[0] != "--":
        option, joined, inline = words.pop(0).partition("=")
        if joined and option.startswith("--"):
            words.insert(0, inline)
        else:
            option += joined + inline
        option = _SPELLINGS.get(option, option)
        if option in _ELSEWHERE:
            found, mend = _ELSEWHERE[option]
            raise HoraError(f"run {option}", found, mend)
        if option == "--blacklist-cooldown-range":
            out += ["--blacklist-cooldown", value(option, 2)[0]]
        elif option in _VARIABLES:
            out += ["--env", f"{_VARIABLES[option]}={value(option)[0]}"]
        elif option in _FLAGS:
            out += ["--env", _FLAGS[option]]
        elif option in _VALUES_WITHOUT_MEANING:
            value(option)
            idle.append(option)
        elif option in _FLAGS_WITHOUT_MEANING:
            idle.append(option)
        elif option in _VALUED:
            out += [option, *value(option)]
        else:
            out.append(option)
            if option == "-m":  # a module's name follows: nothing after it is an option
                break
    return Translation((*out, *words), tuple(idle))
