"""HR301, in a distributed script: every optimizer that steps uses averaged gradients."""

from __future__ import annotations

import ast

from hora.convert.distributed.accelerator import prepared
from hora.convert.distributed.guards import on_all
from hora.convert.distributed.library import OTHER_WAYS, WRAPPERS, mentions, optimizers, stepped, wrapped
from hora.convert.distributed.script import Script, keyword
from hora.convert.finding import Finding

CODE = "HR301"
_GRADIENTS = ("all_reduce", "allreduce", "reduce_scatter", "average_gradients", "all_gather", "sync_grad", "isend")


def detect(script: Script) -> list[Finding]:
    """Find optimizers that step on the gradients of one worker alone."""
    if not script.starts or not script.backwards:
        return []
    if script.uses("accelerate"):
        return _of_accelerate(script)
    if mentions(script, *OTHER_WAYS):
        return []
    return _of_horovod(script) if script.horovod else _of_torch(script)


def _of_horovod(script: Script) -> list[Finding]:
    """Find optimizers that are in no DistributedOptimizer."""
    if mentions(script, ".grad)", ".grad.data", "grads"):
        return []
    taken = [keyword(call, "optimizer", 0) for call in script.calls_of("hvd.DistributedOptimizer")]
    wrapped_ones = [one for given in taken if given is not None for one in script.origins(given)]
    message = "it steps on the gradients of its own worker: hvd.DistributedOptimizer is missing"
    return [
        script.finding(CODE, call, message)
        for call in optimizers(script)
        if call not in wrapped_ones and on_all(script, call) and stepped(script, call)
    ]


def _of_torch(script: Script) -> list[Finding]:
    """Find optimizers of networks that are in no wrapper."""
    if mentions(script, *_GRADIENTS):
        return []
    wrappers = wrapped(script)
    if not wrappers and (mentions(script, "DistributedDataParallel", "FSDP", "DDP") or _wraps_elsewhere(script)):
        return []
    inner = {one for network in wrappers.values() for one in (ast.unparse(network), *_made(script, network))}
    findings = []
    for call in optimizers(script):
        network = _network(call)
        if network is None or not stepped(script, call) or not on_all(script, call):
            continue
        made = _made(script, network)
        known = made and all(isinstance(one, ast.Call) and not _is_wrapper(script, one) for one in made)
        if known and ast.unparse(network) not in inner and not set(made) & inner:
            message = "the network that it trains is in no DistributedDataParallel: its gradients are not averaged"
            findings.append(script.finding(CODE, call, message))
    return findings


def _of_accelerate(script: Script) -> list[Finding]:
    """Find networks that the Accelerator does not wrap, and optimizers that it does not hold back."""
    given = prepared(script)
    if given is None:
        return []
    findings = []
    for call in optimizers(script):
        if not stepped(script, call) or not on_all(script, call):
            continue
        network = _network(call)
        made = _made(script, network) if network is not None else []
        if made and not given & {*made}:
            message = "accelerator.prepare() is not given the network that it trains: its gradients are not averaged"
            findings.append(script.finding(CODE, call, message))
        elif call not in given:
            message = "accelerator.prepare() is not given it: no scaler or accumulation window holds its steps back"
            findings.append(script.finding(CODE, call, message))
    return findings


def _made(script: Script, network: ast.expr) -> list[ast.expr]:
    """Give the calls that make a network, without those that move it to a device."""
    found: list[ast.expr] = []
    for one in script.origins(network):
        while isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in ("to", "cuda"):
            one = one.func.value
        found += [one] if isinstance(one, ast.Call) else [part for part in script.origins(one) if part is not one]
    return found


def _network(optimizer: ast.Call) -> ast.expr | None:
    """Give the network whose parameters an optimizer takes."""
    given = keyword(optimizer, "params", 0)
    if isinstance(given, ast.Call) and isinstance(given.func, ast.Attribute) and given.func.attr == "parameters":
        return given.func.value if isinstance(given.func.value, ast.Name | ast.Attribute) else None
    return None


def _is_wrapper(script: Script, call: ast.Call) -> bool:
    """Whether a call wraps a network, or may do so in another file."""
    name = script.name(call.func)
    return name.endswith(WRAPPERS) or any(word in name.lower() for word in ("parallel", "ddp", "wrap", "distribut"))


def _wraps_elsewhere(script: Script) -> bool:
    """Whether a function of another file is given the network and may wrap it."""
    names = [name.lower() for _, name in script.calls]
    return any(
        word in name for name in names for word in ("parallel", "wrap", "prepare", "distribute_model", "trainer")
    )
