"""What operations do to entries of samples: keep them apart, reduce them, or let them meet."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

from hora.convert import calls, distributions, expressions, listings, ranks, sequences, shapes, written
from hora.convert.along import picked
from hora.convert.arguments import Arguments, literal
from hora.convert.spread import ALIKE, ENTRIES, ZERO, Kind, Spread, add, field, mixed, nonlinear, shown, text, varied
from hora.convert.spread import join as join_spreads
from hora.convert.values import (
    NUMBER,
    Batch,
    Constant,
    Distribution,
    Loader,
    Packed,
    Positions,
    Shape,
    Shuffled,
    Stream,
    Value,
    of,
    tensor,
)

if TYPE_CHECKING:
    from hora.convert.walk import Walk

KEEP = frozenset({
    "to", "cuda", "cpu", "float", "double", "half", "long", "int", "short", "bool", "type", "clone", "contiguous",
    "requires_grad_", "pin_memory", "byte", "bfloat16", "type_as", "copy", "astype", "asarray", "as_tensor",
    "from_numpy", "array", "squeeze_", "retain_grad", "npu", "xpu", "ascontiguousarray", "nan_to_num", "Variable",
})  # fmt: skip
DETACH = frozenset(["detach", "detach_", "numpy", "tolist", "item"])
SUMS = frozenset(["sum", "nansum", "count_nonzero", "mean", "nanmean", "average"])
ARITHMETIC: dict[str, ast.operator] = {
    "add": ast.Add(), "sub": ast.Sub(), "subtract": ast.Sub(), "mul": ast.Mult(), "multiply": ast.Mult(),
    "div": ast.Div(), "divide": ast.Div(), "true_divide": ast.Div(),
}  # fmt: skip
ALONG = frozenset({
    "std", "var", "norm", "median", "max", "min", "argmax", "argmin", "prod", "amax", "amin", "any", "all",
    "logsumexp", "std_mean", "var_mean", "mode", "quantile", "unique", "histc", "bincount", "topk", "sort", "argsort",
    "cumsum", "softmax", "log_softmax", "cumprod", "kthvalue", "softmin", "normalize", "renorm", "nanmedian",
    "gumbel_softmax", "percentile", "histogram", "ptp",
})  # fmt: skip
_IN_PLACE_OF = frozenset({
    "topk", "sort", "argsort", "cumsum", "cumprod", "softmax", "log_softmax", "softmin", "normalize", "renorm",
    "gumbel_softmax", "unique", "histc", "bincount", "histogram",
})  # fmt: skip
"""Those of them that leave as many axes as there were, or are not told apart."""
COUPLING = frozenset({
    "mm", "einsum", "cdist", "pdist", "corrcoef", "cov", "mv", "dot", "inner", "outer", "ger", "addmm", "tensordot",
    "vdot", "kron", "cartesian_prod",
})  # fmt: skip
PAIRS = frozenset({
    "max", "min", "sort", "topk", "median", "mode", "kthvalue", "cummax", "cummin", "std_mean", "var_mean",
    "nanmedian",
})  # fmt: skip
SHAPES = frozenset(["view", "reshape", "flatten", "unflatten", "resize_", "view_as", "reshape_as"])
SETTINGS = frozenset({
    "dtype", "device", "ndim", "requires_grad", "is_cuda", "grad_fn", "layout", "dim", "get_device",
    "is_floating_point", "is_xpu", "is_mps", "is_cpu", "is_leaf", "is_sparse", "is_complex", "itemsize",
})  # fmt: skip
_RESHAPES = frozenset({*SHAPES, "unsqueeze", "expand", "expand_as", "repeat"})
_REPEATS = frozenset(["repeat", "expand", "tile"])
DRAWN = frozenset(
    ["normal_", "uniform_", "random_", "bernoulli_", "exponential_", "log_normal_", "geometric_", "cauchy_"]
)


def attribute(receiver: Value, name: str, node: ast.AST) -> Value:
    """Give an attribute of a tensor."""
    if Packed() in receiver.things:
        return sequences.attribute(receiver, name, node)
    spread = receiver.spread
    if name == "shape" and spread.kind in ENTRIES:
        return Value(spread, frozenset({Shape(spread.axis)}), number=True)
    if name == "shape":
        return tensor(spread if spread.kind in (Kind.EACH, Kind.MIXED) else ALIKE, number=True)
    if name in SETTINGS:
        return NUMBER
    if name in ("T", "mT", "H"):
        return tensor(shapes.turned(spread))
    if name == "grad":
        return tensor(ALIKE)
    if name == "data":
        return Value(spread, receiver.things, number=True)
    if any(isinstance(thing, Batch) for thing in receiver.things):
        return tensor(field(spread))
    return tensor(spread, number=receiver.number)


def method(walk: Walk, arguments: Arguments, receiver: Value, name: str) -> Value:
    """Give what a tensor's method gives."""
    node = arguments.node
    assert isinstance(node.func, ast.Attribute)
    batch = any(isinstance(thing, Batch) for thing in receiver.things)
    if name == "backward":
        walk.backward(node, node.func.value, receiver)
        return tensor(ALIKE)
    if Distribution() in receiver.things:
        return distributions.method(walk, arguments, receiver, name)
    if not receiver.spread.local and not arguments.all and name.endswith("_"):
        return receiver
    if any(isinstance(thing, Constant) and thing.type == "str" for thing in receiver.things):
        return tensor(text(_together(walk, arguments), node))
    if batch and name in ("items", "values", "keys", "get", "pop"):
        part = tensor(field(receiver.spread))
        if name in ("get", "pop"):
            return part
        element = Value(items=(NUMBER, part)) if name == "items" else part if name == "values" else NUMBER
        return of(Stream(node, walk.context, element))
    if (
        not receiver.spread.local
        and not receiver.things
        and any(walk.state.deep_spread(v).local for v in arguments.all)
    ):
        return _handed(walk, arguments, receiver, name)
    result = operation(walk, name, (receiver, *arguments.values), arguments)
    if name in KEEP and name != "requires_grad_":
        result = replace(result, written=receiver.written)
    if (batch or receiver.things & {Positions(), Shuffled(), Packed()}) and name in KEEP:
        result = replace(result, things=receiver.things)
    if Positions() in receiver.things and name in _RESHAPES:
        result = replace(receiver, items=None)
    if name.endswith("_") and not name.endswith("__") and name not in (*KEEP, *DETACH):
        walk.alter(receiver)
    if name.endswith("_") and not name.endswith("__") and result.spread != receiver.spread:
        _write(walk, node.func.value, result, arguments)
    return result


