"""Say a conversion in other words than Hora's: in Horovod's, or in torch's own.

A script is converted to ``hora.torch`` first; what stands then is known to be right. A target replaces each use of the
runtime by what does the same there, and refuses the script, at the line, where nothing does.
"""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.targets import horovod, parallel, sampling, wording
from hora.convert.targets.words import WORDS, Needs
from hora.convert.values import Loader, Method

TARGETS = ("hora", *WORDS)
"""What a script can be converted to."""


def translate(program: Program, target: str) -> list[Finding]:
    """Find every use of ``hora.torch`` in a converted script, with the edits that say it in a target's words.

    Parameters
    ----------
    program
        The converted script, with its evaluation loaders left whole.
    target
        ``"horovod"`` or ``"ddp"``.
    """
    words = WORDS[target]
    needs = Needs()
    findings = [*closures(program), *_wordless(program)]
    if target == "horovod":
        findings += horovod.detect(program)
    else:
        findings += [*parallel.unwrapped(program), *parallel.wrap(program, words, needs)]
    findings += sampling.detect(program, words, needs)
    findings += wording.detect(program, words, needs)
    return findings


def complete(program: Program, target: str) -> list[Finding]:
    """Find what a translated script must do besides, as it is followed again."""
    return parallel.detect(program) if target == "ddp" else []


def _wordless(program: Program) -> list[Finding]:
    """Refuse what only the runtime says: entries of all workers' samples, and counts that know the evaluation."""
    findings = [
        program.finding("HR304", call.node, "training and evaluation share this count: convert to hora", None)
        for call in program.calls_of(f"{NAME}.total")
    ]
    message = "a sum or a mean of all workers goes into the loss, with its gradients: convert to hora"
    findings += [
        program.finding("HR305", call.node, message, None)
        for call in program.calls_of(f"{NAME}.allreduce")
        if call.args and not call.args[0].number
    ]
    for call in program.all_calls:
        gathers = {thing for thing in call.function.things if isinstance(thing, Method) and thing.name == "gather"}
        if any(isinstance(thing.receiver, Loader) for thing in gathers):
            message = "entries of all workers' samples are gathered: convert to hora"
            findings.append(program.finding("HR305", call.node, message, None))
    return list(dict.fromkeys(findings))


def closures(program: Program) -> list[Finding]:
    """Refuse optimizers that ask for the loss again and again, of which these targets reduce only the gradient."""
    message = "the optimizer decides by the loss of a closure, which only hora.torch reduces: convert to hora"
    return [program.finding("HR309", event.node, message, None) for event in program.events if event.what == "closure"]
