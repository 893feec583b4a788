"""HR101: the runtime is initialised before any device is used."""

from __future__ import annotations

import ast

from hora.convert.edits import Edit, insert_before
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.values import Function, Instance

CODE = "HR101"
TITLE = "the runtime is initialised first"
WHY = "Without it each process trains alone: N copies of one training, each on all the data, none the wiser."


def detect(program: Program) -> list[Finding]:
    """Find a script that does not import the runtime, or does not initialise it."""
    edits: list[Edit] = []
    name = program.runtime
    if program.imported is None:
        edits.append(_import(program, f"import {NAME} as {name}"))
    if not any(program.calls_of(f"{NAME}.init")):
        edits.append(_init(program, f"{name}.init()"))
    if not edits:
        return []
    return [program.finding(CODE, program.source.tree.body[0], "hora.torch is not initialised", edits)]


def entry(program: Program) -> ast.stmt:
    """Give the statement before which the runtime is initialised."""
    body = program.source.tree.body
    significant = [statement for statement in body if not _passive(statement) and not _harmless(statement)]
    main = [statement for statement in significant if _is_main(statement) or _only_call(statement)]
    if len(significant) == 1 and main:
        inner = significant[0].body if isinstance(significant[0], ast.If) else significant
        if len(inner) == 1 or all(_harmless(statement) or _only_call(statement) for statement in inner):
            function = _called_function(program, inner)
            if function is not None:
                first = function.body
                return first[1] if _docstring(first[0]) and len(first) > 1 else first[0]
        return inner[0]
    return next(statement for statement in body if not _passive(statement))


def _called_function(program: Program, block: list[ast.stmt]) -> ast.FunctionDef | None:
    """Give the one function of the file through which a block starts the training."""
    starts = {backward.place.context[0] for backward in program.backwards if backward.place.context}
    found: set[ast.FunctionDef] = set()
    for statement in block:
        for node in ast.walk(statement):
            if node in starts and isinstance(node, ast.Call):
                for call in program.calls:
                    if call.node is node:
                        for thing in call.function.things:
                            if isinstance(thing, Function) and isinstance(thing.node, ast.FunctionDef):
                                if isinstance(thing.bound, Instance):
                                    return None
                                found.add(thing.node)
    return found.pop() if len(found) == 1 else None


def _passive(statement: ast.stmt) -> bool:
    """Whether a top-level statement only defines or imports."""
    if isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return True
    if _docstring(statement):
        return True
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not any(isinstance(node, ast.Call) for node in ast.walk(statement))
    if isinstance(statement, ast.Try | ast.If):
        inner = [child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)]
        inner += [child for handler in getattr(statement, "handlers", []) for child in handler.body]
        return not _is_main(statement) and all(_passive(child) or isinstance(child, ast.Pass) for child in inner)
    return False


_HARMLESS = ("argparse.", "parser.", "torch.device", "torch.cuda.is_available", "torch.manual_seed", "warnings.")


def _harmless(statement: ast.stmt) -> bool:
    """Whether a top-level statement calls nothing that uses a device, speaks or reads data."""
    if _is_main(statement):
        return False
    calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return isinstance(statement, ast.Assign | ast.Expr) and all(
        ast.unparse(call.func).startswith(_HARMLESS) for call in calls
    )


def _docstring(statement: ast.stmt) -> bool:
    """Whether a statement is a string on its own."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_main(statement: ast.stmt) -> bool:
    """Whether a statement is ``if __name__ == "__main__":``."""
    return isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test)


def _only_call(statement: ast.stmt) -> bool:
    """Whether a statement is one call."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)


def _init(program: Program, line: str) -> Edit:
    """Put the initialisation first where the script starts."""
    return insert_before(program.source, entry(program), [line])


def _import(program: Program, line: str) -> Edit:
    """Put the import among the script's own: in order where they are in order, else before that of torch."""
    body = program.source.tree.body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    of_torch = [node for node in imports if _modules(node)[0].split(".")[0] == "torch"]
    if not of_torch:
        return insert_before(program.source, body[body.index(imports[-1])], [line])
    first = of_torch[0]
    group = [first]
    for node in reversed(imports[: imports.index(first)]):
        if group[0].lineno - (node.end_lineno or node.lineno) != 1:
            break
        group.insert(0, node)
    plain = [node for node in group if isinstance(node, ast.Import)]
    names = [_modules(node)[0] for node in plain]
    if plain and names == sorted(names):
        later = [node for node in plain if _modules(node)[0] > NAME]
        first = later[0] if later else group[group.index(plain[-1])]
    return insert_before(program.source, first, [line])


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Give the names of what an import statement imports from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return ["." * node.level + (node.module or "")]
