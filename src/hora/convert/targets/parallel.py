"""Wrap networks in DistributedDataParallel, and see to it that the training goes through the wrapper."""

from __future__ import annotations

import ast

from hora.convert.distributed.script import Script
from hora.convert.edits import Edit, replace, surround, without
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.runtime import NAME
from hora.convert.targets.given import beyond
from hora.convert.targets.words import Needs, Words
from hora.convert.values import Function, Method, Parallel, Parameters, Thing, Value, Weights

CODE = "HR301"
GOES_PAST = "the training goes past DistributedDataParallel, which averages nothing then: convert to hora"
_MESSAGE = "its gradients are averaged over the workers"
PASSED_ON = frozenset([
    *("train", "eval", "training", "to", "cuda", "cpu", "half", "float", "double", "bfloat16"),
    *("parameters", "zero_grad", "requires_grad_", "apply", "forward", "module", "no_sync", "register_comm_hook"),
])  # fmt: skip
TRAINS_NOTHING = frozenset({
    "state_dict", "load_state_dict", "named_parameters", "modules", "named_modules", "children", "named_children",
    "buffers", "named_buffers",
})  # fmt: skip
_WHOLE = ("torch.save", "copy.deepcopy", "copy.copy", "pickle.dump")


def wrap(program: Program, words: Words, needs: Needs, options: str = "") -> list[Finding]:
    """Wrap each network that is trained where the workers' networks are made equal, which the wrapper does as well.

    ``options`` are what the wrapper is given besides the network, after a comma.
    """
    findings = []
    trained = networks_trained(program)
    for call in program.calls_of(f"{NAME}.broadcast_parameters"):
        source, weights = program.home(call.node), call.node.args[0]
        networks = {thing.module for thing in call.args[0].things if isinstance(thing, Weights | Parameters)}
        method = weights.func if isinstance(weights, ast.Call) else None
        target = method.value if isinstance(method, ast.Attribute) else None
        statement = program.statement(call.node)
        moves = _moved(program, networks, call)
        if not networks <= trained:
            lines = f"for tensor in {source.segment(weights)}.values():"
            body = f"{source.margin(statement)}{source.indent}{words.name_in(program)}.broadcast(tensor, src=0)"
            edit = replace(source, statement, f"{lines}{source.newline}{body}")
            findings.append(program.finding("HR302", call.node, "workers do not start from one state", [edit]))
        elif moves and not (len(moves) == 1 and isinstance(program.parents[moves[0]], ast.Assign)):
            message = "the network is moved to its device after it is sent out, and its wrapper must come last"
            findings.append(program.finding(CODE, moves[0], message, None))
        elif moves:
            needs.wrappers.add(program.home(moves[0]).path)
            edits = surround(program.home(moves[0]), moves[0], "DistributedDataParallel(", f"{options})")
            findings.append(program.finding(CODE, moves[0], _MESSAGE, [without(source, statement), *edits]))
        elif isinstance(target, ast.Attribute) or (isinstance(target, ast.Name) and _is_local(program, call, target)):
            needs.wrappers.add(source.path)
            name = source.segment(target)
            edit = replace(source, statement, f"{name} = DistributedDataParallel({name}{options})")
            findings.append(program.finding(CODE, call.node, _MESSAGE, [edit]))
        else:
            message = "the network has no name here that its wrapper could be given: convert to hora"
            findings.append(program.finding(CODE, call.node, message, None))
    return findings


def unwrapped(program: Program) -> list[Finding]:
    """Refuse optimizers that may be given more than the parameters of networks: a wrapper reduces nothing else."""
    findings = []
    for made in program.stepping:
        other = beyond(program, Script(program.home(made.site)), made.site)
        if other is not None:
            message = "this may be no network's parameter, and DistributedDataParallel has no others: convert to hora"
            findings.append(program.finding(CODE, other, message, None))
    return findings


def networks_trained(program: Program) -> set[Thing]:
    """Give the networks that some optimizer steps."""
    return {program.root(one) for made in program.stepping for one in program.facts.trained_by(made)}


