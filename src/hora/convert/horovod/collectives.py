"""Horovod's functions in torch's own words: who a worker is, and what the workers tell each other."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from hora.convert.distributed.script import is_constant, keyword
from hora.convert.edits import Edit, replace, surround
from hora.convert.horovod.modules import CODE
from hora.convert.horovod.plan import Plan
from hora.convert.horovod.words import HOOKS, WORDS

_REDUCED = ("tensor", "average", "name", "compression", "op", "prescale_factor", "postscale_factor", "process_set")
_PARAMETERS = {
    "allreduce": _REDUCED,
    "allreduce_": tuple(name for name in _REDUCED if name != "compression"),
    "allgather": ("tensor", "name", "process_set"),
    "broadcast": ("tensor", "root_rank", "name", "process_set"),
    "broadcast_": ("tensor", "root_rank", "name", "process_set"),
    "broadcast_object": ("obj", "root_rank", "name", "process_set"),
    "allgather_object": ("obj", "name", "process_set"),
}
_FUNCTIONS = {
    "allgather": "rows_of_workers",
    "broadcast": "tensor_from_worker",
    "broadcast_object": "object_from_worker",
    "allgather_object": "objects_of_workers",
}
_NEVER = {
    "Adasum": ("HR301", "torch has no Adasum: where it is not asked for, say op=hvd.Average; else convert to hora"),
    "join": (CODE, "join lets workers run out of data; torch's Join wraps the loop instead: convert to hora"),
    "ProcessSet": ("HR606", "process sets are said in torch's words by groups of its own: convert to hora"),
    "add_process_set": ("HR606", "process sets are said in torch's words by groups of its own: convert to hora"),
    "sparse_allreduce_async": ("HR301", "sparse gradients are gathered, which torch does in no words: convert to hora"),
    "hora.run": (CODE, "horovod.run starts the workers: let torchrun start the script, or convert to hora"),
}
_ELASTIC = "torch's elastic jobs are started by torchrun and go on from a checkpoint, not from a state: convert to hora"
_ASKED_IN_STRINGS = ("rank", "size", "local_rank", "local_size")
_CUT = ("item", "detach", "tolist", "numpy")


def refuse(plan: Plan) -> None:
    """Refuse what has no words of torch's, however it is used."""
    for node, what in plan.uses.items():
        first = what.split(".")[0]
        if first == "elastic" or what.startswith("hora.torch.elastic"):
            plan.refuse(CODE, node, _ELASTIC)
        elif what in _NEVER:
            code, message = _NEVER[what]
            plan.refuse(code, node, message)


def say(plan: Plan) -> None:
    """Say every use of the runtime in a file that nothing has been said of yet, or refuse it."""
    for node in plan.source.nodes:
        if isinstance(node, ast.JoinedStr) and node not in plan.done:
            _string(plan, node)
    for node, what in plan.uses.items():
        if node not in plan.done:
            _use(plan, node, what)


def _string(plan: Plan, node: ast.JoinedStr) -> None:
    """Say what a formatted string asks the runtime, whose parts have no certain places before Python 3.12."""
    inside = [(one, plan.uses[one]) for one in ast.walk(node) if isinstance(one, ast.expr) and one in plan.uses]
    plan.done |= set(ast.walk(node))
    text = said = plan.source.segment(node)
    for one, what in inside:
        call = plan.source.parents[one]
        if what not in _ASKED_IN_STRINGS or not (isinstance(call, ast.Call) and call.func is one):
            plan.refuse(CODE, node, f"'{ast.unparse(one)}' stands in a string: give it a name before")
            return
        word = WORDS.in_string(what, plan.name, text)
        plan.os |= "os.environ" in word
        said = said.replace(ast.unparse(call), word)
    if said != text:
        plan.edit("HR101", node, "the workers are asked for in torch's words", replace(plan.source, node, said))


def _use(plan: Plan, node: ast.expr, what: str) -> None:
    """Say one use of the runtime, or refuse it."""
    parent = plan.source.parents[node]
    call = parent if isinstance(parent, ast.Call) and parent.func is node else None
    name = ast.unparse(node)
    first = what.split(".")[0]
    if first == "Compression" and what.removeprefix("Compression.") in HOOKS:
        plan.hooks = True
        hook = f"default_hooks.{HOOKS[what.removeprefix('Compression.')]}"
        plan.edit("HR301", node, "gradients are sent by a hook of torch's", replace(plan.source, node, hook))
    elif what in ("rank", "size") and call is None:
        said = WORDS.said[what].format(name=plan.name).removesuffix("()")
        plan.edit("HR101", node, "the workers are asked for in torch's words", replace(plan.source, node, said))
    elif call is not None and what in WORDS.said and not call.args and not call.keywords:
        said = WORDS.said[what].format(name=plan.name)
        plan.os |= "os.environ" in said
        plan.edit("HR101", node, "the workers are asked for in torch's words", replace(plan.source, call, said))
    elif call is not None and what in _PARAMETERS:
        found = len(plan.findings)
        _collective(plan, call, what)
        if any(one.refusal for one in plan.findings[found:]):
            plan.done |= set(ast.walk(call))
    else:
        plan.refuse(CODE, node, f"torch.distributed has nothing for '{name}' as it stands here: convert to hora")


