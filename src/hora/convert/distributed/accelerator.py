"""What a script of Accelerate hands to its Accelerator, and what it does past it."""

from __future__ import annotations

import ast
from functools import lru_cache

from hora.convert.distributed.library import of_accelerator, optimizers
from hora.convert.distributed.script import Script

_PREPARES = frozenset({"prepare", "prepare_model", "prepare_optimizer", "prepare_data_loader"})


@lru_cache(maxsize=16)
def preparations(script: Script) -> tuple[ast.Call, ...]:
    """Give the calls that hand something to the Accelerator."""
    return tuple(node for node, _ in script.calls if of_accelerator(script, node) in _PREPARES)


@lru_cache(maxsize=16)
def prepared(script: Script) -> frozenset[ast.AST] | None:
    """Give all that the Accelerator may be handed, and what that is made of; None where the text leaves it open."""
    found: set[ast.AST] = set()
    made = set(optimizers(script))
    for call in preparations(script):
        if any(isinstance(one, ast.Starred) for one in call.args):
            return None
        waiting: list[ast.AST] = [*call.args, *(one.value for one in call.keywords)]
        while waiting:
            one = waiting.pop()
            if one in found:
                continue
            found.add(one)
            if isinstance(one, ast.Name | ast.Attribute | ast.Call):
                waiting += script.origins(one)
            # A network is not handed over by handing over the optimizer of its parameters.
            if one not in made:
                waiting += ast.iter_child_nodes(one)
    return frozenset(found) or None


def wrapped_names(script: Script) -> frozenset[str]:
    """Give the names that what comes back from the Accelerator is bound to."""
    statements = (script.statement(call) for call in preparations(script))
    targets = [target for one in statements if isinstance(one, ast.Assign) for target in one.targets]
    parts = [part for one in targets for part in (one.elts if isinstance(one, ast.Tuple | ast.List) else [one])]
    return frozenset(ast.unparse(one) for one in parts)


def backwards_past(script: Script) -> list[ast.Call]:
    """Give the backward passes that the Accelerator does not see, where it sees the networks."""
    if not preparations(script):
        return []
    return [
        call
        for call in script.backwards
        if not call.args and isinstance(call.func, ast.Attribute) and of_accelerator(script, call) != "backward"
    ]
