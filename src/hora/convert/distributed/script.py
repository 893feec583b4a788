"""A script that is distributed already, as its rules see it: names in full, and where values come from.

Nothing is followed here: such a script is read as text, and a rule speaks only where the text itself leaves no doubt.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from hora.convert.blocks import block_of
from hora.convert.finding import Finding
from hora.convert.imports import full_names
from hora.convert.source import Source

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = Function | ast.Lambda | ast.Module | ast.ClassDef


@dataclass(frozen=True, eq=False)
class Script:
    """A script for many workers.

    Attributes
    ----------
    source
        The script.
    """

    source: Source

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the script."""
        return tuple(ast.walk(self.source.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The node that each node is a part of."""
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Give the nodes that a node is a part of, from the inside out."""
        while (outer := self.parents.get(node)) is not None:
            yield outer
            node = outer

    def scope(self, node: ast.AST) -> Scope:
        """Give the function, class or module that a node stands in."""
        found = (one for one in self.ancestors(node) if isinstance(one, Scope))
        return next(found, self.source.tree)

    def function(self, node: ast.AST) -> Function | None:
        """Give the function that a node stands in."""
        return next((one for one in self.ancestors(node) if isinstance(one, Function)), None)

    # Names

    @cached_property
    def imported(self) -> dict[str, str]:
        """The full name of each name that is imported somewhere."""
        return full_names(self.nodes)

    def name(self, node: ast.AST) -> str:
        """Give the full name of a function or module; ``dist.`` and ``hvd.`` stand for the two runtimes."""
        if isinstance(node, ast.Name):
            return _short(self.imported.get(node.id, node.id))
        if isinstance(node, ast.Attribute):
            owner = self.name(node.value)
            return _short(f"{owner}.{node.attr}") if owner else f"?.{node.attr}"
        return ""

    @cached_property
    def calls(self) -> tuple[tuple[ast.Call, str], ...]:
        """All calls and the names of what they call, in the order of the text."""
        found = [(node, self.name(node.func)) for node in self.nodes if isinstance(node, ast.Call)]
        return tuple(sorted(found, key=lambda one: (one[0].lineno, one[0].col_offset)))

    def calls_of(self, *names: str) -> list[ast.Call]:
        """Give the calls of functions by their full names; ``.name`` stands for any that ends so."""
        if names not in self._called:
            ends = tuple(name for name in names if name.startswith("."))
            self._called[names] = [node for node, name in self.calls if name in names or (ends and name.endswith(ends))]
        return self._called[names]

    @cached_property
    def _called(self) -> dict[tuple[str, ...], list[ast.Call]]:
        """What was asked for already."""
        return {}

    def uses(self, library: str) -> bool:
        """Whether something is imported from a library."""
        return any(name == library or name.startswith(f"{library}.") for name in self.imported.values())

    @cached_property
    def horovod(self) -> bool:
        """Whether it runs on Horovod's names: its own library, or Hora's."""
        return any(name.startswith("hvd.") for _, name in self.calls)

    @cached_property
    def starts(self) -> tuple[ast.Call, ...]:
        """The calls that start the runtime: where there are none, another file decides what this one runs under."""
        return tuple(self.calls_of("dist.init_process_group", "hvd.init", "accelerate.Accelerator"))

    # Functions

    @cached_property
    def functions(self) -> dict[str, list[Function]]:
        """The functions and methods of the script by name."""
        found: dict[str, list[Function]] = {}
        for node in self.nodes:
            if isinstance(node, Function):
                found.setdefault(node.name, []).append(node)
        return found

    @cached_property
    def _references(self) -> dict[str, list[ast.expr]]:
        """Where each name of a function is read."""
        found: dict[str, list[ast.expr]] = {}
        for node in self.nodes:
            if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.setdefault(node.id if isinstance(node, ast.Name) else node.attr, []).append(node)
        return found

    def references(self, function: Function) -> list[ast.expr]:
        """Give where a function is named, outside of itself."""
        name = function.name
        if name == "__init__":
            owner = self.parents[function]
            name = owner.name if isinstance(owner, ast.ClassDef) else name
        found = self._references.get(name, [])
        return [one for one in found if function not in self.ancestors(one)]

    def local(self, call: ast.Call) -> Function | None:
        """Give the function of the script, or the method of the same object, that a call runs."""
        function = call.func
        if isinstance(function, ast.Name):
            found = [one for one in self.functions.get(function.id, []) if not self._method(one)]
            return found[0] if len(found) == 1 and function.id not in self.imported else None
        if not isinstance(function, ast.Attribute) or not isinstance(function.value, ast.Name):
            return None
        if function.value.id not in ("self", "cls"):
            return None
        found = [one for one in self.functions.get(function.attr, []) if self._method(one)]
        return found[0] if len(found) == 1 and self._class(found[0]) is self._class(call) else None

    def _method(self, function: Function) -> bool:
        """Whether a function is a method."""
        return isinstance(self.parents[function], ast.ClassDef)

    def _class(self, node: ast.AST) -> ast.ClassDef | None:
        """Give the class that a node stands in."""
        return next((one for one in self.ancestors(node) if isinstance(one, ast.ClassDef)), None)

    # Values

    @cached_property
    def _assigned(self) -> dict[tuple[Scope | None, str], list[ast.expr | None]]:
        """What is assigned to each name of a scope, and to each attribute of the script; None for what is unknown."""
        found: dict[tuple[Scope | None, str], list[ast.expr | None]] = {}

        def bind(target: ast.expr, value: ast.expr | None) -> None:
            if isinstance(target, ast.Tuple | ast.List):
                parts = value.elts if isinstance(value, ast.Tuple | ast.List) else ()
                for place, one in enumerate(target.elts):
                    bind(one, parts[place] if len(parts) == len(target.elts) else None)
            elif isinstance(target, ast.Name):
                found.setdefault((self.scope(target), target.id), []).append(value)
            elif isinstance(target, ast.Attribute):
                found.setdefault((None, ast.unparse(target)), []).append(value)

        for node in self.nodes:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    bind(target, node.value)
            elif isinstance(node, ast.NamedExpr | ast.AugAssign | ast.AnnAssign):
                if node.value is not None:
                    bind(node.target, node.value)
            elif isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
                bind(node.target, None)
            elif isinstance(node, ast.withitem) and node.optional_vars is not None:
                bind(node.optional_vars, None)
        return found

    def origins(self, node: ast.expr) -> list[ast.expr]:
        """Give the expressions that a value may come from: what was assigned, given as argument or returned."""
        if node not in self._origins:
            self._origins[node] = list(dict.fromkeys(self._sources(node, set())))
        return self._origins[node]

    @cached_property
    def _origins(self) -> dict[ast.expr, list[ast.expr]]:
        """What was asked for already."""
        return {}

    def _sources(self, node: ast.expr, seen: set[object]) -> Iterator[ast.expr]:
        """Give the expressions that a value may come from, each name looked up once."""
        if isinstance(node, ast.IfExp | ast.BoolOp | ast.NamedExpr):
            parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else getattr(node, "values", [])
            for part in parts or [node.value]:  # type: ignore[union-attr]
                yield from self._sources(part, seen)
            return
        values: list[ast.expr | None] = []
        key: object = node
        if isinstance(node, ast.Attribute):
            key = ast.unparse(node)
            values = self._assigned.get((None, key), [])
        elif isinstance(node, ast.Name):
            key, values = self._of_name(node)
        elif isinstance(node, ast.Call) and (function := self.local(node)) is not None:
            key = function
            values = [one.value for one in ast.walk(function) if isinstance(one, ast.Return) and one.value is not None]
        if not values:
            yield node
        elif key not in seen:
            seen.add(key)
            for value in values:
                if value is None:
                    yield node
                else:
                    yield from self._sources(value, seen)

    def _of_name(self, node: ast.Name) -> tuple[object, list[ast.expr | None]]:
        """Give what a name stands for in the nearest scope that binds it, and which scope that is."""
        scopes = [one for one in self.ancestors(node) if isinstance(one, Scope) and not isinstance(one, ast.ClassDef)]
        for scope in scopes or [self.source.tree]:
            values = list(self._assigned.get((scope, node.id), ()))
            given = self._given(scope, node.id) if isinstance(scope, Function) else []
            if values or given:
                return (scope, node.id), values + given
        return node, []

    def _given(self, function: Function, name: str) -> list[ast.expr | None]:
        """Give what a function's parameter is given by the calls in this script."""
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        every = [*names, *(one.arg for one in function.args.kwonlyargs)]
        if name not in every:
            return []
        method = isinstance(self.parents.get(function), ast.ClassDef)
        found: list[ast.expr | None] = []
        for reference in self.references(function):
            call = self.parents.get(reference)
            if not (isinstance(call, ast.Call) and call.func is reference):
                found.append(None)
                continue
            place = names.index(name) - method if name in names else len(call.args)
            keywords = {one.arg: one.value for one in call.keywords}
            if any(isinstance(one, ast.Starred) for one in call.args) or None in keywords:
                found.append(None)
            elif 0 <= place < len(call.args):
                found.append(call.args[place])
            else:
                found.append(keywords.get(name))
        return found or [None]

    def made_by(self, node: ast.expr, *names: str) -> list[ast.Call]:
        """Give the calls of functions, by their full names, that a value comes from."""
        calls = set(self.calls_of(*names))
        return [one for one in self.origins(node) if isinstance(one, ast.Call) and one in calls]

    # Places

    def statement(self, node: ast.AST) -> ast.stmt:
        """Give the statement that a node is in."""
        while not isinstance(node, ast.stmt):
            node = self.parents[node]
        return node

    def block(self, statement: ast.stmt) -> list[ast.stmt]:
        """Give the statements among which a statement stands."""
        return block_of(self.parents[statement], statement)

    @cached_property
    def clips(self) -> list[ast.Call]:
        """The calls that clip gradients."""
        return self.calls_of(".clip_grad_norm_", ".clip_grad_norm", ".clip_grad_value_", ".clip_grad_value")

    @cached_property
    def backwards(self) -> tuple[ast.Call, ...]:
        """The backward passes."""
        return tuple(node for node, name in self.calls if name.endswith((".backward", "?.backward")))

    def trains(self, node: ast.AST) -> bool:
        """Whether a backward pass is in a node, or in a function of the script that it calls."""
        return any(one in self.backwards for one in self.within(node))

    def within(self, node: ast.AST) -> list[ast.AST]:
        """Give the nodes in a node, and in the functions of the script that it calls."""
        if node not in self._within:
            found: list[ast.AST] = []
            waiting, seen = [node], {node}
            while waiting:
                for one in ast.walk(waiting.pop(0)):
                    found.append(one)
                    function = self.local(one) if isinstance(one, ast.Call) else None
                    if function is not None and function not in seen:
                        seen.add(function)
                        waiting.append(function)
            self._within[node] = found
        return self._within[node]

    @cached_property
    def _within(self) -> dict[ast.AST, list[ast.AST]]:
        """What was asked for already."""
        return {}

    def loops(self, node: ast.AST) -> list[ast.For | ast.While]:
        """Give the loops of its function that a node is in, from the inside out."""
        found: list[ast.For | ast.While] = []
        for one in self.ancestors(node):
            if isinstance(one, Scope):
                break
            if isinstance(one, ast.For | ast.While):
                found.append(one)
        return found

    def draws(self, loader: ast.Call) -> list[ast.For]:
        """Give the loops that go through a loader."""
        return [
            loop
            for loop in self.nodes
            if isinstance(loop, ast.For)
            and any(
                loader in self.origins(one) for one in ast.walk(loop.iter) if isinstance(one, ast.Name | ast.Attribute)
            )
        ]

    def finding(self, code: str, node: ast.expr | ast.stmt, message: str, *, note: bool = False) -> Finding:
        """Make a finding at a node."""
        column = self.source.offset(node.lineno, node.col_offset) - self.source.starts[node.lineno - 1]
        return Finding(code, str(self.source.path), node.lineno, column + 1, message, () if note else None)


def keyword(call: ast.Call, name: str, place: int | None = None) -> ast.expr | None:
    """Give what a call gives for a parameter, by its name or its place."""
    found = next((one.value for one in call.keywords if one.arg == name), None)
    if found is None and place is not None and place < len(call.args):
        return call.args[place]
    return found


def is_constant(node: ast.expr | None, value: object) -> bool:
    """Whether an expression is a constant."""
    return isinstance(node, ast.Constant) and node.value is value


def _short(name: str) -> str:
    """Give a name with the two runtimes' modules by their usual short names."""
    for module in ("horovod.torch", "hora.torch"):
        if name == module or name.startswith(f"{module}."):
            return "hvd" + name.removeprefix(module)
    if name == "torch.distributed" or name.startswith("torch.distributed."):
        return "dist" + name.removeprefix("torch.distributed")
    return name
