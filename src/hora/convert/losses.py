"""Which losses can be trained on slices: a mean over the batch can, weighed, and a sum; the rest is refused."""

from __future__ import annotations

import ast

from hora.convert import meetings
from hora.convert.facts import Backward
from hora.convert.finding import Finding
from hora.convert.metrics import loaders_of
from hora.convert.program import Program
from hora.convert.spread import TWO_LOADERS, Kind
from hora.convert.values import Foreign

_BY_KIND = {
    Kind.TOTAL: (
        "HR303",
        "the loss is a sum over several batches: averaged over N workers it would be N times too small",
    ),
    Kind.COUNT: ("HR303", "the loss grows with the number of samples in a worker's slice"),
    Kind.ROWS: (
        "HR303",
        "the loss has an entry for each sample, which backward() adds up: N times too small when averaged",
    ),
    Kind.RAGGED: (
        "HR304",
        "the loss has entries for some of the samples only, whose number differs from worker to worker",
    ),
    Kind.MEANS: ("HR307", "the means of several batches are added up before one backward pass"),
    Kind.WEIGHT: ("HR206", "the loss is the weight of the batch"),
}
_BY_REASON = {"HR601": "HR303", "HR502": "HR503", "HR606": "HR503"}
_SPOKEN_OF = frozenset({
    "HR205", "HR206", "HR207", "HR303", "HR304", "HR305", "HR307", "HR311", "HR502", "HR503", "HR901", "HR902",
    "HR908",
})  # fmt: skip
"""The rules that refuse losses; what another found belongs to HR908, so that none is passed over."""
_LIBRARIES = {
    "HR901": (
        {"gym", "gymnasium", "stable_baselines3", "pettingzoo"},
        "the batches come from an environment's episodes",
    ),
    "HR902": ({"torch_geometric", "dgl", "torch_sparse"}, "a graph is trained on as a whole"),
}
BY_HAND = "the batches come from no DataLoader, and how they are made is not followed"


def refusals(program: Program, code: str) -> list[Finding]:
    """Give the refusals of the losses that break a rule.

    Parameters
    ----------
    program
        The script.
    code
        The rule.
    """
    found: dict[Finding, None] = {}
    for backward in program.backwards:
        refusal = broken(program, backward)
        if refusal is not None and refusal[0] == code:
            found[program.finding(code, refusal[2], refusal[1], None)] = None
    return list(found)


def all_followed(program: Program) -> bool:
    """Whether every loss is a mean or a sum over the batch."""
    return all(broken(program, backward) is None for backward in program.backwards)


def broken(program: Program, backward: Backward) -> tuple[str, str, ast.AST] | None:
    """Give the rule that a loss breaks, how, and where; None where it breaks none."""
    spread = backward.value.spread
    if spread.kind is not Kind.MIXED and (full := spread.unsliced) is not None:
        return full.why.code, full.why.message, full.why.node
    if spread.kind is not Kind.SHARE and meetings.unlike_in_size(program, loaders_of(spread)):
        return "HR206", TWO_LOADERS, backward.node
    if spread.kind in (Kind.MEAN, Kind.SUM, Kind.SHARE, Kind.WHOLE):
        return None
    if spread.kind is Kind.MIXED and spread.why is not None:
        where = spread.why.node if hasattr(spread.why.node, "lineno") else backward.node
        code = _BY_REASON.get(spread.why.code, spread.why.code)
        return code if code in _SPOKEN_OF else "HR908", spread.why.message, where
    if spread.kind in _BY_KIND:
        code, message = _BY_KIND[spread.kind]
        return code, message, backward.node
    if spread.kind is Kind.OWN and spread.why is not None and spread.why.code == "HR502":
        return "HR502", spread.why.message, spread.why.node
    loop = next((node for node, _ in reversed(backward.place.loops)), backward.node)
    if isinstance(loop, ast.For) and any(
        isinstance(thing, Foreign) for value in program.values(loop.iter) for thing in value.things
    ):
        text = program.home(loop.iter).segment(loop.iter)
        return "HR908", f"the batches come from '{text}', which is made outside this file and is not followed", loop
    for code, (libraries, message) in _LIBRARIES.items():
        if libraries & _imports(program):
            return code, message, loop
    return "HR205", BY_HAND, loop


def _imports(program: Program) -> set[str]:
    """Give the top names of the packages that the script imports."""
    found: set[str] = set()
    for node in (one for source in program.sources for one in ast.walk(source.tree)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found
