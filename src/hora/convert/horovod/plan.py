"""One file on its way from the runtime to torch's own words: where it uses the runtime, and what is to be done."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from hora.convert.blocks import block_of
from hora.convert.distributed.script import Script
from hora.convert.edits import Edit, insert_before, lines, replace, without
from hora.convert.finding import Finding
from hora.convert.horovod.words import WORDS
from hora.convert.imports import bound, full_names, spelled
from hora.convert.program import Program, names_in
from hora.convert.source import Source
from hora.convert.targets.head import PARALLEL, defined, ended, placed, with_os

_HOOKS = "torch.distributed.algorithms.ddp_comm_hooks"


@dataclass
class Plan:
    """What is to be done in one file.

    Attributes
    ----------
    program
        The script, on Hora's runtime.
    source
        The file.
    findings
        What was found so far, with its edits.
    removed
        The statements that go, each with the lines that come in its place.
    done
        The nodes of which everything is said.
    functions
        The functions that the file gets, by their names among the words, each with the name that it has in the file.
    wraps, hooks, os
        Whether it wraps a network, names torch's hooks, or reads the environment.
    """

    program: Program
    source: Source
    findings: list[Finding] = field(default_factory=list)
    removed: dict[ast.stmt, list[str]] = field(default_factory=dict)
    done: set[ast.AST] = field(default_factory=set)
    functions: dict[str, str] = field(default_factory=dict)
    wraps: bool = False
    hooks: bool = False
    os: bool = False

    @cached_property
    def name(self) -> str:
        """The file's name for ``torch.distributed``."""
        return bound(self.source.tree, WORDS.module) or WORDS.name_in(self.program)

    @cached_property
    def uses(self) -> dict[ast.expr, str]:
        """Every expression that names something of the runtime, with what it names: ``rank``, ``Compression.fp16``."""
        named = {name: full for name, full in full_names(self.source.nodes).items() if full.split(".")[0] == "hora"}
        found: dict[ast.expr, str] = {}
        for node in self.source.nodes:
            if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
                continue
            if isinstance(self.source.parents[node], ast.Attribute):
                continue
            full = spelled(node, named)
            if full is not None:
                found[node] = full.removeprefix("hora.torch.")
        return found

    @cached_property
    def script(self) -> Script:
        """The file as text, where values come from."""
        return Script(self.source)

    def calls_of(self, *names: str) -> list[ast.Call]:
        """Give the calls of some functions of the runtime."""
        parents = self.source.parents
        found = [(parents[node], node) for node, name in self.uses.items() if name in names]
        return [call for call, node in found if isinstance(call, ast.Call) and call.func is node]

    def function(self, what: str) -> str:
        """Give the name of a function that the file gets."""
        if what not in self.functions:
            self.functions[what] = self.program.fresh(what)
        return self.functions[what]

    def refuse(self, code: str, node: ast.AST, message: str) -> None:
        """Note what stands against it."""
        self.findings.append(self.program.finding(code, node, message, None))
        self.done |= set(ast.walk(node))

    def edit(self, code: str, node: ast.AST, message: str, *edits: Edit) -> None:
        """Note what is to be done at a node."""
        self.findings.append(self.program.finding(code, node, message, edits))

    def remove(self, statement: ast.stmt, lines: list[str] | None = None) -> None:
        """Note that a statement goes, with all that is in it, and which lines come in its place."""
        self.removed[statement] = lines or []
        self.done |= set(ast.walk(statement))

    def finish(self) -> list[Finding]:
        """Give all that is to be done: besides what was noted, statements that go, imports and functions."""
        edits = [*(edit for statement in self.removed for edit in self._gone(statement)), *self._imports()]
        if self.functions:
            edits.append(defined(self.source, WORDS, self.name, self.functions))
        if self.source is self.program.source and not self.calls_of("shutdown") and self.calls_of("init"):
            edits.append(ended(self.source, WORDS.ending.format(name=self.name)))
        for call in self.calls_of("shutdown"):
            statement = self.program.statement(call)
            if isinstance(statement, ast.Expr) and statement.value is call:
                # A group that is taken apart right after its last operation may abort the process (torch 2.13, Gloo).
                edits.append(insert_before(self.source, statement, [f"{self.name}.barrier()"]))
        if edits:
            self.edit("HR101", self.source.tree, f"it needs {WORDS.module}", *edits)
        return self.findings

    def _gone(self, statement: ast.stmt) -> Iterator[Edit]:
        """Take a statement out, with the comments over it that speak of Horovod; a block keeps a statement."""
        own, others = without(self.source, statement), self.removed[statement]
        block = block_of(self.source.parents[statement], statement)
        if all(one in self.removed and not self.removed[one] for one in block) and statement is block[0]:
            # What only such statements hung on goes with them.
            owner = self.source.parents[statement]
            empty = isinstance(owner, ast.If) and not owner.orelse and isinstance(owner.test, ast.Name | ast.Attribute)
            if empty and isinstance(owner, ast.If) and len(block) == 1:
                yield without(self.source, owner)
            else:
                yield replace(self.source, statement, "pass")
            return
        texts = self.source.lines
        first, last = _lines(statement)
        margin = self.source.margin(statement)
        above = first
        while above > 1 and texts[above - 2].startswith(f"{margin}#"):
            above -= 1
        if "horovod" in "".join(texts[above - 1 : first - 1]).lower():
            first = above
        before, after = (texts[at] if 0 <= at < len(texts) else "" for at in (first - 2, last))
        if not before.strip() and after and not after.strip() and not others:
            last += 1
        gone = lines(self.source, first, last) if (first, last) != _lines(statement) else own
        text = "".join(f"{margin}{line}{self.source.newline}" for line in others)
        yield Edit(gone.start, gone.end, text, self.source.path)

    def _imports(self) -> Iterator[Edit]:
        """Import what the words need instead of the runtime."""
        line = f"import {WORDS.module} as {self.name}"
        names = names_in(self.source.tree)
        yield from self._without_runtime()
        if self.functions and bound(self.source.tree, "torch") != "torch":
            yield placed(self.source, "torch", "import torch", ast.Import)
        if self.uses and bound(self.source.tree, WORDS.module) is None:
            yield placed(self.source, WORDS.module, line, ast.Import)
        if self.hooks:
            yield placed(self.source, _HOOKS, f"from {_HOOKS} import default_hooks", ast.ImportFrom)
        if self.wraps and "DistributedDataParallel" not in names:
            yield placed(self.source, "torch.nn.parallel", PARALLEL, ast.ImportFrom)
        if self.os and bound(self.source.tree, "os") is None:
            yield with_os(self.source)

    def _without_runtime(self) -> Iterator[Edit]:
        """Take the imports of the runtime out."""
        for node in self.source.nodes:
            if isinstance(node, ast.Import):
                ours = [one for one in node.names if one.name.split(".")[0] == "hora"]
            elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "hora":
                ours = node.names
            else:
                continue
            if ours and len(ours) == len(node.names):
                if node not in self.removed:
                    yield from self._gone_import(node)
            elif ours:
                kept = ", ".join(ast.unparse(one) for one in node.names if one not in ours)
                yield replace(self.source, node, f"import {kept}")

    def _gone_import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Edit]:
        """Take an import out; a block that has nothing else keeps a statement."""
        own = without(self.source, node)
        alone = len(block_of(self.source.parents[node], node)) == 1
        yield replace(self.source, node, "pass") if alone else own


def _lines(statement: ast.stmt) -> tuple[int, int]:
    """Give the numbers of a statement's first and last line."""
    return statement.lineno, statement.end_lineno or statement.lineno
