"""HR501, in a distributed script: augmentation differs from worker to worker."""

from __future__ import annotations

import ast

from hora.convert.distributed.guards import is_rank, on_all
from hora.convert.distributed.library import mentions
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR501"
_AUGMENTS = (
    "transforms.Random",
    "ColorJitter",
    "RandAugment",
    "AutoAugment",
    "Dropout(",
    "F.dropout",
    "MixUp",
    "CutMix",
)


def detect(script: Script) -> list[Finding]:
    """Note one seed for all workers where the training draws at random."""
    if not script.starts or not script.backwards or not mentions(script, *_AUGMENTS):
        return []
    message = (
        "all workers draw alike: the same augmentation and dropout for each; add the rank once the weights are equal"
    )
    return [
        script.finding(CODE, call, message, note=True)
        for call in script.calls_of("torch.manual_seed")
        if call.args and not _by_worker(script, call.args[0]) and on_all(script, call)
    ]


def _by_worker(script: Script, seed: ast.expr) -> bool:
    """Whether a seed has the rank in it."""
    names = [seed, *(one for part in ast.walk(seed) if isinstance(part, ast.Name) for one in script.origins(part))]
    return any(isinstance(part, ast.expr) and is_rank(script, part) for one in names for part in ast.walk(one))