def _collective(plan: Plan, call: ast.Call, what: str) -> None:
    """Say a collective."""
    parameters = _PARAMETERS[what]
    given = _given(call, parameters)
    if given is None or not given or given[0] != parameters[0]:
        plan.refuse(CODE, call.func, "its arguments cannot be told apart: name them")
        return
    beyond = [one for one in given if one in ("prescale_factor", "postscale_factor", "process_set")]
    squeezed = keyword(call, "compression", parameters.index("compression")) if "compression" in parameters else None
    if beyond or (squeezed is not None and plan.uses.get(squeezed) != "Compression.none"):
        option = beyond[0] if beyond else "compression"
        plan.refuse(
            "HR606" if option == "process_set" else CODE,
            call.func,
            f"{option} is said here, for which torch's collectives have no words: convert to hora",
        )
        return
    if what in ("allreduce", "allgather", "broadcast") and not _without_gradient(plan, call):
        message = "gradients may flow through what the workers tell each other here: convert to hora, or detach() it"
        plan.refuse("HR305", call.func, message)
        return
    if what in ("allreduce", "allreduce_"):
        _reduction(plan, call, what)
        return
    kept = ("tensor", "obj", "root_rank")
    edits = _without_options(plan, call, given, kept)
    if what == "broadcast_":
        if not isinstance(plan.source.parents[call], ast.Expr):
            plan.refuse(CODE, call.func, "torch's broadcast gives nothing back: let it stand by itself")
            return
        edits.append(replace(plan.source, call.func, f"{plan.name}.broadcast"))
        edits += [
            Edit(plan.source.span(one)[0], plan.source.span(one)[0] + len("root_rank"), "src", plan.source.path)
            for one in call.keywords
            if one.arg == "root_rank"
        ]
    else:
        edits.append(replace(plan.source, call.func, plan.function(_FUNCTIONS[what])))
    plan.edit("HR101", call, "what the workers tell each other is said in torch's words", *edits)


def _reduction(plan: Plan, call: ast.Call, what: str) -> None:
    """Say a sum or a mean over the workers, in place or not."""
    parameters = _PARAMETERS[what]
    given = _given(call, parameters) or []
    average, op = (keyword(call, name, parameters.index(name)) for name in ("average", "op"))
    total = plan.uses.get(op, "?") == "Sum" if op is not None else is_constant(average, False)
    plain = op is None or plan.uses.get(op) in ("Sum", "Average")
    known = average is None or any(is_constant(average, value) for value in (None, True, False))
    if not plain or not known:
        plan.refuse("HR301" if op is not None else CODE, call.func, "only hvd.Average and hvd.Sum are said so")
        return
    edits = _without_options(plan, call, given, ("tensor",))
    plan.done |= {op} if op is not None else set()
    said = "sum_over_workers" if total else "average_over_workers"
    if what == "allreduce":
        edits.append(replace(plan.source, call.func, plan.function(said)))
    elif total and isinstance(plan.source.parents[call], ast.Expr):
        edits.append(replace(plan.source, call.func, f"{plan.name}.all_reduce"))
    elif isinstance(call.args[0], ast.Name | ast.Attribute):
        tensor = plan.source.segment(call.args[0])
        edits.append(replace(plan.source, call.func, f"{tensor}.copy_({plan.function(said)}"))
        edits.append(surround(plan.source, call, "", ")")[1])
    else:
        plan.refuse(CODE, call.func, "what is reduced in place has no name: give it one")
        return
    plan.edit("HR101", call, "what the workers tell each other is said in torch's words", *edits)


def _given(call: ast.Call, parameters: Sequence[str]) -> list[str] | None:
    """Give the parameters that a call gives, in the order in which it does; None where that cannot be told."""
    if any(isinstance(one, ast.Starred) for one in call.args) or len(call.args) > len(parameters):
        return None
    names = [*parameters[: len(call.args)], *(one.arg or "" for one in call.keywords)]
    return names if set(names) <= set(parameters) else None


def _without_options(plan: Plan, call: ast.Call, given: Sequence[str], kept: Sequence[str]) -> list[Edit]:
    """Take the options out that torch has not: a collective is known there by its order, not by a name."""
    source = plan.source
    arguments: list[ast.expr | ast.keyword] = [*call.args, *call.keywords]
    edits = []
    for before, here, name in zip(arguments, arguments[1:], given[1:], strict=False):
        if name not in kept:
            comma = source.text.rindex(",", source.span(before)[1], source.span(here)[0])
            edits.append(Edit(comma, source.span(here)[1], "", source.path))
            plan.done |= set(ast.walk(here))
    return edits


def _without_gradient(plan: Plan, call: ast.Call) -> bool:
    """Whether no gradient flows through a collective: by what it is given, what is done with it, or where it stands."""
    ways = plan.program.calls_by_node.get(call, ())
    loops = plan.program.training_loops
    if ways and all((way.args and way.args[0].number) or not loops & set(way.place.loops) for way in ways):
        return True
    parents = plan.source.parents
    outer = parents[call]
    if isinstance(outer, ast.Expr) or (isinstance(outer, ast.Attribute) and outer.attr in _CUT):
        return True
    inner = call.args[0] if call.args else call.keywords[0].value
    if all(_cut(one) for one in plan.script.origins(inner)):
        return True
    return any(_records_nothing(one) for one in plan.program.ancestors(call))


def _cut(node: ast.expr) -> bool:
    """Whether an expression gives a tensor that no gradient flows to."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        made = ast.unparse(node.func) in ("torch.tensor", "torch.as_tensor", "torch.Tensor")
        return made or node.func.attr == "detach" or _cut(node.func.value)
    return isinstance(node, ast.Attribute) and node.attr in ("data", "grad")


def _records_nothing(node: ast.AST) -> bool:
    """Whether a node is a block, or a function, in which no gradients are recorded."""
    heads: list[ast.expr] = []
    if isinstance(node, ast.With):
        heads = [one.context_expr for one in node.items]
    elif isinstance(node, ast.FunctionDef):
        heads = node.decorator_list
    return any("no_grad" in ast.unparse(one) or "inference_mode" in ast.unparse(one) for one in heads)
