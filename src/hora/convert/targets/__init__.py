"""Say a conversion in other words than Hora's: in Horovod's, or in torch's own.

A script is converted to ``hora.torch`` first; what stands then is known to be right. A target replaces each use of the
runtime by what does the same there, and refuses the script, at the line, where nothing does.
"""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.targets import horovod, parallel, sampling, wording
from hora.convert.targets.words import WORDS, Needs

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
    findings = _closures(program)
    findings += horovod.detect(program) if target == "horovod" else parallel.wrap(program, words, needs)
    findings += sampling.detect(program, words, needs)
    findings += wording.detect(program, words, needs)
    return findings


def complete(program: Program, target: str) -> list[Finding]:
    """Find what a translated script must do besides, as it is followed again."""
    return parallel.detect(program) if target == "ddp" else []


def _closures(program: Program) -> list[Finding]:
    """Refuse optimizers that ask for the loss again and again, of which these targets reduce only the gradient."""
    message = "the optimizer decides by the loss of a closure, which only hora.torch reduces: convert to hora"
    return [program.finding("HR309", event.node, message, None) for event in program.events if event.what == "closure"]
