"""Means over entries whose number differs from worker to worker: a slice's sum over what all workers count together.

``loader.total(count)`` gives the global count; what is then left is a sum over the batch, which HR303 scales.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.counting import adder
from hora.convert.edits import Edit, insert_after, insert_before, replace, surround
from hora.convert.guards import certain
from hora.convert.program import Program
from hora.convert.spread import Kind
from hora.convert.values import Class, Criterion, Function, Loader, Value, plain

_BY_CLASS = frozenset({"cross_entropy", "nll_loss"})
_BY_ENTRY = _BY_CLASS | {
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
}  # fmt: skip
_OF_EQUAL_SHAPES = frozenset({"binary_cross_entropy", "binary_cross_entropy_with_logits"})
"""Losses that raise where their input and their target differ in shape: they have as many entries as their input."""
_OPTIONS = ("weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing")
_LAYOUT = frozenset({"view", "reshape", "flatten", "contiguous", "squeeze", "unsqueeze", "permute", "transpose"})
_REPEATABLE = (
    ast.Name, ast.Attribute, ast.Subscript, ast.Slice, ast.Constant, ast.Compare, ast.UnaryOp, ast.BinOp, ast.Tuple,
    ast.expr_context, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip


def mended(program: Program, node: ast.AST) -> list[Edit] | None:
    """Divide by the global count where a mean divides by a worker's own; None where that cannot be done exactly.

    Parameters
    ----------
    program
        The script.
    node
        The operation that divides: a loss of the library, a mean, or a quotient.
    """
    if isinstance(node, ast.Call):
        site = criterion_of(program, node)
        if site is not None:
            return _of_criterion(program, site)
        return _of_mean(program, node)
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
        return _of_quotient(program, node, node.right if isinstance(node, ast.BinOp) else node.value)
    return None


def criterion_of(program: Program, node: ast.AST) -> ast.Call | None:
    """Give the call that makes the loss of the library which a call applies; the call itself for a function."""
    if not isinstance(node, ast.Call):
        return None
    things = [thing for value in program.values(node.func) for thing in value.things]
    sites = {thing.site for thing in things if isinstance(thing, Criterion)}
    if len(sites) == 1:
        return sites.pop()
    names = {getattr(thing, "name", "") for thing in things}
    return node if names and all(name.startswith("torch.nn.functional.") for name in names) else None


def _of_quotient(program: Program, node: ast.BinOp | ast.AugAssign, divisor: ast.expr) -> list[Edit] | None:
    """Divide by the global count in a quotient that is written out."""
    add = adder(program, node)
    if add is None:
        return None
    edits: list[Edit] = []
    for count in _counts(program, divisor, frozenset()):
        edits += surround(program.home(count), count, f"{add}(", ")")
    return edits or None


def _counts(program: Program, node: ast.AST, seen: frozenset[ast.AST]) -> Iterator[ast.expr]:
    """Give the outermost expressions that add up over the slice, in an expression or in what a name in it was given."""
    values = program.values(node)
    kinds = {value.spread.kind for value in values}
    if isinstance(node, ast.expr) and kinds and kinds <= {Kind.COUNT, Kind.SUM}:
        yield node
    elif isinstance(node, ast.Name) and kinds == {Kind.MIXED}:
        for why in {value.spread.why.node for value in values if value.spread.why is not None} - seen:
            if isinstance(why, ast.expr):
                yield from _counts(program, why, seen | {why})
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        for part in (node.func.value, *node.args, *node.keywords):
            yield from _counts(program, part, seen)
    elif not kinds or Kind.MIXED in kinds:
        for child in ast.iter_child_nodes(node):
            yield from _counts(program, child, seen)


def _of_mean(program: Program, node: ast.Call) -> list[Edit] | None:
    """Write a mean of entries as their sum over the global count."""
    add = adder(program, node)
    function = node.func
    if add is None or not isinstance(function, ast.Attribute) or node.args or node.keywords:
        return None
    entries = function.value
    source = program.home(node)
    opening, closing = ("(", ")") if _tight(program, node) else ("", "")
    if not _repeatable(entries):
        # What is worked out once has a name first.
        name = _entries_name(program, node)
        if name is None:
            return None
        line = f"{name} = {source.segment(entries)}"
        quotient = f"{opening}{name}.sum() / {add}({name}.numel()){closing}"
        return [insert_before(source, program.statement(node), [line]), replace(source, node, quotient)]
    begin, end = source.span(entries)[1], source.span(node)[1]
    quotient = f".sum() / {add}({source.segment(entries)}.numel()){closing}"
    return [*surround(source, entries, opening, "")[:1], Edit(begin, end, quotient, source.path)]


def _entries_name(program: Program, node: ast.Call) -> str | None:
    """Give a name for the entries of a mean, no other mean's there; None where they may not be worked out."""
    statement = program.statement(node)
    if not isinstance(statement, ast.Assign | ast.AugAssign | ast.Return | ast.Expr) or not certain(program, node):
        return None
    calls = [one for one in ast.walk(statement) if isinstance(one, ast.Call)]
    means = [one for one in calls if getattr(one.func, "attr", "") == "mean"]
    number = means.index(node) + 1
    name = "entries" if number == 1 else f"entries_{number}"
    return None if name in program.names else name


