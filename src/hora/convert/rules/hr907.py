"""HR907: a script that is distributed already is left alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.source import Source

CODE = "HR907"
TITLE = "a script that is distributed already is left alone"
WHY = "Two libraries would each cut the batch and each average the gradients."


_MODULES = frozenset({
    "horovod", "accelerate", "lightning", "pytorch_lightning", "deepspeed", "fairscale", "colossalai", "megatron",
    "bagua", "torch_xla", "smdistributed", "catalyst", "composer",
})  # fmt: skip
_NAMES = frozenset(
    ["init_process_group", "DistributedDataParallel", "DistributedSampler", "FullyShardedDataParallel", "fully_shard"]
)


def detect(program: Program) -> list[Finding]:
    """Find the use of another library for training on many workers."""
    found = library(program.source) or _first(
        node.func for node in program.nodes() if isinstance(node, ast.Call) and not program.own(node)
    )
    if found is None:
        return []
    node, name = found
    otherwise = "; --from horovod says it in other words" if name.split(".")[0] == "horovod" else ""
    return [program.finding(CODE, node, f"it is distributed already, by {name}: left alone{otherwise}", None)]


def library(source: Source) -> tuple[ast.AST, str] | None:
    """Give where a script uses another library for training on many workers, and which; None where it does not."""
    return _first(source.nodes)


def _first(nodes: Iterable[ast.AST]) -> tuple[ast.AST, str] | None:
    """Give the first of some nodes that uses another library, and which."""
    for node in nodes:
        name = _used(node)
        if name is not None:
            return node, name
    return None


def _used(node: ast.AST) -> str | None:
    """Give the name of what a node uses to train on many workers."""
    if isinstance(node, ast.Import):
        return next((alias.name for alias in node.names if alias.name.split(".")[0] in _MODULES), None)
    if isinstance(node, ast.ImportFrom) and not node.level:
        module = node.module or ""
        if module.split(".")[0] in _MODULES or module.startswith("apex.parallel"):
            return module
        return next((alias.name for alias in node.names if alias.name in _NAMES), None)
    if isinstance(node, ast.Attribute) and node.attr in _NAMES:
        return node.attr
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("mp.spawn", "torch.multiprocessing.spawn"):
        return ast.unparse(node.func)
    return None
