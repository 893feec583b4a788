"""HR502, in a distributed script: splits agree on all workers."""

from __future__ import annotations

import ast
import re

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import wrapped
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR502"
_SEEDED = ("generator", "random_state")


def detect(script: Script) -> list[Finding]:
    """Find splits that each worker draws for itself."""
    if not (script.starts or wrapped(script)) or re.search(r"seed", script.source.text, re.IGNORECASE):
        return []
    message = "each worker splits for itself: one trains on what another holds back for validation"
    return [
        script.finding(CODE, node, message)
        for node, name in script.calls
        if name in ("torch.utils.data.random_split", "sklearn.model_selection.train_test_split")
        and not any(one.arg in (*_SEEDED, None) for one in node.keywords)
        and not any(isinstance(one, ast.Call) for one in node.args[2:])
        and on_all(script, node)
    ]