def _of_criterion(program: Program, site: ast.Call) -> list[Edit] | None:
    """Let a loss of the library give what is added up, and divide by the global count wherever it is called."""
    makers, options = _options(program, site)
    calls = [one for one in program.calls_by_node if isinstance(one, ast.Call) and criterion_of(program, one) is site]
    if options is None or not calls:
        return None
    if site not in calls and not _only_called(program, site):
        return None
    counts = bool({"weight", "ignore_index"} & options.keys()) or program.ignores
    if not makers <= (_BY_CLASS if counts else _BY_ENTRY):
        return None
    apart = not counts and makers <= _OF_EQUAL_SHAPES and not all(_named(program, call) for call in calls)
    edits = _asked(program, site, "sum" if counts or apart else "none")
    for call in sorted(calls, key=lambda one: (one.lineno, one.col_offset)):
        add = adder(program, call)
        if add is None and any(_trains(program, value) for value in program.values(call)):
            return None
        if counts or apart:
            count = _counted(program, site, call, options) if counts else _entries(program, call)
            more = _divided(program, call, count, add)
        else:
            more = _added_up(program, call, add)
        if more is None:
            return None
        edits += more
    return edits


def _divided(program: Program, call: ast.Call, count: str | None, add: str | None) -> list[Edit] | None:
    """Divide a loss that gives the sum by what its mean divides by, on all workers where it is trained on."""
    if count is None:
        return None
    divisor = count if add is None else f"{add}({count})"
    opening, closing = ("(", ")") if _tight(program, call) else ("", "")
    return surround(program.home(call), call, opening, f" / {divisor}{closing}")


def _added_up(program: Program, call: ast.Call, add: str | None) -> list[Edit] | None:
    """Make the mean of a loss that gives its entries: over those of all workers where it is trained on."""
    if add is None:
        return surround(program.home(call), call, "", ".mean()")
    losses = _named(program, call)
    if losses is None:
        return None
    line = f"{losses} = {losses}.sum() / {add}({losses}.numel())"
    statement = program.statement(call)
    return [insert_after(program.home(statement), statement, [line])]


def _named(program: Program, call: ast.Call) -> str | None:
    """Give the name that a statement gives to what a call gives, and does nothing else."""
    statement = program.statement(call)
    if not isinstance(statement, ast.Assign) or statement.value is not call or len(statement.targets) != 1:
        return None
    return statement.targets[0].id if isinstance(statement.targets[0], ast.Name) else None