def _write(walk: Walk, written_to: ast.expr, value: Value, arguments: Arguments) -> None:
    """Bind what an operation has written to in place, also behind others: ``mean.mul_(0.9).add_(x)``."""
    while isinstance(written_to, ast.Call) and isinstance(written_to.func, ast.Attribute):
        if not written_to.func.attr.endswith("_"):
            return
        written_to = written_to.func.value
    if isinstance(written_to, ast.Attribute) and written_to.attr == "data":
        written_to = written_to.value
    if isinstance(written_to, ast.Name | ast.Attribute):
        parts = [part for part, given in arguments.pairs if walk.state.deep_spread(given).local]
        walk.assign(written_to, value, parts[0] if len(parts) == 1 else None)


def _together(walk: Walk, arguments: Arguments) -> Spread:
    """Give the spread of all arguments of a text."""
    return shown(walk.state.deep_spread(value) for value in arguments.all)


_TENSOR_METHODS = frozenset({
    "add_", "sub_", "mul_", "div_", "copy_", "lerp_", "eq", "ne", "gt", "lt", "ge", "le", "expand", "repeat",
    "index_select", "gather", "scatter", "scatter_", "scatter_add_", "index_add_", "masked_fill", "masked_fill_", "to",
    "view", "reshape", "where", "matmul", "mm", "bmm", "add", "sub", "mul", "div", "pow", "expand_as", "type_as",
    "view_as", "index_copy_", "add__", "dot", "clamp", "clamp_", "fill_",
})  # fmt: skip


def _handed(walk: Walk, arguments: Arguments, receiver: Value, name: str) -> Value:
    """Give what a method gives that is handed entries of samples, of an object that may be a tensor."""
    if name not in _TENSOR_METHODS:
        return calls.not_followed(walk, arguments, ast.unparse(arguments.node.func))
    result = operation(walk, name, (receiver, *arguments.values), arguments)
    node = arguments.node.func
    if name.endswith("_") and isinstance(node, ast.Attribute):
        _write(walk, node.value, result, arguments)
    return result


