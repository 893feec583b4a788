"""HR305: losses that couple the samples of a batch see the global batch."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.losses import refusals
from hora.convert.program import Program

CODE = "HR305"
TITLE = "losses that couple the samples of a batch see the global batch"
WHY = "A contrastive loss over 2 slices of 128 has not the negatives of a batch of 256: it is another loss."


def detect(program: Program) -> list[Finding]:
    """Find losses that couple the samples of a batch."""
    return refusals(program, CODE)
