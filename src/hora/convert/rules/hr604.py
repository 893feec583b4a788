"""HR604: a resume loads to the worker's own device."""

from __future__ import annotations

from hora.convert.edits import argument
from hora.convert.facts import Call
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.rules.hr102 import mentions_cuda
from hora.convert.values import Foreign, Method

CODE = "HR604"
TITLE = "a resume loads to the worker's own device"
WHY = "A checkpoint goes back to the device that it was saved from: N copies of it on GPU 0."


def detect(program: Program) -> list[Finding]:
    """Find checkpoints that go from a file into networks and optimizers by way of the GPU that saved them."""
    loaded = {site for call in program.all_calls if _loads(call) for site in _files(call)}
    calls = {call.node: call for call in program.calls_of("torch.load") if call.node in loaded}
    if not calls or not any(map(mentions_cuda, program.nodes())):
        return []
    message = "every worker loads it onto the GPU that it was saved from"
    return [
        program.finding(CODE, node, message, [argument(program.home(node), node, 'map_location="cpu"')])
        for node, call in calls.items()
        if len(call.args) < 2 and not {"map_location", None} & {name for name, _ in call.keywords}
    ]


def _loads(call: Call) -> bool:
    """Whether a call loads a state, which copies it to where the network or the optimizer is."""
    return any(isinstance(thing, Method) and thing.name == "load_state_dict" for thing in call.function.things)


def _files(call: Call) -> set[object]:
    """Give the calls of ``torch.load`` that what a call is given first comes from."""
    return {
        thing.site
        for value in call.args[:1]
        for thing in value.things
        if isinstance(thing, Foreign) and thing.maker.startswith("torch.load")
    }
