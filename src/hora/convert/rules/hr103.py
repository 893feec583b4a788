"""HR103: nn.DataParallel has no place inside a worker."""

from __future__ import annotations

from hora.convert.finding import Finding
from hora.convert.program import Program

CODE = "HR103"
TITLE = "nn.DataParallel has no place inside a worker"
WHY = "It would spread each worker's slice over all GPUs of the machine, on which the other workers are already."


_NAMES = (
    "torch.nn.DataParallel",
    "torch.nn.parallel.DataParallel",
    "torch.nn.parallel.data_parallel",
    "torch.nn.DataParallel.DataParallel",
)


def detect(program: Program) -> list[Finding]:
    """Find networks that spread over several GPUs by themselves."""
    message = (
        "nn.DataParallel is not converted yet: remove it, and 'module.' from the keys of checkpoints that it wrote"
    )
    return [program.finding(CODE, call.node, message, None) for call in program.calls_of(*_NAMES)]
