"""Horovod's optimizer in torch's own words: the plain one, and what it was told is told the network's wrapper."""

from __future__ import annotations

import ast
from pathlib import Path

from hora.convert.distributed.script import is_constant, keyword
from hora.convert.edits import insert_after, only_body, replace
from hora.convert.facts import Call
from hora.convert.horovod import sending
from hora.convert.horovod.plan import Plan
from hora.convert.horovod.words import HOOKS
from hora.convert.naming import expression
from hora.convert.program import Program
from hora.convert.targets.given import beyond
from hora.convert.targets.horovod import asserted
from hora.convert.targets.sampling import unwrapped
from hora.convert.values import Class, Function, Method, Named, Optimizer, Partial, Scaler, Thing, ordered

_PLACES = ("optimizer", "named_parameters", "compression", "backward_passes_per_step", "op")
_DROPPED = {"num_groups", "groups", "gradient_predivide_factor", "sparse_as_dense", "process_set"}
_REDUCED = "torch's wrapper reduces the gradients, not the optimizer"


def say(program: Program, plans: dict[Path, Plan]) -> None:
    """Say what is done with optimizers and the networks that they train."""
    sent = sending.wrapped(program, plans)
    for plan in plans.values():
        for call in plan.calls_of("DistributedOptimizer"):
            before = len(plan.findings)
            _optimizer(program, plans, plan, call, sent)
            if any(one.refusal for one in plan.findings[before:]):
                plan.done |= set(ast.walk(call))
        for call in plan.calls_of("broadcast_optimizer_state"):
            _state(program, plan, call)
        _waits(program, plan)


def _optimizer(program: Program, plans: dict[Path, Plan], plan: Plan, call: ast.Call, sent: dict[Thing, Call]) -> None:
    """Leave of a DistributedOptimizer the optimizer, and put on the wrapper what it was told."""
    ways = program.calls_by_node.get(call, [])
    optimizers = {one for way in ways for one in way.result.things if isinstance(one, Optimizer)}
    networks = {program.root(one) for each in optimizers for one in program.facts.trained_by(each)}
    if not networks:
        plan.refuse("HR301", call, "which network the optimizer trains is not followed: convert to hora")
        return
    for site in {one.site for one in optimizers}:
        other = beyond(program, plans[program.home(site).path].script, site)
        if other is not None:
            message = "the optimizer trains what is in no network here, and what no wrapper averages: convert to hora"
            plan.refuse("HR905", other, message)
            return
    if not networks <= sent.keys():
        message = (
            "worker 0 does not send the network to the others: say hvd.broadcast_parameters(...), or convert to hora"
        )
        plan.refuse("HR302", call, message)
        return
    hook = _hook(program, plan, call)
    if hook is None:
        return
    inner = keyword(call, "optimizer", 0)
    statement = program.statement(call)
    if inner is None or call.args[:1] != [inner]:
        plan.refuse("HR301", call, "the optimizer is not its first argument: put it there")
        return
    lines = _hooked(program, plans, plan, ways[0], networks, sent, hook) if hook else []
    if lines is None:
        return
    plan.done |= set(ast.walk(call)) - set(ast.walk(inner))
    if _rebinds(plan, statement, call, inner):
        plan.remove(statement, lines)
        return
    edits = unwrapped(program, call)
    if lines:
        edits.append(insert_after(plan.source, statement, lines))
    plan.edit("HR301", call, _REDUCED, *edits)


def _rebinds(plan: Plan, statement: ast.stmt, call: ast.Call, inner: ast.expr) -> bool:
    """Whether a statement only binds the optimizer's name to what Horovod makes of it."""
    if not isinstance(statement, ast.Assign) or statement.value is not call or len(statement.targets) != 1:
        return False
    return plan.source.segment(statement.targets[0]) == plan.source.segment(inner)


def _hook(program: Program, plan: Plan, call: ast.Call) -> str | None:
    """Give the hook that a wrapper gets for what an optimizer is told, or nothing; None where that is refused."""
    given = {one.arg: one.value for one in call.keywords}
    given |= dict(zip(_PLACES, call.args, strict=False))
    if len(call.args) > len(_PLACES) or not given.keys() <= {*_PLACES, *_DROPPED}:
        plan.refuse("HR301", call, "its arguments cannot be told apart: name them")
        return None
    if "process_set" in given:
        plan.refuse("HR606", given["process_set"], "gradients are averaged over a part of the workers: convert to hora")
        return None
    if "sparse_as_dense" in given and not is_constant(given["sparse_as_dense"], False):
        plan.refuse(
            "HR301", given["sparse_as_dense"], "torch's wrapper makes no sparse gradient dense: convert to hora"
        )
        return None
    op, compression = given.get("op"), given.get("compression")
    how = "Average" if op is None else plan.uses.get(op)
    if how not in ("Average", "Sum"):
        plan.refuse("HR301", op or call, "whether gradients are averaged or added up is not known: say hvd.Average")
        return None
    several = given.get("backward_passes_per_step")
    if several is not None and not is_constant(several, 1):
        message = (
            "each backward pass reduces the gradients here, not the last of a step alone: "
            "the same gradients by more communication, which no_sync() around the others would spare"
        )
        plan.findings.append(program.finding("HR307", several, message, ()))
    if compression is None or plan.uses.get(compression) == "Compression.none":
        return _added_up(program, plan, call) if how == "Sum" else ""
    if how == "Sum":
        plan.refuse("HR301", compression, "torch's hooks that compress gradients average them: convert to hora")
        return None
    return _compressing(program, plan, compression)


