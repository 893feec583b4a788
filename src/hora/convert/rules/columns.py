"""Streams that a script has cut by hand: one long text as columns side by side, walked along time.

``ids = text.view(batch_size, -1)`` and then ``for i in range(0, ids.size(1), length): ids[:, i : i + length]``: the
samples of each batch are the columns, which go on from batch to batch; a worker takes its own for the whole training.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hora.convert.program import Program
from hora.convert.values import Function, Named

_CARRYING = frozenset({"contiguous", "to", "cuda", "cpu", "long", "clone", "detach"})
_TURNING = frozenset({"t", "T", "transpose"})
_MAKERS = frozenset({"zeros", "ones", "randn", "rand", "new_zeros", "new_ones"})
_SKIPPED = frozenset({"torch.autograd.Variable", "torch.LongTensor", "torch.from_numpy", "torch.tensor"})


@dataclass(frozen=True)
class Columns:
    """A text in columns, as a loop walks it.

    Attributes
    ----------
    name
        The name of the whole.
    axis
        The axis that counts the columns: 0 or 1.
    region
        The statements in which a worker uses its own columns, in the order of the script.
    reads
        Where the whole is read there.
    sizes
        Where something is made there for as many columns as there are.
    """

    name: str
    axis: int
    region: list[ast.stmt]
    reads: tuple[ast.Name, ...]
    sizes: tuple[ast.expr, ...]


def columns(program: Program, loop: ast.For | ast.While, region: list[ast.stmt]) -> Columns | None:
    """Read what a loop walks along time; None where it walks nothing, or what it walks is not seen to be columns.

    Parameters
    ----------
    program
        The script.
    loop
        The loop over the steps of the training.
    region
        The statements that the loop is in, from which nothing else gets out: a function's, or an outer loop.
    """
    if not isinstance(loop, ast.For):
        return None
    walked = dict.fromkeys(_walked(program, loop))
    names = {name for name, _ in walked}
    times = {axis for _, axis in walked}
    if len(names) != 1 or len(times) != 1:
        return None
    root, made = _made(program, loop, names.pop(), region)
    laid = _laid_out(program, made, 0) if made is not None else None
    if root is None or laid is None or laid[0] == times.pop():
        return None
    axis, size = laid
    inside = [node for one in region for node in ast.walk(one)]
    reads = [node for node in inside if isinstance(node, ast.Name) and node.id == root]
    if not reads or not all(isinstance(node.ctx, ast.Load) for node in reads):
        return None
    sizes = [arg for node in inside if isinstance(node, ast.Call) and _makes(program, node) for arg in _args(node)]
    sizes = [arg for arg in sizes if ast.unparse(arg) == ast.unparse(size)]
    if sizes and isinstance(size, ast.Constant):
        # The same number may stand for anything else.
        return None
    return Columns(root, axis, region, tuple(reads), tuple(sizes))


def _walked(program: Program, loop: ast.For) -> Iterator[tuple[str, int]]:
    """Give the names that a loop cuts by its variable, with the axis that it cuts them along."""
    variables = {node.id for node in ast.walk(loop.target) if isinstance(node, ast.Name)}
    for node in ast.walk(loop):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            axis = _cut(node, variables)
            if axis is not None:
                yield node.value.id, axis
        elif isinstance(node, ast.Call):
            yield from _handed(program, node, variables)


def _handed(program: Program, node: ast.Call, variables: set[str]) -> Iterator[tuple[str, int]]:
    """Give the names that a loop hands to a function that cuts them, likewise."""
    for function in _functions(program, node):
        names = [arg.arg for arg in function.args.args]
        given = dict(zip(names, node.args, strict=False))
        places = {name for name, arg in given.items() if _reads(arg) & variables}
        for name, arg in given.items():
            if not isinstance(arg, ast.Name) or arg.id in variables:
                continue
            local = places | {
                target.id
                for one in ast.walk(function)
                if isinstance(one, ast.Assign) and _reads(one.value) & places
                for target in one.targets
                if isinstance(target, ast.Name)
            }
            for inner in ast.walk(function):
                if isinstance(inner, ast.Subscript) and isinstance(inner.value, ast.Name) and inner.value.id == name:
                    axis = _cut(inner, local)
                    if axis is not None:
                        yield arg.id, axis


def _cut(node: ast.Subscript, variables: set[str]) -> int | None:
    """Give the axis along which a subscript takes a slice that begins at one of some variables."""
    indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    for axis, index in enumerate(indices[:2]):
        if isinstance(index, ast.Slice) and index.lower is not None and _reads(index.lower) & variables:
            return axis
    return None


def _reads(node: ast.AST) -> set[str]:
    """Give the names in an expression."""
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _functions(program: Program, node: ast.Call) -> list[ast.FunctionDef]:
    """Give the functions of the script that a call leads to."""
    things = [thing for value in program.values(node.func) for thing in value.things]
    nodes = [thing.node for thing in things if isinstance(thing, Function)]
    return list(dict.fromkeys(one for one in nodes if isinstance(one, ast.FunctionDef)))


def _made(
    program: Program, loop: ast.For, name: str, region: list[ast.stmt]
) -> tuple[str, ast.expr] | tuple[None, None]:
    """Give the name outside of a region that a name in it stands for, and what that one was given, once."""
    inside = {node for one in region for node in ast.walk(one)}
    for _ in range(8):
        within = [one for one in _given(program, loop, name) if one in inside]
        if not within:
            break
        if len(within) != 1 or not isinstance(within[0].value, ast.Name):
            return None, None
        name = within[0].value.id
    found = list(_given(program, loop, name))
    function = next((one for one in program.ancestors(loop) if isinstance(one, ast.FunctionDef)), None)
    if len(found) != 1 or (function is not None and name in {arg.arg for arg in function.args.args}):
        return None, None
    return name, found[0].value


def _given(program: Program, loop: ast.For, name: str) -> Iterator[ast.Assign]:
    """Give the assignments to a name in the file of a loop; none where it is bound in any other way."""
    for node in ast.walk(program.home(loop).tree):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            statement = program.statement(node)
            if isinstance(statement, ast.Assign) and statement.targets == [node]:
                yield statement


def _laid_out(program: Program, node: ast.expr, depth: int) -> tuple[int, ast.expr] | None:
    """Give the axis of a matrix that is as long as the first size of its layout, and that size as the caller wrote it.

    None where it is not seen that an expression is a matrix made by ``view(size, -1)``.
    """
    if depth > 4:
        return None
    node, turned = _peeled(node)
    laid = _made_in_rows(program, node, depth) if isinstance(node, ast.Call) else None
    return _turned(laid) if turned else laid


def _made_in_rows(program: Program, node: ast.Call, depth: int) -> tuple[int, ast.expr] | None:
    """Give the layout of what a call makes: a view, or what it is handed or returns."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("view", "reshape"):
        if len(node.args) == 2 and ast.unparse(node.args[1]) == "-1":
            return 0, node.args[0]
    functions = _functions(program, node)
    if len(functions) != 1:
        named = {thing for value in program.values(node.func) for thing in value.things}
        carried = named and all(isinstance(one, Named) and one.name in _SKIPPED for one in named)
        return _laid_out(program, node.args[0], depth) if carried and len(node.args) == 1 else None
    return _returned(program, node, functions[0], depth)


