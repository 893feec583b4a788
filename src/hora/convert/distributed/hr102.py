"""HR102, in a distributed script: a worker uses its own device."""

from __future__ import annotations

import ast

from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import is_collective, mentions
from hora.convert.distributed.script import Script
from hora.convert.finding import Finding

CODE = "HR102"
_OWN = ("set_device", "CUDA_VISIBLE_DEVICES", "local_rank", "LOCAL_RANK", "accelerator", "Accelerator", "device_id")


def detect(script: Script) -> list[Finding]:
    """Find devices that are the same on every worker."""
    if not script.starts or script.uses("accelerate"):
        return []
    findings = [
        script.finding(CODE, node, f"every worker of a host gets {text}", note=False)
        for node, text in _literal(script)
        if on_all(script, node)
    ]
    if findings or mentions(script, *_OWN, "get_rank", ".rank()"):
        return findings
    moves = [node for node, name in script.calls if name.endswith(".cuda") and not node.args and not node.keywords]
    moves = [node for node in moves if on_all(script, node) and not is_collective(script, node)]
    message = "every worker of a host goes to GPU 0: torch.cuda.set_device(local_rank) is missing"
    return [script.finding(CODE, moves[0], message)] if moves else []


def _literal(script: Script) -> list[tuple[ast.Call, str]]:
    """Give the calls that name a GPU by a number."""
    found = []
    for node, name in script.calls:
        given = node.args[0] if node.args else None
        if not isinstance(given, ast.Constant):
            continue
        value = given.value
        if name in ("torch.device", "torch.cuda.set_device") or name.endswith((".cuda", ".to")):
            if isinstance(value, str) and value.startswith("cuda:") and value[5:].isdigit():
                found.append((node, value))
            elif type(value) is int and not name.endswith(".to"):
                found.append((node, f"cuda:{value}"))
    return found
