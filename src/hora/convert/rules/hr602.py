"""HR602: worker 0 speaks."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.guards import guarded, runs
from hora.convert.library import BARS, PICTURES, PRINTERS
from hora.convert.program import Program
from hora.convert.values import Foreign, Method, Named, Stream

CODE = "HR602"
TITLE = "worker 0 speaks"
WHY = "Without it each line comes N times."

_SPEAKERS = ("logging.", "wandb.", "tensorboard", "torch.utils.tensorboard", "tensorboardX", "visdom", "mlflow.", *PICTURES)
_BAR_METHODS = frozenset("set_postfix set_postfix_str set_description set_description_str write".split())


def detect(program: Program) -> list[Finding]:
    """Find what every worker prints, logs or draws, and progress bars that every worker shows."""
    findings = [
        program.finding(CODE, run[0], "every worker says this", guarded(program, run))
        for run in runs(program, lambda statement: speaks(program, statement))
    ]
    findings += [
        program.finding(CODE, call.node, "every worker shows this progress bar", [_disable(program, call)])
        for call in program.calls_of(*BARS)
        if not any(keyword.arg in ("disable", None) for keyword in call.node.keywords) and call.node.args
        and not call.place.alone
    ]
    return findings


def speaks(program: Program, statement: ast.stmt) -> bool:
    """Whether a statement speaks and does nothing else."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    return any(_speaker(call) for call in program.calls_by_node.get(statement.value, ()))


def _speaker(call: Call) -> bool:
    """Whether a call prints, logs or draws."""
    for thing in call.function.things:
        if isinstance(thing, Named) and (thing.name in PRINTERS or thing.name.startswith(_SPEAKERS)):
            return True
        if isinstance(thing, Method):
            maker = getattr(thing.receiver, "maker", "")
            if isinstance(thing.receiver, Foreign) and (maker.startswith(_SPEAKERS) or "SummaryWriter" in maker):
                return True
            if isinstance(thing.receiver, Stream) and thing.name in _BAR_METHODS:
                return True
    return False


def _disable(program: Program, call: Call) -> Edit:
    """Show a progress bar on worker 0 alone."""
    last = max(program.source.span(node)[1] for node in (*call.node.args, *(keyword.value for keyword in call.node.keywords)))
    return Edit(last, last, f", disable={program.runtime}.rank() != 0")
