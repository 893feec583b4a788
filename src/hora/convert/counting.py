"""Who adds up over the workers what each counts in its slice: the loader by name, or the runtime for all that train."""

from __future__ import annotations

import ast

from hora.convert.facts import Place
from hora.convert.naming import expression
from hora.convert.program import Program
from hora.convert.values import Context, Loader, Named, Value, plain

_RECORDS_NOTHING = frozenset({"torch.no_grad", "torch.inference_mode"})
_RECORDS_AGAIN = frozenset({"enable_grad", "set_grad_enabled"})


def adder(program: Program, node: ast.AST, *, ahead: bool = False) -> str | None:
    """Give the function that adds up a count of what an operation takes: ``loader.total`` or ``hvd.total``.

    The second stands where the loader has no name, or where evaluation comes by as well: it leaves a count as it is
    where no gradients are recorded. Where that happens to batches for training, it is ``hvd.loader().total``.

    Parameters
    ----------
    program
        The script.
    node
        The operation that divides by the count.
    ahead
        Whether the loaders may still have to be dealt.

    Returns
    -------
    str or None
        None where neither is right: not all workers come there together, or evaluation does with gradients recorded.
    """
    names: set[str | None] = set()
    trained: set[frozenset[Loader]] = set()
    looked_at, evaluated = False, False
    for context, value in program.facts.values.get(node, {}).items():
        place = program.facts.places.get(program.statement(node), {}).get(context)
        if place is None:
            return None
        own = frozenset(one for one in value.spread.loaders if isinstance(one, Loader))
        loaders = frozenset(map(plain, own))
        if loaders & program.training_loaders and not ahead and not all(one.dealt for one in own):
            return None  # A loader that is not dealt has no such function yet.
        in_step = loaders <= program.training_loaders or all(one.dealt == "training" for one in own)
        # Whether all workers come here together hangs on this loss, where a step on one that is not finite ends it; if
        # they do not in the end, HR403 says so.
        if loaders and in_step and not place.alone:
            trained.add(loaders)
            looked_at = looked_at or unrecorded(program, node, context)
            names.add(_named(program, value, place))
        elif loaders & program.training_loaders or not unrecorded(program, node, context):
            return None
        else:
            evaluated = True
            names.add(None)
    if len(names) == 1 and None not in names:
        return f"{names.pop()}.total"
    if not _at_hand(program, node, trained) or (looked_at and evaluated):
        return None
    return f"{program.runtime}.loader().total" if looked_at else f"{program.runtime}.total"


def _named(program: Program, value: Value, place: Place) -> str | None:
    """Give the name of the loader whose batches a value depends on."""
    loaders = frozenset(one for one in value.spread.loaders if isinstance(one, Loader))
    loop = next((one for one, inside in reversed(place.loops) if inside == place.context), None)
    return expression(program, frozenset(loaders), place, (loop.iter,) if isinstance(loop, ast.For) else ())


def _at_hand(program: Program, node: ast.AST, trained: set[frozenset[Loader]]) -> bool:
    """Whether the batch that was handed out last for training is the one that an operation takes, on each way there."""
    if not trained:
        return False
    draws = [(draw, {plain(one) for one in draw.loaders}) for draw in program.training_draws]
    for of_one in trained:
        own = {draw.place.loops[-1] for draw, loaders in draws if loaders & of_one}
        if len(of_one) != 1 or any(not loaders <= of_one and own & set(draw.place.loops) for draw, loaders in draws):
            return False
    # What a checkpoint runs is run without gradients first.
    calls = {call for context in program.facts.values[node] for call in context}
    return not any(
        isinstance(thing, Named) and thing.name.startswith("torch.utils.checkpoint.")
        for call in calls
        for value in program.values(getattr(call, "func", call))
        for thing in value.things
    )


def unrecorded(program: Program, node: ast.AST, context: Context) -> bool:
    """Whether gradients are not recorded where a way leads to a node."""
    if program.names & _RECORDS_AGAIN:
        return False
    return any(_within(program, inner) for inner in (node, *context))


def _within(program: Program, node: ast.AST) -> bool:
    """Whether a block or a function around a node records no gradients."""
    for outer in program.ancestors(node):
        ends = isinstance(outer, ast.FunctionDef | ast.Lambda)
        wrappers = [item.context_expr for item in outer.items] if isinstance(outer, ast.With) else []
        for wrapper in outer.decorator_list if isinstance(outer, ast.FunctionDef) else wrappers:
            function = wrapper.func if isinstance(wrapper, ast.Call) else wrapper
            named = {getattr(thing, "name", "") for value in program.values(function) for thing in value.things}
            if named and named <= _RECORDS_NOTHING:
                return True
        if ends:
            return False
    return False
