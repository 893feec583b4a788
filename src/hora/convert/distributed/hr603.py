"""HR603, in a distributed script: worker 0 writes, and the others wait before they read."""

from __future__ import annotations

import ast
import re

from hora.convert.distributed.accelerator import preparations, wrapped_names
from hora.convert.distributed.guards import guards, is_rank, on_all
from hora.convert.distributed.library import OTHER_WAYS, is_collective, mentions, wrapped
from hora.convert.distributed.script import Script, keyword
from hora.convert.finding import Finding

CODE = "HR603"
_OWN = re.compile(r"rank|worker|proc|shard|pid|uuid|gpu", re.IGNORECASE)


def detect(script: Script) -> list[Finding]:
    """Find files that every worker writes at once, and files that are read before they are written."""
    findings: list[Finding] = []
    for call in script.calls_of("torch.save"):
        if script.starts and on_all(script, call) and not _own(script, call):
            findings.append(script.finding(CODE, call, "every worker writes this file at the same time"))
        findings += _read_at_once(script, call)
        findings += _keys(script, call)
    return findings + _pretrained(script)


def _pretrained(script: Script) -> list[Finding]:
    """Find networks and tokenizers that every worker of Accelerate writes into one directory."""
    if not preparations(script) or mentions(script, *OTHER_WAYS, "fsdp", "tp_plan"):
        return []
    return [
        script.finding(CODE, call, "every worker writes these files at the same time")
        for call in script.calls_of(".save_pretrained")
        if on_all(script, call) and keyword(call, "is_main_process") is None
    ]


def _own(script: Script, call: ast.Call) -> bool:
    """Whether each worker writes a file of its own, or none: a buffer."""
    path = keyword(call, "f", 1)
    parts = [path] if path is not None else []
    parts += [
        one for part in parts for name in ast.walk(part) if isinstance(name, ast.Name) for one in script.origins(name)
    ]
    for part in parts:
        if _OWN.search(ast.unparse(part)) or "BytesIO" in ast.unparse(part):
            return True
        if any(isinstance(one, ast.expr) and is_rank(script, one) for one in ast.walk(part)):
            return True
    return path is None


def _read_at_once(script: Script, save: ast.Call) -> list[Finding]:
    """Find reads, by all workers and in the same function, of what one of them has just begun to write."""
    path, function = keyword(save, "f", 1), script.function(save)
    if path is None or function is None or not guards(script, save):
        return []
    between = [node for node in ast.walk(function) if isinstance(node, ast.Call) and node.lineno > save.lineno]
    message = "worker 0 may not have written it yet: a barrier is missing between the save and this load"
    for load in between:
        given = keyword(load, "f", 0)
        if script.name(load.func) != "torch.load" or given is None or ast.unparse(given) != ast.unparse(path):
            continue
        waits = [one for one in between if one.lineno <= load.lineno and one is not load]
        if not guards(script, load) and not any(
            is_collective(script, one) or re.search(r"barrier|sync|wait", ast.unparse(one.func)) for one in waits
        ):
            return [script.finding(CODE, load, message)]
    return []


def _keys(script: Script, save: ast.Call) -> list[Finding]:
    """Note where the names in a checkpoint begin with ``module.``."""
    ddp = [call for call in wrapped(script) if "Fully" not in script.name(call.func)]
    names = wrapped_names(script)
    plain = "accelerator.unwrap_model(model)" if names else "model.module"
    message = f"the network is saved in its wrapper: its keys begin with 'module.'; {plain}.state_dict() has none"
    for node in ast.walk(save):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "state_dict":
            made = script.origins(node.func.value)
            inside = ast.unparse(node.func.value) in names and not any("unwrap" in ast.unparse(one) for one in made)
            if inside or (made and all(one in ddp for one in made)):
                return [script.finding(CODE, node, message, note=True)]
    return []