def operation(walk: Walk, name: str, values: tuple[Value, ...], arguments: Arguments) -> Value:
    """Give what an operation gives, called as a function or as a method of its first value."""
    node = arguments.node
    if not values:
        return tensor(ALIKE)
    first = listings.gathered(walk, values[0])
    values = (first, *values[1:])
    spread = walk.state.deep_spread(first)
    bare = name.rstrip("_")
    if name in DETACH:
        return Value(spread, number=True, rank=ranks.kept(name, first))
    if name == "squeeze" and spread.kind in ENTRIES and spread.axis:
        axes = shapes.axes_of(shapes.axis_of(values, arguments))
        left = shapes.lowered(spread, axes) if axes is not None else replace(spread, axis=None)
        return Value(left, number=first.number, sized=first.sized)
    if name in KEEP or name == "squeeze":
        return Value(spread, number=first.number, sized=first.sized, rank=None if "squeeze" in name else first.rank)
    if name in DRAWN and spread.local:
        walk.facts.noise[node, walk.context] = walk.place
    if name in DRAWN and spread.full:
        return tensor(add(varied(spread), walk.stream("torch", node), node))
    if name in DRAWN:
        return Value(join_spreads(spread, walk.stream("torch", node)) if not spread.local else spread)
    if bare in ("size", "shape"):
        whole = attribute(first, "shape", node)
        return whole if len(values) == 1 else shapes.dimension(whole, values[1], node)
    if bare in SETTINGS:
        return NUMBER
    if bare in ("numel", "nelement"):
        kind = Kind.COUNT if spread.kind is Kind.ROWS else Kind.SUM
        alone = spread if spread.kind is Kind.EACH else ALIKE
        counted = Spread(kind, spread.loaders, exact=spread.flat and kind is Kind.COUNT)
        return Value(counted if spread.kind in ENTRIES else alone, number=True)
    if bare in SUMS:
        name = "mean" if bare in ("nanmean", "average") else bare
        result = reduction(first, spread, name, shapes.axis_of(values, arguments), node)
        if spread.kind in ENTRIES and result.spread.kind is spread.kind:
            axes = shapes.axes_of(shapes.axis_of(values, arguments), first.rank) or frozenset()
            left = shapes.lowered(result.spread, axes, shapes.keeps(values, arguments, 2))
            return replace(result, spread=left)
        return result
    if bare == "bincount" and spread.kind in ENTRIES and arguments.get(2, "minlength") is not None:
        return tensor(Spread(Kind.SUM, spread.loaders))
    if bare in ARITHMETIC and len(values) > 1 and len(node.args) >= 1:
        target = (
            node.func.value if isinstance(node.func, ast.Attribute) and len(values) > len(node.args) else node.args[0]
        )
        return expressions.operate(walk, ARITHMETIC[bare], first, values[1], node, (target, node.args[-1]))
    if bare == "zeros_like" and not spread.local:
        return tensor(ZERO)
    if bare == "new_tensor":
        return tensor(walk.state.deep_spread(values[1])) if len(values) > 1 else tensor(ALIKE)
    if bare in ("new_zeros", "new_ones", "new_full", "new_empty"):
        sizes = values[1:2] if bare == "new_full" else values[1:]
        made = tensor(shapes.made(walk, sizes, node, ALIKE, uniform=bare != "new_empty"))
        return written.noted(walk, made, node)
    if bare in ("neg", "negative"):
        return replace(first, things=frozenset())
    keywords = tuple(value for _, value in arguments.keywords)
    others = tuple(walk.state.deep_spread(value) for value in (*values[1:], *keywords))
    sized = any(value.sized for value in (*values[1:], *keywords))
    if bare in _REPEATS and not spread.local and not any(other.local for other in others):
        # What has one entry for all samples is repeated for as many as the batch has: all of them are the same.
        return written.noted(walk, tensor(shapes.made(walk, values[1:], node, spread, uniform=True)), node)
    result = replace(
        tensor(_entrywise(walk, bare, spread, others, values, arguments, sized)), rank=ranks.kept(bare, first)
    )
    if bare in PAIRS and (bare in ("topk", "sort") or shapes.axes_of(shapes.axis_of(values, arguments)) is not None):
        result = replace(result, items=(result, result)) if not (others and others[0].kind in ENTRIES) else result
    if bare in ("chunk", "split", "unbind", "tensor_split") and spread.kind in ENTRIES:
        return shapes.split(walk, spread, values, arguments)
    parts = tuple((part, value) for part, value in arguments.pairs if value.spread.reducible)
    if isinstance(node.func, ast.Attribute) and spread.reducible and len(values) > len(node.args):
        parts = ((node.func.value, first), *parts)
    if result.spread.kind is Kind.MIXED and Kind.MIXED not in (spread.kind, *(other.kind for other in others)):
        walk.escape(node, parts, f"goes to {name}()")
    return result


