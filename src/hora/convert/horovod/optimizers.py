"""Horovod's optimizer in torch's own words: the network is wrapped instead, where the workers are made equal."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from hora.convert.distributed.script import is_constant, keyword
from hora.convert.edits import Edit, insert_after, only_body, replace
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.horovod.given import beyond
from hora.convert.horovod.plan import Plan
from hora.convert.horovod.words import HOOKS, WORDS
from hora.convert.naming import expression
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.targets.horovod import asserted
from hora.convert.targets.parallel import networks_trained, wrap
from hora.convert.targets.sampling import unwrapped
from hora.convert.targets.words import Needs
from hora.convert.values import Foreign, Method, Module, Optimizer, Parameters, Thing, Value, Weights, ordered

_PLACES = ("optimizer", "named_parameters", "compression", "backward_passes_per_step", "op")
_DROPPED = {"num_groups", "groups", "gradient_predivide_factor", "sparse_as_dense", "process_set"}
_REDUCED = "torch's wrapper reduces the gradients, not the optimizer"


def wrapped(program: Program, plans: dict[Path, Plan]) -> None:
    """Say what is done with optimizers and the networks that they train."""
    needs = Needs()
    sent = _sent(program, plans)
    buffers = _buffers(program)
    findings = wrap(program, WORDS, needs, ", broadcast_buffers=False" if buffers else "")
    for plan in plans.values():
        plan.wraps = plan.source.path in needs.wrappers
        for call in plan.calls_of("DistributedOptimizer"):
            before = len(plan.findings)
            _optimizer(program, plans, plan, call, sent)
            if any(one.refusal for one in plan.findings[before:]):
                plan.done |= set(ast.walk(call))
        for call in plan.calls_of("broadcast_optimizer_state"):
            _state(program, plan, call)
        _waits(program, plan)
    for finding in dict.fromkeys(findings):
        _place(program, plans, finding, buffers)


def _sent(program: Program, plans: dict[Path, Plan]) -> dict[Thing, Call]:
    """Give the networks that worker 0 sends to the others, each with where it does, and refuse what is unclear."""
    found: dict[Thing, Call] = {}
    reached = {call.node: call for call in program.calls_of(f"{NAME}.broadcast_parameters")}
    distributed = _distributed(program)
    for plan in plans.values():
        for node in plan.calls_of("broadcast_parameters"):
            call = reached.get(node)
            networks = _networks(program, call.args[:1]) if call is not None else set()
            root = keyword(node, "root_rank", 1)
            if call is None or not networks:
                plan.refuse("HR302", node, "what worker 0 sends here is not followed: convert to hora")
            elif root is None or not (isinstance(root, ast.Constant) and root.value == 0):
                plan.refuse("HR302", node, "torch's wrapper sends worker 0's weights, and no other's: convert to hora")
            elif call.place.loops or networks & found.keys():
                plan.refuse("HR302", node, "the network is sent more than once, and wrapped once: convert to hora")
            elif networks & networks_trained(program) - distributed:
                message = "an optimizer trains it that is no DistributedOptimizer: its gradients would be averaged"
                plan.refuse("HR301", node, message)
            elif not networks <= distributed and not _is_state(node):
                plan.refuse("HR302", node, "say it with state_dict(): it is trained by no DistributedOptimizer")
            elif not isinstance(plan.source.parents[node], ast.Expr):
                plan.refuse("HR302", node, "it stands in an expression: give it a line of its own")
            else:
                found |= dict.fromkeys(networks, call)
                plan.done |= set(ast.walk(node))
    return found


def _distributed(program: Program) -> set[Thing]:
    """Give the networks whose optimizers Horovod wraps."""
    wrapped = (
        one
        for call in program.calls_of(f"{NAME}.DistributedOptimizer")
        for one in call.result.things
        if isinstance(one, Optimizer)
    )
    return {program.root(one) for optimizer in wrapped for one in program.facts.trained_by(optimizer)}


def _networks(program: Program, values: Iterable[Value]) -> set[Thing]:
    """Give the networks whose weights some values hold."""
    things = (thing for value in values for thing in value.things)
    return {program.root(thing.module) for thing in things if isinstance(thing, Weights | Parameters)}


def _is_state(call: ast.Call) -> bool:
    """Whether what a call is given first is a state dict."""
    given = call.args[0] if call.args else None
    return isinstance(given, ast.Call) and isinstance(given.func, ast.Attribute) and given.func.attr == "state_dict"


def _buffers(program: Program) -> bool:
    """Whether a network may hold buffers, such as the statistics of BatchNorm, that torch's wrapper would send."""
    words = ("BatchNorm", "InstanceNorm", "register_buffer", "Buffer(", "spectral_norm")
    if any(word in source.text for word in words for source in program.sources):
        return True
    made = [*program.facts.made, *networks_trained(program)]
    return any(
        isinstance(one, Foreign) or (isinstance(one, Module) and not one.maker.startswith("torch.nn.")) for one in made
    )


def _place(program: Program, plans: dict[Path, Plan], finding: Finding, buffers: bool) -> None:
    """Take over what was found on wrapping; a network's buffers are sent before it is wrapped."""
    plan = next(one for path, one in plans.items() if str(path) == finding.file)
    if buffers and finding.code == "HR301" and finding.edits:
        calls = [one for one in program.calls_of(f"{NAME}.broadcast_parameters") if one.node.lineno == finding.line]
        for call in calls[:1]:
            if not _is_state(call.node):
                continue
            statement, given = program.statement(call.node), call.node.args[0]
            network = plan.source.segment(given).removesuffix(".state_dict()")
            lines = [
                f"for buffer in {network}.buffers():",
                f"{plan.source.indent}{plan.name}.broadcast(buffer, src=0)",
            ]
            start = plan.source.starts[statement.lineno - 1]
            margin = plan.source.margin(statement)
            text = "".join(margin + line + plan.source.newline for line in lines)
            plan.edit("HR302", call.node, "worker 0 sends the buffers, too", Edit(start, start, text, plan.source.path))
    plan.findings.append(finding)


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
    """Whether an optimizer may have loaded its state before."""
    for call in program.all_calls:
        if isinstance(call.node.func, ast.Attribute) and call.node.func.attr == "load_state_dict":
            receivers = [one.receiver for one in call.function.things if isinstance(one, Method)]
            if not receivers or any(isinstance(one, Optimizer) for one in receivers):
                return True
    return False


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
