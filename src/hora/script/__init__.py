"""Run a user's script under watch, unedited: observe what it does (events) and override how (knobs).

The verbs that ask what a training script really does are readers of this room's stream of events.
"""

from hora.script.events import (
    BackwardRan,
    BatchLoaded,
    Event,
    OptimizerBegan,
    OptimizerStepped,
    PassBegan,
    PassEnded,
    PassPlanned,
    Printed,
    RunEnded,
)
from hora.script.knobs import Knobs, Replay
from hora.script.naming import NamedTensor, Stepping
from hora.script.observer import StepListener, observe
from hora.script.trace import TraceWriter, read_trace

__all__ = [
    "BackwardRan",
    "BatchLoaded",
    "Event",
    "Knobs",
    "NamedTensor",
    "OptimizerBegan",
    "OptimizerStepped",
    "PassBegan",
    "PassEnded",
    "PassPlanned",
    "Printed",
    "Replay",
    "RunEnded",
    "StepListener",
    "Stepping",
    "TraceWriter",
    "observe",
    "read_trace",
]
