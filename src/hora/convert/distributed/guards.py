"""Who runs a line: tests of a worker's rank around it, before it, and around the calls of its function."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache

from hora.convert.blocks import blocks
from hora.convert.distributed.script import Function, Script

_RANKS = frozenset({"dist.get_rank", "hvd.rank", "hvd.local_rank", "hvd.cross_rank", "dist.get_node_local_rank"})
_NAMED = frozenset({
    "rank", "local_rank", "global_rank", "world_rank", "node_rank", "process_index", "local_process_index", "get_rank",
    "get_local_rank", "is_main_process", "is_local_main_process", "is_master", "is_main", "is_rank_zero", "is_primary",
    "is_rank_0", "is_root", "is_local_master", "is_global_zero", "ddp_rank", "ddp_local_rank", "local_rank_zero",
    "master_process", "is_master_process", "main_process", "rank_zero", "is_first_worker", "is_primary_rank",
})  # fmt: skip
_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID", "OMPI_COMM_WORLD_RANK")
_MARKS = re.compile(r"rank_?zero|main_process|master_only|rank_?0|on_process|primary|zero_first|master_process")
_MANY = re.compile(
    r"distribut|world_size|n_?gpus?\b|\bddp\b|is_initialized|size\(\)|local_rank|num_process|multi|parallel"
)


@dataclass(frozen=True)
class Guard:
    """A test that some workers pass and others do not.

    Attributes
    ----------
    test
        The test.
    passed
        Whether the line is run by those that pass it, or by the others.
    """

    test: ast.expr
    passed: bool


def is_rank(script: Script, node: ast.expr, depth: int = 0) -> bool:
    """Whether an expression is the worker's rank, or answers whether this is the first worker."""
    if isinstance(node, ast.Call):
        name = script.name(node.func)
        if name in _RANKS or name.rpartition(".")[2] in _NAMED:
            return True
        if name in ("int", "bool", "str") and node.args:
            return is_rank(script, node.args[0], depth)
        texts = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
        return name in ("os.getenv", "os.environ.get") and texts[:1] != [] and texts[0] in _VARIABLES
    if isinstance(node, ast.Subscript):
        index = node.slice
        return script.name(node.value) == "os.environ" and isinstance(index, ast.Constant) and index.value in _VARIABLES
    if isinstance(node, ast.BinOp):
        return is_rank(script, node.left, depth) or is_rank(script, node.right, depth)
    if isinstance(node, ast.Attribute) and node.attr in _NAMED:
        return True
    if isinstance(node, ast.Name) and node.id in _NAMED:
        return True
    if isinstance(node, ast.Name | ast.Attribute) and depth < 4:
        return any(one is not node and selects(script, one, depth + 1) for one in script.origins(node))
    return False


@lru_cache(maxsize=1 << 12)
def selects(script: Script, test: ast.expr, depth: int = 0) -> bool:
    """Whether a test is passed by some of the workers only."""
    if isinstance(test, ast.UnaryOp):
        return isinstance(test.op, ast.Not) and selects(script, test.operand, depth)
    if isinstance(test, ast.BoolOp):
        return any(selects(script, one, depth) for one in test.values)
    if isinstance(test, ast.Compare):
        sides = [test.left, *test.comparators]
        if any(ast.unparse(one) in ("-1", "None") for one in sides):
            return False
        if any(isinstance(one, ast.Call) and script.name(one.func).endswith(("world_size", "size")) for one in sides):
            return any(is_rank(script, one, depth) for one in sides)
        return any(is_rank(script, one, depth) for one in sides)
    return is_rank(script, test, depth)


@lru_cache(maxsize=1 << 14)
def guards(script: Script, node: ast.AST) -> list[Guard]:
    """Give the tests of the rank that stand around a node, or before it with an early end, in its function."""
    found: list[Guard] = []
    inner = node
    for outer in script.ancestors(node):
        if isinstance(outer, ast.If | ast.IfExp | ast.While) and inner is not outer.test:
            inside = inner is outer.body if isinstance(outer, ast.IfExp) else inner in outer.body
            if selects(script, outer.test):
                found.append(Guard(outer.test, inside))
        if isinstance(outer, ast.BoolOp) and isinstance(outer.op, ast.And) and inner in outer.values:
            earlier = outer.values[: outer.values.index(inner)]
            found += [Guard(one, True) for one in earlier if selects(script, one)]
        found += _early_ends(script, outer, inner)
        if isinstance(outer, Function):
            found += [Guard(one, True) for one in outer.decorator_list if _MARKS.search(ast.unparse(one))]
            break
        inner = outer
    return found


def _early_ends(script: Script, outer: ast.AST, inner: ast.AST) -> list[Guard]:
    """Give the tests earlier in a block after which some workers go no further."""
    found: list[Guard] = []
    for block in blocks(outer):
        if inner in block:
            for one in block[: block.index(inner)]:
                if isinstance(one, ast.If) and not one.orelse and _ends(one.body) and selects(script, one.test):
                    found.append(Guard(one.test, False))
    return found


def _ends(body: list[ast.stmt]) -> bool:
    """Whether a block leaves what it is in, without an error."""
    last = body[-1]
    return isinstance(last, ast.Return | ast.Continue | ast.Break) or (
        isinstance(last, ast.Expr)
        and isinstance(last.value, ast.Call)
        and ast.unparse(last.value.func) in ("exit", "quit", "sys.exit", "os._exit")
    )


def on_all(script: Script, node: ast.AST, seen: frozenset[ast.AST] = frozenset()) -> bool:
    """Whether it is certain that every worker of a job runs a line: no test of the rank on one way to it."""
    if guards(script, node) or _alone(script, node):
        return False
    function = script.function(node)
    if function is None:
        return True
    if function in seen:
        return False
    return any(on_all(script, one, seen | {function}) for one in script.references(function))


def _alone(script: Script, node: ast.AST) -> bool:
    """Whether a line may be one that only a job of a single worker runs."""
    inner = node
    for outer in script.ancestors(node):
        if isinstance(outer, ast.If) and inner is not outer.test:
            other = outer.orelse if inner in outer.body else outer.body
            if _MANY.search(ast.unparse(outer.test)) or any("istributed" in ast.unparse(one) for one in other):
                return True
        if isinstance(outer, Function):
            return False
        inner = outer
    return False


def quiet(script: Script) -> bool:
    """Whether the script sees to it that only one worker prints."""
    texts = [ast.unparse(one) for node in script.nodes if isinstance(node, ast.Assign) for one in node.targets]
    if any(text.endswith(".print") or text in ("print", "sys.stdout", "sys.stderr") for text in texts):
        return True
    return "print" in script.functions or "print" in script.imported
