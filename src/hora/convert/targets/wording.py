"""Say the functions of ``hora.torch`` in a target's words, each where it stands, and import what these need."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import Edit, replace, without
from hora.convert.finding import Finding
from hora.convert.imports import bound
from hora.convert.products import without_factor
from hora.convert.program import Program, imported, names_in, runtime_name
from hora.convert.source import Source
from hora.convert.targets.head import PARALLEL, defined, ended, placed, with_os
from hora.convert.targets.sampling import unwrapped
from hora.convert.targets.words import Needs, Words
from hora.convert.values import Loader

_SAMPLER = "from torch.utils.data.distributed import DistributedSampler"


def detect(program: Program, words: Words, needs: Needs) -> list[Finding]:
    """Find every use of the runtime, and say it in a target's words."""
    findings = []
    for source in program.sources:
        if imported(source.tree) is not None or source.path in needs.samplers | needs.wrappers:
            file = _File(program, source, words, needs)
            # What was done to a line stays the reason for it, in whatever words.
            findings.append(program.finding("HR101", source.tree, "", file.said()))
            findings.append(program.finding("HR101", source.tree, f"it needs {words.module}", file.needed()))
    return findings


class _File:
    """One file of the script."""

    def __init__(self, program: Program, source: Source, words: Words, needs: Needs) -> None:
        self.program, self.source, self.words, self.needs = program, source, words, needs
        self.hora = imported(source.tree)
        self.name = words.name_in(program)
        self.functions: dict[str, str] = {}
        self.os = False
        for what in needs.functions[source.path]:
            self._function(what)

    def said(self) -> Iterator[Edit]:
        """Say each use of the runtime in the words of the target."""
        yield from self._without_weights()
        for node in self.source.nodes:
            if isinstance(node, ast.JoinedStr):
                yield from self._string(node)
            elif isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, ast.Attribute) and node.attr == "first" and self._of_loader(node.value):
                yield from self._first(node)

    def needed(self) -> Iterator[Edit]:
        """Import and define what the words need, begin and end."""
        for node in self.source.nodes:
            if isinstance(node, ast.Call) and "init" in self.words.said and self._is(node, "init"):
                yield replace(self.source, node, self.words.said["init"].format(name=self.name))
        yield from self._imports()
        if self.functions:
            yield defined(self.source, self.words, self.name, self.functions)
        if self.words.ending and self.source is self.program.source:
            yield ended(self.source, self.words.ending.format(name=self.name))

    def _without_weights(self) -> Iterator[Edit]:
        """Take the weights out: DistributedSampler gives all workers equally many samples."""
        for node in self.source.nodes:
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and self._is_weight(node.right):
                yield from without_factor(self.source, node)

    def _is_weight(self, node: ast.expr) -> bool:
        """Whether an expression is the weight of a loader's batch, or its truth."""
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "bool" and len(node.args) == 1:
            node = node.args[0]
        return isinstance(node, ast.Attribute) and node.attr == "weight" and self._of_loader(node.value)

    def _of_loader(self, node: ast.expr) -> bool:
        """Whether an expression is a loader."""
        values = self.program.values(node)
        return bool(values) and all(value.only(Loader) for value in values)

    def _first(self, node: ast.Attribute) -> Iterator[Edit]:
        """Say where a worker's samples begin: DistributedSampler gives all workers equally many."""
        rank, size = (self.words.said[what].format(name=self.name) for what in ("rank", "size"))
        outer = next(one for one in self.program.ancestors(node) if isinstance(one, ast.Slice | ast.stmt))
        if isinstance(outer, ast.Slice):
            assert isinstance(outer.upper, ast.BinOp)
            yield replace(self.source, node, f"{self.source.segment(outer.upper.right)} * {rank}")
        else:
            # It has a name, behind that of the number of samples in the batch.
            block = self.program.block(outer)
            samples = block[block.index(outer) - 1]
            assert isinstance(samples, ast.Assign)
            yield replace(self.source, node, f"{ast.unparse(samples.targets[0])} * {rank} // {size}")

    def _function(self, what: str) -> str:
        """Give the name of a function that the script gets."""
        plain = self.words.said[what]
        if what == "mean":
            self._function("sum")
        self.functions[plain] = self.program.fresh(plain)
        return self.functions[plain]

    def _call(self, node: ast.Call) -> Iterator[Edit]:
        """Say a call of the runtime."""
        if not isinstance(node.func, ast.Attribute):
            return
        if node.func.attr == "total" and self._of_loader(node.func.value):
            yield replace(self.source, node.func, self._function("sum"))
            return
        what = node.func.attr
        if not self._is(node, what):
            return
        if what == "allreduce":
            total = next((one for one in node.keywords if one.arg == "op"), None)
            yield replace(self.source, node.func, self._function("mean" if total is None else "sum"))
            if total is not None:
                yield self._without_option(node, total)
        elif what in ("broadcast", "broadcast_object") and what in self.words.said:
            yield replace(self.source, node.func, self._function(what))
            yield from (self._without_option(node, one) for one in node.keywords if one.arg == "root_rank")
        elif what in self.words.said and what != "init" and not self._in_string(node):
            said = self.words.said[what].format(name=self.name)
            self.os |= "os.environ" in said
            yield replace(self.source, node, said)
        elif self.words.target == "ddp" and what in ("DistributedOptimizer", "broadcast_optimizer_state"):
            statement = self.program.statement(node)
            told = isinstance(statement, ast.Assign) and self.source.segment(statement.targets[0])
            if isinstance(statement, ast.Expr) or told == self.source.segment(node.args[0]):
                yield without(self.source, statement)
            else:
                yield from unwrapped(self.program, node)

    def _is(self, node: ast.Call, what: str) -> bool:
        """Whether a call is of a function of the runtime."""
        return ast.unparse(node.func) == f"{self.hora}.{what}"

    def _without_option(self, node: ast.Call, option: ast.keyword) -> Edit:
        """Take the last option of a call out."""
        before = node.args[-1] if node.keywords[0] is option else node.keywords[node.keywords.index(option) - 1].value
        return Edit(self.source.span(before)[1], self.source.span(option)[1], "", self.source.path)

    def _in_string(self, node: ast.AST) -> bool:
        """Whether a node stands in a formatted string."""
        return any(isinstance(one, ast.JoinedStr) for one in self.program.ancestors(node))

    def _string(self, node: ast.JoinedStr) -> Iterator[Edit]:
        """Say what a formatted string asks the runtime."""
        if self._in_string(node):
            return
        text = said = self.source.segment(node)
        for what in ("rank", "size", "local_rank"):
            word = self.words.in_string(what, self.name, text)
            said = said.replace(f"{self.hora}.{what}()", word)
        if said != text:
            self.os |= "os.environ" in said
            yield replace(self.source, node, said)

    def _imports(self) -> Iterator[Edit]:
        """Import what the words need instead of the runtime."""
        tree, words = self.source.tree, self.words
        line = f"import {words.module} as {self.name}"
        imports = (one for one in ast.walk(tree) if isinstance(one, ast.Import | ast.ImportFrom))
        statement = next((one for one in imports if runtime_name(one) is not None), None)
        if statement is None:
            yield placed(self.source, words.module, line, ast.Import)
        elif words.target == "horovod" or statement not in tree.body or len(statement.names) > 1:
            yield replace(self.source, statement, line)
        else:
            yield without(self.source, statement)
            yield placed(self.source, words.module, line, ast.Import)
        names = names_in(tree)
        if self.source.path in self.needs.wrappers and "DistributedDataParallel" not in names:
            yield placed(self.source, "torch.nn.parallel", PARALLEL, ast.ImportFrom)
        if "DistributedSampler" not in names and self.source.path in self.needs.samplers:
            yield placed(self.source, "torch.utils.data.distributed", _SAMPLER, ast.ImportFrom)
        if self.os and bound(tree, "os") is None:
            yield with_os(self.source)
        if self.functions and bound(tree, "torch") != "torch":
            yield placed(self.source, "torch", "import torch", ast.Import)
