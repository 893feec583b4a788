"""HR302: all workers start equal."""

from __future__ import annotations

import ast

from hora.convert.edits import insert_after
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.names import WITHOUT_WEIGHTS
from hora.convert.naming import cover, expression
from hora.convert.networks import is_module
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.values import Context, Instance, Loader, Made, Module, Optimizer, Thing, Weights, plain

CODE = "HR302"
TITLE = "all workers start equal"
WHY = "Averaged gradients keep equal models equal and different ones different: N models are trained, and one is saved."


def detect(program: Program) -> list[Finding]:
    """Find networks and optimizers that train without a common start."""
    groups: dict[ast.stmt, dict[Context, list[frozenset[Thing]]]] = {}
    findings: list[Finding] = []
    returned = _returned(program)
    for call in program.calls_of(f"{NAME}.DistributedOptimizer"):
        optimizers = returned.get((program.statement(call.node), call.place.context), _plain(call))
        if optimizers and all(program.facts.trained_by(one) for one in optimizers if isinstance(one, Optimizer)):
            bound = _bound_at(program, call, optimizers)
            if bound is None:
                findings.append(program.finding(CODE, call.node, "the optimizer has no name to broadcast it by", None))
            else:
                anchor, context = bound
                groups.setdefault(_last(program, anchor), {}).setdefault(context, []).append(optimizers)
    for anchor, ways in groups.items():
        # A function that is called twice is edited once: with what each of its calls asks for.
        found = [_start_equal(program, anchor, context, choices) for context, choices in ways.items()]
        findings += next((one for one in found if any(finding.refusal for finding in one)), found[0])
    return findings + _drawn_again(program)


def _returned(program: Program) -> dict[tuple[ast.stmt, Context], frozenset[Thing]]:
    """Give what a function returns, of which each wrapped optimizer that it returns is one, for each such statement."""
    found: dict[tuple[ast.AST, Context], list[Call]] = {}
    for call in program.calls_of(f"{NAME}.DistributedOptimizer"):
        if isinstance(program.statement(call.node), ast.Return):
            found.setdefault((program.scope(call.node), call.place.context), []).append(call)
    return {
        (program.statement(call.node), context): frozenset().union(*map(_plain, calls))
        for (_, context), calls in found.items()
        for call in calls
    }


def _plain(call: Call) -> frozenset[Thing]:
    """Give the optimizers that a call wraps."""
    return frozenset(plain(thing) for thing in call.result.things if isinstance(thing, Optimizer))


def _start_equal(
    program: Program, anchor: ast.stmt, context: Context, choices: list[frozenset[Thing]]
) -> list[Finding]:
    """Send out what is trained on one way that leads to the statement that completes it, after that statement."""
    place = next(one for one in program.places(anchor) if one.context == context)
    optimizers = [one for choice in choices for one in choice if isinstance(one, Optimizer)]
    sites = sorted((one.site for one in optimizers), key=lambda node: getattr(node, "lineno", 0))
    near = sites[0]
    sent = _sent(program)
    networks = frozenset(program.root(module) for one in optimizers for module in program.facts.trained_by(one))
    missing = (networks | _beside(program, anchor, context)) - sent.keys()
    names = cover(program, missing, place, sites, anchor) if missing else []
    if names is None:
        return [program.finding(CODE, near, "a network that is trained has no name here to broadcast it by", None)]
    # What holds another network sends it with its own.
    told = {ast.unparse(call.node) for call in program.calls_of(f"{NAME}.broadcast_parameters")}
    lines = [f"{program.runtime}.broadcast_parameters({name}.state_dict(), root_rank=0)" for name in names]
    lines = [line for line in lines if line not in told]
    for choice in choices:
        if not choice <= sent.keys():
            wraps = [call.node for call in program.calls_of(f"{NAME}.DistributedOptimizer") if choice & _plain(call)]
            name = expression(program, choice, place, wraps, anchor)
            if name is None:
                return [program.finding(CODE, near, "the optimizer has no name to broadcast it by", None)]
            lines.append(f"{program.runtime}.broadcast_optimizer_state({name}, root_rank=0)")
    if not lines:
        return []
    edit = insert_after(program.home(anchor), anchor, list(dict.fromkeys(lines)))
    return [program.finding(CODE, near, "workers do not start from one state", [edit])]


