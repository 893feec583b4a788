"""HR310: BatchNorm has the same statistics everywhere, or it is said."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.names import SYNCHRONISED
from hora.convert.program import Program
from hora.convert.values import Module

CODE = "HR310"
TITLE = "BatchNorm has the same statistics everywhere, or it is said"
WHY = "Statistics are those of a slice: running means of two workers differed by 0.11, a checkpoint holds worker 0's."


_LAYERS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d")
_NETWORKS = (
    "resnet", "resnext", "wide_resnet", "densenet", "mobilenet", "mnasnet", "shufflenet", "efficientnet", "googlenet",
    "inception", "regnet", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn", "create_model", "get_model", "segmentation",
    "detection", "video", "something",
)  # fmt: skip


def detect(program: Program) -> list[Finding]:
    """Note networks that normalise over the batch, in a script that synchronises none."""
    message = (
        "BatchNorm takes its statistics from each worker's slice, and a checkpoint holds those of worker 0: with small"
        " slices, or to match one worker exactly, use synchronised BatchNorm"
    )
    if any(program.calls_of(*SYNCHRONISED)):
        return []
    for call in program.all_calls:
        for thing in call.result.things:
            if isinstance(thing, Module) and thing.site is call.node and _normalises(thing.maker):
                return [program.finding(CODE, call.node, message, ())]
    return []


def _normalises(maker: str) -> bool:
    """Whether a library's network normalises over the batch."""
    name = maker.removeprefix("torchvision.models.")
    return maker.rpartition(".")[2] in _LAYERS or (not maker.startswith("torch.nn.") and name.startswith(_NETWORKS))
