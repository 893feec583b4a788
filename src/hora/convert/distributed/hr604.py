"""HR604: a resume loads to the worker's own device."""

from __future__ import annotations

import ast
import re

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR604"
TITLE = "a resume loads to the worker's own device"
WHY = "A checkpoint goes back to the device that it was saved from: N copies of it on GPU 0."


def detect(script: Script) -> list[Finding]:
    """Find checkpoints that every worker loads to where worker 0 saved them from."""
    if not script.starts or not re.search(r"cuda|nccl", script.source.text):
        return []
    message = "without map_location every worker loads it onto the GPU that it was saved from"
    return [
        script.finding(CODE, call, message)
        for call in script.calls_of("torch.load")
        if len(call.args) < 2
        and not any(one.arg in ("map_location", None) for one in call.keywords)
        and _a_checkpoint(script, call)
        and on_all(script, call)
    ]


def _a_checkpoint(script: Script, call: ast.Call) -> bool:
    """Whether what is loaded goes into a network or an optimizer."""
    for node, name in script.calls:
        if name.endswith(".load_state_dict") and node.args:
            given = node.args[0]
            parts = [one for one in ast.walk(given) if isinstance(one, ast.expr)]
            if any(call is part or call in script.origins(part) for part in parts):
                return True
    return False