def _entries(program: Program, call: ast.Call) -> str | None:
    """Give the number of entries of a loss's input, which are as many as its own."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    given = call.args[0] if call.args else named.get("input")
    entries = _laid_out(given) if given is not None else None
    if entries is None or not _repeatable(entries):
        return None
    text = program.home(entries).segment(entries)
    return f"({text}).numel()" if _loose(entries) else f"{text}.numel()"


def _trains(program: Program, value: Value) -> bool:
    """Whether a value depends on batches that are trained on."""
    return any(isinstance(one, Loader) and plain(one) in program.training_loaders for one in value.spread.loaders)


def _options(program: Program, site: ast.Call) -> tuple[frozenset[str], dict[str, ast.expr] | None]:
    """Give which loss it is, and its options; None for these where they cannot be told."""
    made = {t.maker for value in program.values(site) for t in value.things if isinstance(t, Criterion)}
    called = {getattr(t, "name", "").rpartition(".")[2] for value in program.values(site.func) for t in value.things}
    if any(isinstance(one, ast.Starred) for one in site.args):
        return frozenset(), None
    given = dict(zip(_OPTIONS, site.args[0 if made else 2 :], strict=False))
    given |= {keyword.arg or "**": keyword.value for keyword in site.keywords}
    given = {name: node for name, node in given.items() if not _is_none(node)}
    known = given.keys() <= {"weight", "ignore_index", "label_smoothing", "input", "target"}
    return frozenset(made or called), {name: given[name] for name in given if name in _OPTIONS} if known else None


def _is_none(node: ast.expr) -> bool:
    """Whether an option is None, as if it were not given."""
    return isinstance(node, ast.Constant) and node.value is None


def _asked(program: Program, site: ast.Call, reduction: str) -> list[Edit]:
    """Ask a loss for the sum, or for its entries."""
    source = program.home(site)
    end = source.span(site)[1] - 1
    before = source.text[:end].rstrip()
    comma = "" if before.endswith("(") else " " if before.endswith(",") else ", "
    return [Edit(end, end, f'{comma}reduction="{reduction}"', source.path)]


def _counted(program: Program, site: ast.Call, node: ast.Call, options: dict[str, ast.expr]) -> str | None:
    """Give what a loss by class divides by: the number of its targets that it does not ignore, or their weights."""
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    given = node.args[1] if len(node.args) > 1 else named.get("target")
    target = _laid_out(given) if given is not None else None
    if target is None or not _repeatable(target):
        return None
    text = program.home(target).segment(target)
    if node is site:
        ignored, weight = (
            program.home(options[name]).segment(options[name]) if name in options else ""
            for name in ("ignore_index", "weight")
        )
        if any(not _repeatable(one) for name, one in options.items() if name != "label_smoothing"):
            return None
    else:
        function = program.home(node.func).segment(node.func)
        ignored = f"{function}.ignore_index" if "ignore_index" in options else ""
        weight = f"{function}.weight" if "weight" in options else ""
    if _loose(target):
        text = f"({text})"
    if not ignored and program.ignores:
        ignored = "-100"
    if weight:
        return f"{weight}[{text}[{text} != {ignored}]].sum()" if ignored else f"{weight}[{text}].sum()"
    return f"({text} != {ignored}).sum()"


def _laid_out(node: ast.expr) -> ast.expr:
    """Give a tensor without the calls that only lay it out anew."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LAYOUT:
        node = node.func.value
    return node


def _only_called(program: Program, site: ast.Call) -> bool:
    """Whether nothing happens to a loss but that it is named, handed to functions of the script, moved and called."""
    for node in program.nodes():
        if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
            continue
        if not any(getattr(thing, "site", None) is site for value in program.values(node) for thing in value.things):
            continue
        parent = program.parents[node]
        parent = program.parents[parent] if isinstance(parent, ast.keyword) else parent
        if isinstance(parent, ast.Call) and parent.func is not node:
            callees = {thing for value in program.values(parent.func) for thing in value.things}
            if not callees or not all(isinstance(thing, Function | Class) for thing in callees):
                return False
        elif not isinstance(parent, ast.Call | ast.Assign | ast.Attribute):
            return False
    return True


def _repeatable(node: ast.expr) -> bool:
    """Whether an expression can be written twice: it calls nothing."""
    return all(isinstance(one, _REPEATABLE) for one in ast.walk(node))


def _loose(node: ast.expr) -> bool:
    """Whether an expression needs parentheses before an attribute or an index of it."""
    return isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare)


def _tight(program: Program, node: ast.expr) -> bool:
    """Whether a quotient in the place of an expression needs parentheses."""
    parent = program.parents[node]
    if isinstance(parent, ast.BinOp):
        first = parent.left is node
        return not (isinstance(parent.op, ast.Add | ast.Sub) or (first and isinstance(parent.op, ast.Mult | ast.Div)))
    return isinstance(parent, ast.Attribute | ast.Subscript | ast.UnaryOp)
