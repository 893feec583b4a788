"""HR305: losses that couple the samples of a batch see the global batch."""

from __future__ import annotations

from hora.convert import partners, wholes
from hora.convert.finding import Finding
from hora.convert.losses import broken
from hora.convert.program import Program

CODE = "HR305"
TITLE = "losses that couple the samples of a batch see the global batch"
WHY = "A contrastive loss over 2 slices of 128 has not the negatives of a batch of 256: it is another loss."


def detect(program: Program) -> list[Finding]:
    """Find losses that couple the samples of a batch; where each meets one other, that one is found for it."""
    found = [one for one in (broken(program, backward) for backward in program.backwards) if one and one[0] == CODE]
    shuffles = partners.draws(program)
    refused = [program.finding(CODE, node, message, wholes.reduced(program, node)) for _, message, node in found]
    if any(one.edits for one in refused):
        return list(dict.fromkeys(refused))
    others = [one for one, (_, _, node) in zip(refused, found, strict=True) if node not in shuffles]
    if others or not refused:
        return list(dict.fromkeys(refused))
    return partners.mended(program, CODE) or list(dict.fromkeys(refused))