def _sent(program: Program) -> dict[Thing, int]:
    """Give what is broadcast in the script as it stands, and when."""
    sent: dict[Thing, int] = {}
    for call in program.calls_of(f"{NAME}.broadcast_parameters", f"{NAME}.broadcast_optimizer_state"):
        for thing in call.args[0].things if call.args else ():
            what = thing.module if isinstance(thing, Weights) else plain(thing)
            sent[what] = program.order(call.node, call.place.context)
    return sent


def _bound_at(program: Program, call: Call, optimizers: frozenset[Thing]) -> tuple[ast.stmt, Context] | None:
    """Give the statement after which a wrapped optimizer has a name: in the script where it has one there in time.

    With it comes the way that leads there.
    """
    node: ast.AST = call.node
    context = call.place.context
    found: list[tuple[ast.stmt, Context]] = []
    while True:
        statement = program.statement(node)
        place = next((one for one in program.places(statement) if one.context == context), None)
        if place is not None and not isinstance(statement, ast.Return):
            if expression(program, optimizers, place, [node], statement):
                found.append((statement, context))
        if not context or any(context[-1] in backward.place.context for backward in program.backwards):
            return next((one for one in found if program.own(one[0])), found[0] if found else None)
        node, context = context[-1], context[:-1]


def _last(program: Program, anchor: ast.stmt) -> ast.stmt:
    """Give the last statement of the block that still makes or loads what is trained, before any training."""
    block = program.block(anchor)
    changes = [node for _, _, node, _ in program.facts.changed]
    chains = [{node, *context} for _, _, node, context in program.facts.changed]
    wraps = {call.node for call in program.calls_of(f"{NAME}.DistributedOptimizer")}
    last = anchor
    for statement in block[block.index(anchor) + 1 :]:
        nodes = set(ast.walk(statement))
        if any(nodes & {one.node, *one.place.context} for one in program.backwards):
            break
        if nodes & wraps or nodes & set(changes) or any(nodes & chain for chain in chains):
            last = statement
    return last


def _beside(program: Program, anchor: ast.stmt, context: Context) -> frozenset[Thing]:
    """Give the networks that are used beside those that are trained, and that each worker has drawn for itself."""
    loaded = {program.root(thing) for thing, how, _, _ in program.facts.changed if how == "loaded"}
    trained = {program.root(one) for modules in program.facts.trained.values() for one in modules}
    found: set[Thing] = set()
    for thing in program.facts.used:
        root = program.root(thing)
        if root in loaded | trained or not isinstance(root, Made) or isinstance(root, Loader) or not is_module(root):
            continue
        if isinstance(root, Instance) and not _has_weights(program, root):
            continue
        if isinstance(root, Module) and (root.maker.rpartition(".")[2] in WITHOUT_WEIGHTS or _pretrained(root)):
            continue
        if root.context == context and getattr(root.site, "lineno", 0) <= anchor.lineno:
            found.add(root)
    return frozenset(found)


def _has_weights(program: Program, network: Instance) -> bool:
    """Whether a network of the file has layers or parameters."""
    held = program.facts.bindings.get(network, {})
    layers = [thing for value in held.values() for thing in value.things if is_module(thing)]
    weighty = any(not (isinstance(one, Module) and one.maker.rpartition(".")[2] in WITHOUT_WEIGHTS) for one in layers)
    return weighty or any(
        isinstance(node, ast.Attribute | ast.Name)
        and getattr(node, "attr", getattr(node, "id", "")) in ("Parameter", "register_buffer")
        for cls in network.cls.lineage
        for node in ast.walk(cls.node)
    )


def _pretrained(network: Module) -> bool:
    """Whether a library's network comes with weights."""
    keywords = network.site.keywords if isinstance(network.site, ast.Call) else []
    return any(
        keyword.arg in ("pretrained", "weights")
        and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
        for keyword in keywords
    )


def _drawn_again(program: Program) -> list[Finding]:
    """Find networks whose weights each worker draws for itself after they were made equal."""
    sent = _sent(program)
    return [
        program.finding(CODE, node, "weights are drawn anew after the workers were made equal", None)
        for thing, how, node, context in program.facts.changed
        if how == "drawn" and program.order(node, context) > sent.get(program.root(thing), 1 << 60)
    ]
