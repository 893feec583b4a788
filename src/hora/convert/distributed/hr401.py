"""HR401, in a distributed script: the learning rate follows the global batch."""

from __future__ import annotations

import ast

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import OTHER_WAYS, mentions, optimizers
from hora.convert.distributed.script import Script, keyword
from hora.convert.finding import Finding

CODE = "HR401"


def detect(script: Script) -> list[Finding]:
    """Note a constant rate where each further worker makes the global batch larger."""
    if (
        not script.starts
        or script.uses("hora.torch")
        or mentions(script, "world_size", "size()", "num_processes", "lr_scale", *OTHER_WAYS)
    ):
        return []
    message = "each further worker makes the global batch larger, and the rate stays: scale one of them, or mean it"
    return [
        script.finding(CODE, call, message, note=True)
        for call in optimizers(script)
        if isinstance(keyword(call, "lr", 1), ast.Constant) and on_all(script, call)
    ]
