"""HR602: worker 0 speaks."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from hora.convert.edits import Edit, argument
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.guards import certain, elsewhere, guarded, hoisted, named_before, runs, together
from hora.convert.names import BARS, PICTURES, PRINTERS
from hora.convert.openers import opened
from hora.convert.program import Program
from hora.convert.values import Foreign, Method, Named, Stream

CODE = "HR602"
TITLE = "worker 0 speaks"
WHY = "Without it each line comes N times."

_SPEAKERS = (
    "logging.",
    "loguru.",
    "mlflow.",
    "rich.",
    "tensorboard",
    "torch.utils.tensorboard",
    "tensorboardX",
    "visdom",
    "tensorflow.summary.",
    "mlflow.",
    *PICTURES,
)
_LEVELS = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log", "fatal"})

_BAR_METHODS = frozenset(["set_postfix", "set_postfix_str", "set_description", "set_description_str", "write"])


def detect(program: Program) -> list[Finding]:
    """Find what every worker prints, logs or draws, and progress bars that every worker shows."""
    findings = [
        program.finding(CODE, run[0], "every worker says this", hoisted(program, run) or guarded(program, run))
        for run in runs(program, lambda statement: speaks(program, statement))
    ]
    findings += [
        program.finding(CODE, call.node, "every worker shows this progress bar", [_disable(program, call)])
        for call in program.calls_of(*BARS)
        if not any(keyword.arg in ("disable", None) for keyword in call.node.keywords)
        and (call.node.args or call.node.keywords)
        and not call.place.alone
    ]
    if not any(finding.mendable for finding in findings):
        findings += [
            program.finding(CODE, call.node, "every worker opens this", [edit]) for call, edit in opened(program)
        ]
    return [*findings, *_computed_inside(program), *_runs_of_wandb(program), *_pictures(program)]


def speaks(program: Program, statement: ast.stmt) -> bool:
    """Whether a statement speaks and does nothing else."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return False
    calls = program.calls_by_node.get(statement.value, ())
    if _closes(program, statement, calls):
        return False
    here = any(speaker(call) for call in calls)
    return here or elsewhere(program, statement.value, speaker)


def _closes(program: Program, statement: ast.stmt, calls: Sequence[Call]) -> bool:
    """Whether a statement closes a figure that every worker has made, to have something to draw on."""
    if not any(Named("matplotlib.pyplot.close") in call.function.things for call in calls):
        return False
    makers = {Named(f"matplotlib.pyplot.{name}") for name in ("figure", "subplots", "axes", "gcf")}
    return any(
        isinstance(node, ast.Assign)
        and any(makers & call.function.things for call in program.calls_by_node.get(node.value, ()))
        for node in ast.walk(program.scope(statement))
    )


def speaker(call: Call) -> bool:
    """Whether a call prints, logs or draws."""
    for thing in call.function.things:
        if isinstance(thing, Named) and thing.name.startswith("logging."):
            return thing.name.removeprefix("logging.") in _LEVELS or "filename" in {
                one.arg for one in call.node.keywords
            }
        if isinstance(thing, Named) and (thing.name in PRINTERS or thing.name.startswith(_SPEAKERS)):
            return True
        if isinstance(thing, Method):
            maker = getattr(thing.receiver, "maker", "")
            if isinstance(thing.receiver, Foreign) and maker.startswith("logging."):
                return thing.name in _LEVELS
            if isinstance(thing.receiver, Foreign) and (maker.startswith(_SPEAKERS) or "SummaryWriter" in maker):
                return True
            if isinstance(thing.receiver, Stream) and thing.name in _BAR_METHODS:
                return True
    return False


def _computed_inside(program: Program) -> list[Finding]:
    """Find what is said of a result that all workers must work out: it is worked out before."""
    findings: list[Finding] = []
    for statement, places in program.facts.places.items():
        if all(place.alone for place in places.values()) or not speaks(program, statement):
            continue
        calls = _together_inside(program, statement)
        # What is gathered is named by itself: what is worked out from it, worker 0 does alone.
        call = next((one for one in calls if _gathers(one)), calls[0] if calls else None)
        if call is not None:
            same = [one for one in calls if ast.dump(one) == ast.dump(call)]
            edits = named_before(program, same, program.fresh(_result(call)))
            findings.append(program.finding(CODE, statement, "every worker says this", edits))
    return findings[:1]


def _gathers(call: ast.Call) -> bool:
    """Whether a call gathers samples."""
    return len(call.args) == 1 and isinstance(call.func, ast.Attribute) and call.func.attr == "gather"


def _result(call: ast.Call) -> str:
    """Give a name for what a call gives."""
    if _gathers(call):
        return f"all_{call.args[0].id}" if isinstance(call.args[0], ast.Name) else "gathered"
    function = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    return f"{function}_result" if function.isidentifier() else "result"


def _together_inside(program: Program, statement: ast.stmt) -> list[ast.Call]:
    """Give the calls in a statement, outermost first, in which all workers do something together."""
    found: list[ast.Call] = []
    for node in ast.walk(statement):
        if not isinstance(node, ast.Call) or node is getattr(statement, "value", None) or not together(program, node):
            continue
        if certain(program, node):
            found.append(node)
    return found


def _pictures(program: Program) -> list[Finding]:
    """Note pictures of samples, of which worker 0 has its slice."""
    message = "what is shown of the batch is of worker 0's slice"
    return [program.finding(CODE, event.node, message, ()) for event in program.events if event.what == "show"][:1]


def _runs_of_wandb(program: Program) -> list[Finding]:
    """Find runs that every worker opens with Weights & Biases: all but worker 0's do nothing."""
    return [
        program.finding(CODE, call.node, "every worker opens a run of its own", [_without(program, call)])
        for call in program.calls_of("wandb.init")
        if not call.place.alone and not any(keyword.arg in ("mode", None) for keyword in call.node.keywords)
    ]


def _without(program: Program, call: Call) -> Edit:
    """Let the run of every worker but 0 do nothing."""
    option = f'mode=None if {program.runtime}.rank() == 0 else "disabled"'
    return argument(program.home(call.node), call.node, option)


def _disable(program: Program, call: Call) -> Edit:
    """Show a progress bar on worker 0 alone."""
    return argument(program.home(call.node), call.node, f"disable={program.runtime}.rank() != 0")