def _turned(laid: tuple[int, ast.expr] | None) -> tuple[int, ast.expr] | None:
    """Give a layout with its two axes changed."""
    return None if laid is None else (1 - laid[0], laid[1])


def _returned(program: Program, node: ast.Call, function: ast.FunctionDef, depth: int) -> tuple[int, ast.expr] | None:
    """Give the layout of what a function returns, with the size as its caller gives it."""
    ends = [one.value for one in ast.walk(function) if isinstance(one, ast.Return)]
    found = {_key(laid): laid for end in ends for laid in (_followed(program, function, end, depth),)}
    laid = found.popitem()[1] if len(found) == 1 else None
    if laid is None:
        return None
    names = [arg.arg for arg in function.args.args]
    names = names[1:] if names[:1] == ["self"] else names
    given = dict(zip(names, node.args, strict=False)) | {one.arg: one.value for one in node.keywords if one.arg}
    size = given.get(laid[1].id) if isinstance(laid[1], ast.Name) else None
    return None if size is None else (laid[0], size)


def _key(laid: tuple[int, ast.expr] | None) -> tuple[int, str] | None:
    """Give a layout in a form that can be compared."""
    return None if laid is None else (laid[0], ast.unparse(laid[1]))


def _followed(
    program: Program, function: ast.FunctionDef, end: ast.expr | None, depth: int
) -> tuple[int, ast.expr] | None:
    """Give the layout of an expression at the end of a function, of whose statements each comes after the other."""
    if end is None:
        return None
    root, turned = _peeled(end)
    if not isinstance(root, ast.Name):
        return _laid_out(program, end, depth + 1)
    stores = [
        one
        for one in ast.walk(function)
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and one.targets[0].id == root.id
        and len(one.targets) == 1
        and one.lineno < end.lineno
    ]
    laid: tuple[int, ast.expr] | None = None
    for store in sorted(stores, key=lambda one: one.lineno):
        now = _laid_out(program, store.value, depth + 1)
        if now is not None:
            laid = now
        elif laid is not None:
            before, turns = _peeled(store.value)
            same = isinstance(before, ast.Name) and before.id == root.id
            laid = (_turned(laid) if turns else laid) if same else None
    return _turned(laid) if turned else laid


def _peeled(node: ast.expr) -> tuple[ast.expr, bool]:
    """Give what an expression moves and turns, and whether its two axes have changed places in the end."""
    turned = False
    while True:
        if isinstance(node, ast.Attribute) and node.attr == "T":
            turned, node = not turned, node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            turns = node.func.attr in _TURNING and {ast.unparse(arg) for arg in node.args} in (set(), {"0", "1"})
            if not turns and node.func.attr not in _CARRYING:
                return node, turned
            turned, node = turned != turns, node.func.value
        else:
            return node, turned


def _makes(program: Program, node: ast.Call) -> bool:
    """Whether a call may make something for each column: a tensor, or what a function of the script makes."""
    last = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return last in _MAKERS or bool(_functions(program, node))


def _args(node: ast.Call) -> list[ast.expr]:
    """Give the arguments of a call, and the sizes in a tuple of them."""
    flat = [arg.elts if isinstance(arg, ast.Tuple | ast.List) else [arg] for arg in node.args]
    return [*(one for some in flat for one in some), *(keyword.value for keyword in node.keywords)]