def _entrywise(
    walk: Walk,
    name: str,
    spread: Spread,
    others: tuple[Spread, ...],
    values: tuple[Value, ...],
    arguments: Arguments,
    sized: bool,
) -> Spread:
    """Give the spread of an operation that keeps samples apart, or of one that does not."""
    node = arguments.node
    parts = (spread, *others)
    if all(not part.local for part in parts):
        return nonlinear(parts, node, name)
    if name == "einsum":
        return _einsum(parts, values, node)
    if name in COUPLING or name == "matmul":
        factors = parts[: len(values)][-2:] if name == "addmm" else parts
        met = sum(part.kind in ENTRIES for part in factors)
        if name == "matmul" and len(values) > 1:
            return product(values[0], values[1], node)
        if name in ("mm", "mv", "addmm", "dot") and factors[-1].kind in ENTRIES and factors[-1].axis == 0:
            return mixed("HR305", f"{name}() adds up over the samples of the batch", node, *parts)
        if met > 1 or name in ("pdist", "corrcoef", "cov"):
            return mixed("HR305", f"{name}() lets each sample of the batch meet each other", node, *parts)
    if name in ("index_add", "scatter_add") and spread.kind is Kind.ZERO and literal(values[1]) == 0:
        whole = _entries(others, node, name)
        return Spread(Kind.SUM, whole.loaders) if whole.kind in ENTRIES else whole
    taken = picked(name, values, spread, others)
    if taken is not None:
        return mixed("HR305", taken, node, *parts)
    if name in ALONG:
        return _along(name, spread, others, values, arguments)
    if name == "t":
        return shapes.turned(spread)
    if name in ("transpose", "permute", "swapaxes", "movedim", "moveaxis"):
        return shapes.swapped(spread, values, name, node)
    if name in ("masked_select", "nonzero", "argwhere"):
        whole = _entries(parts, node, name)
        return replace(whole, kind=Kind.RAGGED, axis=0) if whole.kind is Kind.ROWS else whole
    if name in SHAPES:
        return shapes.shaped(walk, spread, values[1:], node, name, sized)
    if name == "unsqueeze":
        spread = replace(spread, flat=False)
    if name == "unsqueeze" and spread.kind in ENTRIES and spread.axis is not None and len(values) > 1:
        at = literal(values[1])
        if not isinstance(at, int) or at < 0:
            return spread if isinstance(at, int) and spread.axis == 0 else replace(spread, axis=None)
        return replace(spread, axis=spread.axis + 1 if at <= spread.axis else spread.axis)
    if name in ("roll", "flip", "fliplr", "flipud") and spread.kind in ENTRIES:
        axes = shapes.axes_of(values[-1] if name == "flip" else shapes.axis_of(values, arguments, 2))
        if axes is None or shapes.among(spread.axis, axes):
            return mixed("HR305", f"{name}() moves the samples of the batch past each other", node, spread)
        return spread
    if name in ("stack", "broadcast_tensors"):
        return replace(_entries(parts, node, name), axis=None)
    if name in ("expand", "repeat", "tile", "repeat_interleave"):
        if sized:
            return mixed("HR207", "a shape uses the batch size of the loader", node, *parts)
        return spread if name == "expand" and spread.local else shapes.made(walk, values[1:], node, spread)
    return _entries(parts, node, name)


def _einsum(parts: tuple[Spread, ...], values: tuple[Value, ...], node: ast.AST) -> Spread:
    """Give the spread of an Einstein sum, which keeps samples apart where their letter is the same and stays."""
    equation = literal(values[0])
    if isinstance(equation, str) and "->" in equation:
        terms, _, out = equation.replace(" ", "").partition("->")
        operands = list(zip(terms.split(","), parts[1:], strict=False))
        letters = {
            term[part.axis or 0] for term, part in operands if part.kind in ENTRIES and len(term) > (part.axis or 0)
        }
        entries = [part for _, part in operands if part.kind in ENTRIES]
        if len(letters) == 1 and all(part.kind in ENTRIES or not part.local for part in parts):
            (letter,) = letters
            if letter in out:
                return replace(entries[0], axis=out.index(letter))
            return Spread(Kind.SUM, entries[0].loaders)
    return mixed("HR305", "einsum() lets each sample of the batch meet each other", node, *parts)


