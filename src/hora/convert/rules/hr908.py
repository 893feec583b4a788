"""HR908: what trains can be followed."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR908"
TITLE = "what trains can be followed"
WHY = "What is not followed may do anything with the batch, and a wrong guess would still run."


def detect(program: Program) -> list[Finding]:
    """Find losses that come from what is not followed."""
    found = refusals(program, CODE)
    return [*(_unknown(program) if found else ()), *found, *_chosen(program)]


def _unknown(program: Program) -> list[Finding]:
    """Say where a module is imported that cannot be known: what is made of it is not followed either."""
    message = (
        "which module is imported here is known only when the script runs: "
        "an option with choices or a default that are modules beside the script would tell"
    )
    return [program.finding(CODE, node, message, None) for node, names in program.facts.chosen.items() if not names]


def _chosen(program: Program) -> list[Finding]:
    """Say which modules have been followed where an option names one."""
    read = "an option names what is imported here: read were"
    return [
        program.finding(CODE, node, f"{read} {', '.join(names)}; a run that names another needs its own conversion", ())
        for node, names in program.facts.chosen.items()
        if names
    ]
