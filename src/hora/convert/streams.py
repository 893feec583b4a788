"""The loaders of a script that are over streams: datasets that give their samples one after the other, unnumbered."""

from __future__ import annotations

from hora.convert.program import Program
from hora.convert.values import Class, Instance, Loader

_STREAMS = frozenset(
    {
        "torch.utils.data.IterableDataset",
        "torch.utils.data.ChainDataset",
        "torch.utils.data.dataset.IterableDataset",
    }
)


def over_streams(program: Program, loader: Loader) -> list[Class]:
    """The classes of the streams that a loader may be over."""
    dataset = program.facts.given[loader].get(0, "dataset")
    things = () if dataset is None else dataset.things
    return [thing.cls for thing in things if isinstance(thing, Instance) and _STREAMS & set(thing.cls.bases)]
