"""What no script in torch's own words can be made of: refused before anything is said."""

from __future__ import annotations

import ast

from hora.convert.finding import Finding
from hora.convert.horovod import collectives
from hora.convert.horovod.modules import CODE
from hora.convert.horovod.plan import Plan
from hora.convert.imports import full_names, modules_of
from hora.convert.program import Program
from hora.convert.rules import hr903, hr905, hr908, hr909
from hora.convert.source import Source
from hora.convert.targets import closures

_OTHERS = frozenset({"init_process_group", "DistributedDataParallel", "FullyShardedDataParallel", "fully_shard"})


def detect(program: Program) -> list[Finding]:
    """Refuse scripts that are not followed to their training, or that wrapping a network does not train alike."""
    plans = [Plan(program, source) for source in program.sources]
    for plan in plans:
        collectives.refuse(plan)
    found = [one for plan in plans for one in plan.findings]
    if found:
        return found
    found = [one for rule in (hr903, hr905, hr908, hr909) for one in rule.detect(program) if one.refusal]
    found += closures(program)
    if not program.backwards and not found:
        message = "no backward pass is followed: what trains is elsewhere, and goes past a wrapper that is put here"
        found.append(program.finding("HR909", program.source.tree, message, None))
    return [*found, *(one for source in program.sources for one in _otherwise(program, source))]


def _otherwise(program: Program, source: Source) -> list[Finding]:
    """Refuse a file that knows other ways to run than on Horovod, and names that it takes without naming them."""
    found = []
    for node in source.nodes:
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        if name in _OTHERS:
            message = f"it trains on many workers in another way, too, by {name}"
            found.append(program.finding(CODE, node, message, None))
        elif isinstance(node, ast.Try) and any(_imports(one) for one in node.body):
            message = "the script goes on without Horovod: which of its ways it takes is known when it runs"
            found.append(program.finding(CODE, node, message, None))
        elif isinstance(node, ast.ImportFrom) and _imports(node) and node.names[0].name == "*":
            found.append(program.finding(CODE, node, "import the names that are used", None))
        elif isinstance(node, ast.Import | ast.ImportFrom) and "mpi4py" in {
            one.split(".")[0] for one in modules_of(node)
        }:
            message = "mpi4py knows workers that mpirun has started, and torchrun's each as one alone: convert to hora"
            found.append(program.finding(CODE, node, message, None))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("HOROVOD_"):
            found.append(program.finding(CODE, node, f"torchrun sets no {node.value}: convert to hora", None))
    return found


def _imports(node: ast.AST) -> bool:
    """Whether a node imports the runtime."""
    return any(name.split(".")[0] == "hora" for name in full_names([node]).values())
