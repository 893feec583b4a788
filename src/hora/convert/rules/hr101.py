"""HR101: the runtime is initialised first."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from hora.convert.edits import Edit, insert_before
from hora.convert.finding import Finding
from hora.convert.imports import among, modules_of
from hora.convert.program import Program, imported
from hora.convert.runtime import NAME
from hora.convert.source import Source
from hora.convert.values import Context, Function, Named

CODE = "HR101"
TITLE = "the runtime is initialised first"
WHY = "Without it each process trains alone: N copies of one training, each on all the data, none the wiser."

_HARMLESS = (
    "argparse.",
    "parser.",
    "torch.device",
    "torch.cuda.is_available",
    "torch.manual_seed",
    "warnings.",
    "os.environ",
    "os.path.",
    "sys.path.",
    "math.",
    "matplotlib.use",
    "torch.set_default_dtype",
)
# Calls that only make a value, or set a seed, which the runtime does not touch.
_VALUES = frozenset(
    [
        *("Path", "pathlib.Path", "logging.getLogger", "re.compile", "os.getenv", "os.getcwd", "time.time"),
        *("set", "dict", "list", "tuple", "frozenset", "range", "sorted", "len", "min", "max"),
        *("int", "float", "str", "bool", "defaultdict", "collections.defaultdict", "OrderedDict"),
        *("collections.OrderedDict", "random.seed", "np.random.seed", "numpy.random.seed"),
        *("torch.tensor", "torch.arange", "torch.linspace", "torch.eye", "torch.zeros", "torch.ones"),
        *("np.array", "np.arange", "np.linspace", "numpy.array", "numpy.arange", "numpy.linspace"),
    ]
)
_PATHS = ("resolve", "absolute", "joinpath", "expanduser", "with_suffix", "with_name")


def detect(program: Program) -> list[Finding]:
    """Find a script that does not import the runtime, or does not initialise it."""
    edits: list[Edit] = []
    if imported(program.source.tree) != program.runtime:
        edits.append(imports_it(program, program.source))
    first = _begins_when_imported(program)
    if edits and first is not None:
        edits = [insert_before(program.source, first, [f"import {NAME} as {program.runtime}", ""])]
    if not any(program.calls_of(f"{NAME}.init")):
        first = first or entry(program)
        lines = [f"{program.runtime}.init()"]
        if first in program.source.tree.body:
            lines.append("")
        edits.append(insert_before(program.home(first), first, lines))
    if not edits:
        return _too_early(program)
    return [program.finding(CODE, program.source.tree.body[0], "hora.torch is not initialised", edits)]


def imports_it(program: Program, source: Source) -> Edit:
    """Import the runtime in a file."""
    return among(source, NAME, f"import {NAME} as {program.runtime}")


def _too_early(program: Program) -> list[Finding]:
    """Find uses of the runtime that come before it is initialised, as those of a module while it is imported."""
    message = "this asks the runtime before it is initialised, as it runs while its file is imported"
    return [
        program.finding(CODE, call.node, message, None)
        for call in program.all_calls
        if program.before_start(call)
        and any(isinstance(thing, Named) and thing.name.startswith(f"{NAME}.") for thing in call.function.things)
    ]


def entry(program: Program) -> ast.stmt:
    """Give the statement before which the runtime is initialised.

    It is the first of the one function through which the script starts, where there is one and nothing else is done
    outside it; else the first statement of the script that does something.
    """
    body: Sequence[ast.stmt] = program.source.tree.body[_imports_end(program) :]
    active = [statement for statement in body if not _passive(statement)]
    busy = [statement for statement in active if not _harmless(statement)]
    if len(busy) == 1 and isinstance(busy[0], ast.If) and _is_main(busy[0]):
        body = busy[0].body
        active = [statement for statement in body if not _passive(statement)] or [body[0]]
        busy = [statement for statement in active if not _harmless(statement)]
    if len(busy) == 1:
        function = _called(program, busy[0])
        if function is not None:
            inner = function.body
            return inner[1] if _docstring(inner[0]) and len(inner) > 1 else inner[0]
    if not active:
        return program.source.tree.body[-1]
    imports = [place for place, statement in enumerate(body) if isinstance(statement, ast.Import | ast.ImportFrom)]
    last = imports[-1] if imports else -1
    # A path that is set between two imports is not the start of anything.
    if all(_passive(statement) or _harmless(statement) for statement in body[: last + 1]):
        active = [statement for statement in body[last + 1 :] if not _passive(statement)] or active
    return active[0]


def _imports_end(program: Program) -> int:
    """Give the place in the script before which the runtime is not imported yet."""
    body = program.source.tree.body
    imports = [(place, node) for place, node in enumerate(body) if isinstance(node, ast.Import | ast.ImportFrom)]
    of_torch = [place + 1 for place, node in imports if modules_of(node)[0].split(".")[0] in ("torch", "hora")]
    return next(iter(of_torch), imports[-1][0] + 1 if imports else 0)


def _begins_when_imported(program: Program) -> ast.stmt | None:
    """Give the statement of the script that imports a module which, while it is imported, trains or makes a loader."""
    begins: list[tuple[Context, ast.AST]] = [(one.place.context, one.node) for one in program.backwards]
    begins += [(loader.context, loader.site) for loader in program.training_loaders]
    for context, node in begins:
        outermost = next(iter(context), node)
        if program.own(outermost):
            continue
        reached = list(program.facts.places)
        before = reached[: reached.index(program.statement(outermost))]
        return next(one for one in reversed(before) if program.own(one))
    return None


def _called(program: Program, statement: ast.stmt) -> ast.FunctionDef | None:
    """Give the function of the file that a statement does nothing but call."""
    call = statement.value if isinstance(statement, ast.Expr | ast.Assign) else None
    if not isinstance(call, ast.Call) or any(isinstance(node, ast.Call) for arg in call.args for node in ast.walk(arg)):
        return None
    functions = {thing for one in program.calls_by_node.get(call, ()) for thing in one.function.things}
    if len(functions) == 1:
        (function,) = functions
        if isinstance(function, Function) and function.bound is None and isinstance(function.node, ast.FunctionDef):
            return function.node
    return None


def _passive(statement: ast.stmt) -> bool:
    """Whether a statement only defines, imports or names a constant."""
    if isinstance(
        statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Pass
    ):
        return True
    if _docstring(statement):
        return True
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not any(isinstance(node, ast.Call) for node in ast.walk(statement))
    if isinstance(statement, ast.Try | ast.If) and not _is_main(statement):
        inner = [child for child in ast.walk(statement) if isinstance(child, ast.stmt) and child is not statement]
        return all(_passive(child) for child in inner)
    return False


def _harmless(statement: ast.stmt) -> bool:
    """Whether a statement calls nothing that uses a device, reads data or speaks."""
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr) and all(map(_only_makes, calls))


def _only_makes(call: ast.Call) -> bool:
    """Whether a call does no more than make a value or set a seed."""
    name = ast.unparse(call.func)
    if any(one.arg == "device" for one in call.keywords):
        return False
    of_a_path = isinstance(call.func, ast.Attribute) and call.func.attr in _PATHS
    return of_a_path or name in _VALUES or name.startswith(_HARMLESS)


def _docstring(statement: ast.stmt) -> bool:
    """Whether a statement is a literal on its own."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_main(statement: ast.stmt) -> bool:
    """Whether a statement is ``if __name__ == "__main__":``."""
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)
