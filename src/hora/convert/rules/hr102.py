"""HR102: a worker uses its own device."""

from __future__ import annotations

import ast
import re
from functools import lru_cache

from hora.convert.arguments import literal
from hora.convert.assumptions import is_options
from hora.convert.edits import Edit, insert_after, replace, without
from hora.convert.finding import Finding
from hora.convert.imports import among, binds_torch, modules_of
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.source import Source
from hora.convert.values import Method, Named, Value

CODE = "HR102"
TITLE = "a worker uses its own device"
WHY = "Without it all workers share GPU 0: N times its memory, and slower than one."

_NUMBERED = re.compile(r"cuda:\d+")
_DEVICE_TAKERS = ("cuda", "to")


def detect(program: Program) -> list[Finding]:
    """Find devices that are the same for all workers."""
    return [*_own_gpu(program), *_numbered(program), *_positions(program), *_formatted(program), *_settings(program)]


def _own_gpu(program: Program) -> list[Finding]:
    """Find a script that can use CUDA and does not choose the worker's own GPU."""
    if any(program.calls_of("torch.cuda.set_device", "torch.accelerator.set_device_index")):
        return []
    accelerated = any(program.calls_of("torch.accelerator.current_accelerator", "torch.accelerator.is_available"))
    if not accelerated and not any(map(mentions_cuda, program.nodes())) and not _positions(program):
        return []
    home, choose = ("accelerator", "set_device_index") if accelerated else ("cuda", "set_device")
    for call in program.calls_of(f"{NAME}.init"):
        statement = program.statement(call.node)
        hvd, source = program.runtime, program.home(statement)
        lines = [f"if torch.{home}.is_available():", f"{source.indent}torch.{home}.{choose}({hvd}.local_rank())"]
        edits = [insert_after(source, statement, lines)]
        if not binds_torch(source.tree):
            edits.append(_import_torch(source))
        return [program.finding(CODE, statement, "no GPU of its own is chosen for each worker", edits)]
    return []


def _import_torch(source: Source) -> Edit:
    """Import torch behind the runtime."""
    for node in source.tree.body:
        if isinstance(node, ast.Import) and modules_of(node) == [NAME]:
            return insert_after(source, node, ["import torch"])
    return among(source, "torch", "import torch")


def mentions_cuda(node: ast.AST) -> bool:
    """Whether a node says ``cuda``."""
    return (
        (isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"cuda\b", node.value) is not None)
        or (isinstance(node, ast.Attribute) and node.attr == "cuda")
        or (isinstance(node, ast.alias) and "cuda" in node.name.split("."))
    )


def _numbered(program: Program) -> list[Finding]:
    """Find names of devices with a number, such as ``"cuda:0"``."""
    found = [
        node
        for node in program.nodes()
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and _NUMBERED.fullmatch(node.value)
        and not isinstance(program.parents[node], ast.JoinedStr)
    ]
    if len({node.value for node in found}) > 1:
        return [program.finding(CODE, found[-1], "it uses several GPUs by their numbers: not converted", None)]
    message = "all workers would use one GPU by its name"
    return [
        program.finding(CODE, node, message, [replace(program.home(node), node, _own_name(program, node))])
        for node in found
    ]


def _own_name(program: Program, node: ast.Constant) -> str:
    """Give the name of the worker's device, numbered where the runtime is initialised before, else the current one."""
    quote = program.home(node).segment(node)[0]
    quote = quote if quote in "'\"" else '"'
    if isinstance(program.scope(node), ast.Module) or not _runs_later(program, node):
        return f"{quote}cuda{quote}"
    return f"f{quote}cuda:{{{program.runtime}.local_rank()}}{quote}"


def _runs_later(program: Program, node: ast.AST) -> bool:
    """Whether a node is only run once the runtime is initialised: not a default of a parameter."""
    init = next((call.node for call in program.calls_of(f"{NAME}.init")), None)
    scope = program.scope(node)
    if init is None or isinstance(scope, ast.Module | ast.Lambda):
        return False
    inside = any(node in ast.walk(statement) for statement in scope.body)
    same = program.scope(init) is scope
    return inside and (not same or getattr(node, "lineno", 0) > init.lineno)


def _positions(program: Program) -> list[Finding]:
    """Find devices that are given as a number."""
    findings: list[Finding] = []
    hvd = program.runtime
    for calls in program.calls_by_node.values():
        node = calls[0].node
        for argument in _device_arguments(program, node):
            values = [value for call in calls for value in (program.value(argument, call.place.context),) if value]
            if values and all(_is_number(value) for value in values):
                edits: list[Edit] = [replace(program.home(argument), argument, f"{hvd}.local_rank()")]
                findings.append(program.finding(CODE, argument, "all workers would use one GPU by its number", edits))
            elif any(_number_setting(program, value) for value in values):
                message = "the GPU's number comes from a setting: every worker would use the same one"
                findings.append(program.finding(CODE, argument, message, None))
    return findings