def _added_up(program: Program, plan: Plan, call: ast.Call) -> str | None:
    """Give the hook that adds gradients up, which must not be done twice for a step."""
    if asserted(program):
        message = "gradients of several backward passes are added up over the workers: convert to hora"
        plan.refuse("HR307", call, message)
        return None
    return plan.function("add_up")


def _compressing(program: Program, plan: Plan, compression: ast.expr) -> str | None:
    """Give the hook for a way to compress, be it chosen by an option."""
    origins = plan.script.origins(compression)
    if not all(plan.uses.get(one, "").removeprefix("Compression.") in HOOKS for one in origins):
        plan.refuse("HR301", compression, "how gradients are compressed is not known: say hvd.Compression.fp16")
        return None
    plan.hooks = True
    text = plan.source.segment(compression)
    for node in ast.walk(compression):
        if isinstance(node, ast.expr) and (what := plan.uses.get(node, "")).startswith("Compression."):
            text = text.replace(ast.unparse(node), f"default_hooks.{HOOKS[what.removeprefix('Compression.')]}")
    return text


def _hooked(
    program: Program,
    plans: dict[Path, Plan],
    plan: Plan,
    way: Call,
    networks: set[Thing],
    sent: dict[Thing, Call],
    hook: str,
) -> list[str] | None:
    """Give the lines that put a hook on wrappers where the optimizer stands; none where they go behind the wrapper."""
    lines: list[str] = []
    here = program.order(way.node, way.place.context)
    for call in dict.fromkeys(sent[one].node for one in ordered(networks)):
        sending = next(sent[one] for one in networks if sent[one].node is call)
        together = frozenset(one for one in networks if sent[one].node is call)
        name = expression(program, together, way.place, [], program.statement(way.node))
        target = program.statement(call)
        near = program.scope(target) is program.scope(way.node) and program.home(target) is plan.source
        if name is None or not near:
            plan.refuse("HR301", way.node, "the wrapper that would be told so is out of reach here: convert to hora")
            return None
        line = f"{name}.register_comm_hook(None, {hook})"
        if program.order(call, sending.place.context) < here:
            lines.append(line)
        else:
            plan.edit("HR301", way.node, _REDUCED, insert_after(plan.source, target, [line]))
    return lines


def _state(program: Program, plan: Plan, call: ast.Call) -> None:
    """Send what an optimizer has loaded; one that is new is alike on all workers."""
    statement = program.statement(call)
    given = keyword(call, "optimizer", 0)
    if not isinstance(statement, ast.Expr) or statement.value is not call or given is None:
        plan.refuse("HR302", call, "it stands in an expression: give it a line of its own")
    elif not _loaded(program):
        plan.remove(statement)
    else:
        name = plan.source.segment(given)
        root = keyword(call, "root_rank", 1)
        options = "" if root is None or plan.source.segment(root) == "0" else f", root_rank={plan.source.segment(root)}"
        text = f"{name}.load_state_dict({plan.function('object_from_worker')}({name}.state_dict(){options}))"
        plan.done |= set(ast.walk(call))
        plan.edit("HR302", call, "workers do not resume from one state", replace(plan.source, call, text))


def _loaded(program: Program) -> bool:
    """Whether an optimizer may have loaded its state: by itself, or in a function of a library that is given it."""
    for call in program.all_calls:
        if isinstance(call.node.func, ast.Attribute) and call.node.func.attr == "load_state_dict":
            receivers = [one.receiver for one in call.function.things if isinstance(one, Method)]
            if not receivers or any(isinstance(one, Optimizer) for one in receivers):
                return True
        given = [*call.args, *(value for _, value in call.keywords)]
        if any(isinstance(thing, Optimizer) for value in given for thing in value.things) and _unknown(call):
            return True
    return False


def _unknown(call: Call) -> bool:
    """Whether what a call does is neither followed nor torch's or the runtime's own."""
    known = (Function, Class, Partial)
    return not any(
        isinstance(one, known) or (isinstance(one, Named) and one.name.startswith(("torch.", "hora.", "builtins.")))
        or (isinstance(one, Method) and isinstance(one.receiver, Scaler))
        for one in call.function.things
    )  # fmt: skip


def _waits(program: Program, plan: Plan) -> None:
    """Take out what waits for gradients, which are reduced when the backward pass ends; refuse what joins later."""
    for node in plan.source.nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        method = node.func.attr
        if method == "add_param_group":
            plan.refuse("HR905", node, "what joins the optimizer later is not followed: convert to hora")
        if method not in ("synchronize", "skip_synchronize", "set_backward_passes_per_step"):
            continue
        things = {thing for value in program.values(node.func.value) for thing in value.things}
        if not any(isinstance(one, Optimizer) for one in things):
            if method != "synchronize" or (not things and not plan.uses.get(node.func)):
                plan.refuse("HR306", node, "whether it waits for an optimizer's gradients is not followed")
            continue
        statement = program.statement(node)
        if isinstance(statement, ast.With) and len(statement.items) == 1 and statement.items[0].context_expr is node:
            message = "gradients are reduced when the backward pass ends"
            plan.edit("HR306", node, message, *only_body(plan.source, statement))
        elif isinstance(statement, ast.Expr) and statement.value is node and method != "skip_synchronize":
            plan.remove(statement)
        else:
            plan.refuse("HR306", node, "it stands in an expression: give it a line of its own")
