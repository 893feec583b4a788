"""Functions with a gradient of their own: an ``autograd.Function`` keeps the samples apart both ways, or is refused."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from hora.convert import calls
from hora.convert.arguments import Arguments
from hora.convert.memory import either
from hora.convert.spread import ENTRIES, Kind, mixed
from hora.convert.values import UNKNOWN, Class, Constant, Foreign, Function, Thing, Value, of, ordered, tensor

if TYPE_CHECKING:
    from hora.convert.walk import Walk

_CONTEXT = "torch.autograd.function.FunctionCtx"
_FUNCTIONS = frozenset({"torch.autograd.Function", "torch.autograd.function.Function"})


def is_function(cls: Class) -> bool:
    """Whether a class of the file derives from ``torch.autograd.Function``."""
    return bool(_FUNCTIONS & {*cls.bases})


def is_context(thing: Thing) -> bool:
    """Whether a thing is what both ways of such a function share."""
    return isinstance(thing, Foreign) and thing.maker == _CONTEXT


def kept(walk: Walk, context: Thing, name: str, arguments: Arguments) -> Value:
    """Keep for the backward pass what the forward pass saves."""
    if name == "save_for_backward":
        walk.state.set(context, "saved_tensors", Value(items=arguments.values))
    return UNKNOWN


def apply(walk: Walk, cls: Class, arguments: Arguments) -> Value:
    """Give what ``apply()`` gives, where the backward pass lets the samples meet no more than the forward pass does.

    A gradient for entries of samples has an entry for each; one for what all workers hold is a sum over the samples, as
    autograd's own are.
    """
    node = arguments.node
    made = Foreign(node, walk.context, _CONTEXT)
    asked = tuple(of(Constant(True, "bool")) for _ in arguments.values)
    walk.state.set(made, "needs_input_grad", Value(items=asked))
    context = of(made)
    result = _followed(walk, cls, "forward", node, (context, *arguments.values), arguments.keywords)
    if result is None:
        return calls.not_followed(walk, arguments, f"{cls.node.name}.apply")
    outputs = result.items if result.items is not None else (result,)
    if not any(walk.state.deep_spread(one).local for one in outputs):
        return result
    gradients = tuple(tensor(walk.state.deep_spread(one)) for one in outputs)
    back = _followed(walk, cls, "backward", node, (context, *gradients), ())
    given = () if back is None else back.items if back.items is not None else (back,)
    for value, gradient in zip(arguments.values, given, strict=False):
        spread, into = walk.state.deep_spread(gradient), walk.state.deep_spread(value)
        if spread.kind is Kind.MIXED:
            return tensor(spread)
        fits = spread.kind in ENTRIES or spread.alike if into.kind in ENTRIES else spread.kind in (*ENTRIES, Kind.SUM)
        if not fits and not spread.alike:
            message = f"the backward pass of {cls.node.name} gives {spread.kind.value}, which no sum over workers mends"
            return tensor(mixed("HR305", message, node, spread, *(one.spread for one in gradients)))
    return result


def _followed(
    walk: Walk,
    cls: Class,
    name: str,
    node: ast.AST,
    args: tuple[Value, ...],
    keywords: tuple[tuple[str | None, Value], ...],
) -> Value | None:
    """Give what a static method of a class gives; None where the class has none of that name."""
    found = calls.member(walk, cls, name)
    functions = [one for one in ordered(found.things) if isinstance(one, Function)] if found is not None else []
    return either(calls.inline(walk, one, node, args, keywords) for one in functions) if functions else None