def _entries(parts: tuple[Spread, ...], node: ast.AST, name: str) -> Spread:
    """Give the spread of an operation entry by entry; sizes among its arguments say nothing."""
    return nonlinear(tuple(part for part in parts if part.kind is not Kind.COUNT), node, f"{name}()")


def _along(
    name: str, spread: Spread, others: tuple[Spread, ...], values: tuple[Value, ...], arguments: Arguments
) -> Spread:
    """Give the spread of an operation along an axis, which mixes samples unless it is another axis than theirs."""
    node = arguments.node
    if spread.kind not in ENTRIES or (others and others[0].kind in ENTRIES):
        return _entries((spread, *others), node, name)
    axis = shapes.axis_of(
        values, arguments, {"topk": 2, "kthvalue": 2, "norm": 2, "quantile": 2, "normalize": 2}.get(name, 1)
    )
    axes = shapes.axes_of(axis)
    if axes is None:
        if name in ("softmax", "log_softmax", "softmin", "normalize", "gumbel_softmax"):
            return spread
        if name in ("topk", "sort", "argsort") and not spread.flat:
            return spread
        return mixed("HR305", f"{name}() over the whole batch", node, spread)
    if shapes.among(spread.axis, axes) or (
        spread.flat and -1 in axes and name in ("topk", "sort", "argsort", "cumsum")
    ):
        return mixed("HR305", f"{name}() along the axis of the samples", node, spread)
    if name in _IN_PLACE_OF:
        return spread
    return shapes.lowered(spread, axes, shapes.keeps(values, arguments, 3 if name in ("norm", "quantile") else 2))


def reduction(value: Value, spread: Spread, name: str, axis: Value | None, node: ast.AST) -> Value:
    """Give the value of a sum or a mean."""
    if spread.kind not in ENTRIES:
        return Value(ALIKE if spread.kind is Kind.ZERO else spread, number=value.number)
    axes = shapes.axes_of(axis, value.rank)
    if axes is not None and not shapes.among(spread.axis, axes):
        return Value(replace(spread, flat=bool(axes & {1, -1})), number=value.number)
    if axes is not None and (spread.axis is None or spread.axis not in axes):
        return tensor(mixed("HR305", f"{name}() along an axis that may be that of the samples", node, spread))
    if name != "mean":
        return Value(Spread(Kind.SUM, spread.loaders), number=value.number)
    if spread.kind is Kind.RAGGED:
        return tensor(mixed("HR304", "a mean over entries whose number differs from worker to worker", node, spread))
    return Value(Spread(Kind.MEAN, spread.loaders), number=value.number)


def product(left: Value, right: Value, node: ast.AST) -> Spread:
    """Give the spread of a matrix product."""
    one, other = left.spread, right.spread
    if one.kind is other.kind is Kind.ROWS and (one.axis, other.axis) == (1, 0) and _turns(node):
        # Of two matrices, the first of them turned, the product adds up over the samples.
        return Spread(Kind.SUM, one.loaders | other.loaders)
    if other.axis == 0 and one.kind not in ENTRIES and _cut_by_hand(other):
        return mixed("HR305", "a matrix product may add up over the samples", node, one, other)
    met = one.axis is not None and other.axis is not None and one.axis != other.axis
    if one.kind in ENTRIES and other.kind in ENTRIES and met:
        return mixed("HR305", "a matrix product lets each sample of the batch meet each other", node, one, other)
    return nonlinear((one, other), node, "a matrix product")


def _turns(node: ast.AST) -> bool:
    """Whether the first matrix of a product is turned where it stands: ``x.t() @ y``, ``torch.matmul(x.T, y)``."""
    first = node.left if isinstance(node, ast.BinOp) else node.args[0] if isinstance(node, ast.Call) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 1:
        first = node.func.value
    if isinstance(first, ast.Call):
        name, axes = getattr(first.func, "attr", ""), [ast.unparse(one) for one in first.args]
        return (name, axes) in (("t", []), ("transpose", ["0", "1"]), ("transpose", ["1", "0"]))
    return isinstance(first, ast.Attribute) and first.attr == "T"


def _cut_by_hand(spread: Spread) -> bool:
    """Whether samples are rows picked by their places out of a whole: one axis more, for all of them, is not known."""
    return any(
        isinstance(loader, Loader)
        and isinstance(loader.site, ast.Call)
        and any(isinstance(one, ast.Call) and getattr(one.func, "id", "") == "range" for one in loader.site.args[:1])
        for loader in spread.loaders
    )