def _moved(program: Program, networks: set[Thing], call: Call) -> list[ast.expr]:
    """Give the calls that move networks after they are sent out, or into an object that keeps them."""
    sent = program.order(call.node, call.place.context)
    found: dict[ast.expr, None] = {}
    for thing, how, node, context in program.facts.changed:
        if how == "moved" and program.root(thing) in networks and isinstance(node, ast.expr):
            parent = program.parents[node]
            kept = isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Attribute)
            if kept or program.order(node, context) > sent:
                found[node] = None
    return list(found)


def _is_local(program: Program, call: Call, name: ast.Name) -> bool:
    """Whether a name may be bound anew where a call stands."""
    return name.id in program.facts.bindings.get(call.place.frame, {})


def detect(program: Program, *, dealt: bool = True) -> list[Finding]:
    """Find what does not go through the wrapper, and what the wrapper hides.

    Where batches are not ``dealt``, what the training loop does with a network is training, whatever it is given.
    """
    return list(dict.fromkeys([*_trained_past(program, dealt), *_hidden(program), *_whole(program)]))


def _parallel(value: Value) -> bool:
    """Whether a value may be a wrapper."""
    return Parallel() in value.things


def _trained_past(program: Program, dealt: bool) -> list[Finding]:
    """Refuse training that calls a network without its wrapper, and let worker 0 alone call it so."""
    findings = []
    trained = networks_trained(program)
    for call in program.all_calls:
        node, value = call.node, call.function
        if _parallel(value) and value.things & trained and call.place.alone:
            message = "worker 0 alone would wait for the others in the wrapper"
            findings.append(program.finding(CODE, node, message, [_module(program, node.func)]))
        if not program.training_loops & set(call.place.loops) or not _trains(program, call, dealt):
            continue
        past = value.things & trained and not _parallel(value)
        method = any(owner(thing) in trained for thing in value.things) and _goes_past(program, node, call)
        if past or method:
            findings.append(program.finding(CODE, node, GOES_PAST, None))
    return findings


def _trains(program: Program, call: Call, dealt: bool) -> bool:
    """Whether a call in a training loop may train something."""
    if dealt:
        return program.deep(call.result).local
    return not isinstance(call.node.func, ast.Attribute) or call.node.func.attr not in TRAINS_NOTHING


def owner(thing: Thing) -> Thing | None:
    """Give the object that a method is of."""
    if isinstance(thing, Function):
        return thing.bound
    return thing.receiver if isinstance(thing, Method) else None


def _goes_past(program: Program, node: ast.Call, call: Call) -> bool:
    """Whether a network's method is called from outside of it."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr in PASSED_ON - {"forward"}:
        return False
    receiver = program.value(node.func.value, call.place.context)
    inside = any(isinstance(one, ast.ClassDef) for one in program.ancestors(node))
    return receiver is not None and not inside


def _hidden(program: Program) -> list[Finding]:
    """Find attributes and methods of networks that the wrapper hides."""
    findings = []
    for node in program.nodes():
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load) or node.attr in PASSED_ON:
            continue
        ways = program.values(node.value)
        if not any(map(_parallel, ways)):
            continue
        if all(map(_parallel, ways)):
            message = "the wrapper has it from the network"
            findings.append(program.finding(CODE, node, message, [_module(program, node.value)]))
        else:
            message = "the network is wrapped on one way that leads here, and not on another: convert to hora"
            findings.append(program.finding(CODE, node, message, None))
    return findings


def _whole(program: Program) -> list[Finding]:
    """Find networks that are saved or copied as a whole."""
    return [
        program.finding(CODE, call.node, "the network is saved without its wrapper", [_module(program, node)])
        for call in program.calls_of(*_WHOLE)
        for node, value in zip(call.node.args, call.args, strict=False)
        if _parallel(value)
    ]


def _module(program: Program, node: ast.expr) -> Edit:
    """Reach through the wrapper."""
    source = program.home(node)
    end = source.span(node)[1]
    return Edit(end, end, ".module", source.path)