def _device_arguments(program: Program, node: ast.Call) -> list[ast.expr]:
    """Give the arguments of a call that say which device."""
    found = [keyword.value for keyword in node.keywords if keyword.arg == "device"]
    if isinstance(node.func, ast.Attribute) and node.func.attr in _DEVICE_TAKERS and node.args:
        found.append(node.args[0])
    names = {thing.name for value in program.values(node.func) for thing in value.things if isinstance(thing, Named)}
    if "torch.cuda.set_device" in names or ("torch.device" in names and len(node.args) == 1):
        found += node.args[:1]
    if "torch.device" in names and len(node.args) == 2:
        found.append(node.args[1])
    return found


def _is_number(value: Value) -> bool:
    """Whether a value is a literal number."""
    number = literal(value)
    return isinstance(number, int) and not isinstance(number, bool)


def _number_setting(program: Program, value: Value) -> bool:
    """Whether a value is a whole number that the script is started with."""
    return any(
        isinstance(thing, Method)
        and is_options(thing.receiver)
        and any(thing.name in _whole_options(source.tree) for source in program.sources)
        for thing in value.things
    )


@lru_cache(maxsize=256)
def _whole_options(tree: ast.Module) -> frozenset[str]:
    """Give the names of the options that argparse reads as whole numbers."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            whole = any(
                k.arg == "type" and isinstance(k.value, ast.Name) and k.value.id == "int" for k in node.keywords
            )
            flags = [flag.value for flag in node.args if isinstance(flag, ast.Constant) and isinstance(flag.value, str)]
            found |= {flag.lstrip("-").replace("-", "_") for flag in flags if whole}
    return frozenset(found)


def _formatted(program: Program) -> list[Finding]:
    """Find names of devices that are put together from a setting: ``f"cuda:{args.gpu}"``, ``"cuda:" + gpu``."""
    message = "the GPU's number comes from a setting: every worker would use the same one"
    return [
        program.finding(CODE, node, message, None)
        for node in program.nodes()
        if isinstance(node, ast.expr) and _starts(node) and all(value.spread.alike for value in program.values(node))
    ]


def _starts(node: ast.expr) -> bool:
    """Whether an expression puts something behind ``cuda:``."""
    start: ast.expr | None = None
    if isinstance(node, ast.JoinedStr) and len(node.values) > 1:
        start = node.values[0]
    elif isinstance(node, ast.BinOp):
        start = node.left
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        start = node.func.value
    return isinstance(start, ast.Constant) and isinstance(start.value, str) and start.value[:5] == "cuda:"


def _settings(program: Program) -> list[Finding]:
    """Find settings that choose devices for the whole process."""
    shown = ((node, _shown(node)) for node in program.nodes())
    findings = [_showing(program, node, value) for node, value in shown if value is not None]
    for call in program.calls_of("torch.set_default_tensor_type"):
        if "cuda" in ast.unparse(call.node):
            message = "tensors are made on the GPU by default: give the device where they are made"
            findings.append(program.finding(CODE, call.node, message, None))
    return findings


def _shown(node: ast.AST) -> ast.expr | None:
    """Give the GPUs that a node lets the process see; None where it is about something else."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript):
        return node.value if _visible(node.targets[0].slice) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 2:
        return node.args[1] if node.func.attr in ("setdefault", "putenv") and _visible(node.args[0]) else None
    return None


def _showing(program: Program, node: ast.AST, value: ast.expr) -> Finding:
    """Say what becomes of the GPUs that the process may see: a line that shows one alone is taken out."""
    if not (isinstance(value, ast.Constant) and re.fullmatch(r"\s*\d+\s*", str(value.value))):
        message = "each worker takes the GPU of its local rank: choose the GPUs where the workers are started"
        return program.finding(CODE, node, message, ())
    message = "every worker would see this one GPU: where it matters which, say so where the workers are started"
    statement, source = program.statement(node), program.home(node)
    if isinstance(node, ast.Call) and not isinstance(program.parents[node], ast.Expr):
        return program.finding(CODE, node, message, None)
    if len(program.block(statement)) == 1:
        return program.finding(CODE, node, message, [replace(source, statement, "pass")])
    needed = sum(isinstance(name, ast.Name) and name.id == "os" for name in source.nodes) > 1
    imports = [] if needed else [one for one in source.tree.body if ast.unparse(one) == "import os"]
    return program.finding(CODE, node, message, [_with_space(source, one) for one in (*imports, statement)])


def _with_space(source: Source, statement: ast.stmt) -> Edit:
    """Take a statement out, and the empty lines after it."""
    edit = without(source, statement)
    last = (statement.end_lineno or statement.lineno) + 1
    while last <= len(source.lines) and source.lines[last - 1].isspace():
        last += 1
    return Edit(edit.start, source.starts[last - 1], "", source.path)


def _visible(node: ast.expr) -> bool:
    """Whether an expression is the name of the setting that hides GPUs."""
    return isinstance(node, ast.Constant) and node.value == "CUDA_VISIBLE_DEVICES"
