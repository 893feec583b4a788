"""Learning rates under weak scaling: N times the script's, reached over the first epochs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from hora.convert.edits import Edit, argument, insert_before
from hora.convert.facts import Call
from hora.convert.imports import named
from hora.convert.naming import expression
from hora.convert.products import multiplied
from hora.convert.program import Program
from hora.convert.values import Optimizer, Scheduler

WARM_EPOCHS = 5
"""So many epochs the rate takes to grow from the script's to N times as much (Goyal et al. 2017, arXiv:1706.02677)."""

_DEFAULTS = {
    "Adam": "1e-3", "AdamW": "1e-3", "SGD": "1e-3", "RAdam": "1e-3", "NAdam": "2e-3", "Adamax": "2e-3",
    "RMSprop": "1e-2", "Adagrad": "1e-2", "Adadelta": "1.0", "Rprop": "1e-2", "ASGD": "1e-2",
}  # fmt: skip
# Each multiplies the rate that it finds, so that a warm-up of its own goes with it.
_MULTIPLYING = frozenset([
    *("StepLR", "MultiStepLR", "ExponentialLR", "MultiplicativeLR", "CosineAnnealingLR", "ReduceLROnPlateau"),
    *("LinearLR", "ConstantLR", "PolynomialLR"),
])  # fmt: skip


def scaled(program: Program, optimizer: Optimizer) -> list[Edit] | str:
    """Multiply the rate that an optimizer is made with by the number of workers, or say why that cannot be done."""
    site = optimizer.site
    if not isinstance(site, ast.Call) or any(isinstance(one, ast.Starred) for one in site.args):
        return "the optimizer's options are not written out, and its learning rate is not to be seen"
    if any(one.arg is None for one in site.keywords):
        return "the optimizer's options come in a dictionary, in which its learning rate is not to be seen"
    if any(map(_of_group, ast.walk(site))):
        return "groups of parameters have learning rates of their own: multiply each by the number of workers"
    source, size = program.home(site), f"{program.runtime}.size()"
    given = next((one.value for one in site.keywords if one.arg == "lr"), None)
    given = given or (site.args[1] if len(site.args) > 1 else None)
    if given is None:
        default = _DEFAULTS.get(optimizer.maker.rpartition(".")[2])
        if default is None:
            return "the optimizer is given no learning rate, and its own is not known"
        return [argument(source, site, f"lr={default} * {size}")]
    return multiplied(source, given, size)


def _of_group(node: ast.AST) -> bool:
    """Whether a node is a dictionary that sets a learning rate."""
    if isinstance(node, ast.Dict):
        return any(key is not None and _is_rate(key) for key in node.keys)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return any(one.arg == "lr" for one in node.keywords)
    return False


def absolute(program: Program) -> Iterator[tuple[ast.AST, str]]:
    """Give what sets a rate that does not follow from the optimizer's own."""
    for call in program.all_calls:
        for thing in call.result.things:
            if isinstance(thing, Scheduler) and thing.site is call.node:
                name = thing.maker.rpartition(".")[2]
                if name not in _MULTIPLYING:
                    yield call.node, f"{name} sets rates that a warm-up cannot go with: scale and warm it up by hand"
    for node in program.nodes():
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Subscript) and _is_rate(target.slice):
                    yield node, "the learning rate is set by hand: scale and warm it up there"


def _is_rate(key: ast.expr) -> bool:
    """Whether a key is that of a learning rate."""
    return isinstance(key, ast.Constant) and key.value == "lr"


def warmed(program: Program, call: Call) -> list[Edit] | str:
    """Let the rate of an optimizer grow over the first epochs, before the loop that trains; or say why it cannot."""
    unseen = "no loop over training batches is seen, before which a warm-up could begin"
    draw = next(iter(program.training_draws), None)
    if draw is None:
        return unseen
    loop, context = draw.place.loops[0]
    if not isinstance(loop, ast.stmt):
        return unseen
    place = next((one for one in program.places(loop) if one.context == context), None)
    if place is None:
        return unseen
    optimizers = frozenset(one for one in call.result.things if isinstance(one, Optimizer))
    name = expression(program, optimizers, place)
    loader = expression(program, draw.loaders, place, [loop.iter] if isinstance(loop, ast.For) else [])
    if name is None or loader is None:
        return "optimizer and loader have no names where the training begins, to warm up by"
    source = program.home(loop)
    torch, imports = named(source, "torch")
    warmup, size = program.fresh("warmup", "warm_up"), f"{program.runtime}.size()"
    steps = f"{WARM_EPOCHS} * len({loader})"
    # Where several are warmed up, the name is that of the last by the time that a step is taken.
    bound = f", {warmup}={warmup}" if len(program.stepping) > 1 else ""
    lines = [
        f"{warmup} = {torch}.optim.lr_scheduler.LinearLR({name}, 1 / {size}, total_iters={steps})",
        f"{name}.register_step_post_hook(lambda *_{bound}: {warmup}.step())",
    ]
    return [*imports, insert_before(source, loop, lines)]
