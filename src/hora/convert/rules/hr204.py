"""HR204: iterable datasets and endless loaders are sharded."""

from __future__ import annotations

from hora.convert.arguments import literal
from hora.convert.finding import Finding
from hora.convert.program import Program
from hora.convert.values import Instance

CODE = "HR204"
TITLE = "iterable datasets and endless loaders are sharded"
WHY = "Each worker would read the whole stream: every sample N times."


_STREAMS = (
    "torch.utils.data.IterableDataset",
    "torch.utils.data.ChainDataset",
    "torch.utils.data.dataset.IterableDataset",
)


def detect(program: Program) -> list[Finding]:
    """Find training loaders over streams, and those that batch nothing."""
    findings: list[Finding] = []
    for loader in sorted(program.training_loaders, key=program.number):
        arguments = program.facts.given[loader]
        dataset, size = arguments.get(0, "dataset"), arguments.get(1, "batch_size")
        if dataset is not None and any(
            isinstance(thing, Instance) and set(thing.cls.bases) & set(_STREAMS) for thing in dataset.things
        ):
            findings.append(program.finding(CODE, loader.site, "an iterable dataset is not dealt yet", None))
        elif size is not None and any(getattr(thing, "value", 0) is None for thing in size.things):
            findings.append(program.finding(CODE, loader.site, "a loader without batches is not dealt yet", None))
        elif size is not None and literal(size) is None and size.things and not size.sized:
            continue
    return findings
