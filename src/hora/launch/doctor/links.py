"""What joins the workers, as they have measured it themselves (`hora.torch.links`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Links:
    """What was measured; times in seconds, bandwidths in bytes per second.

    Attributes
    ----------
    import_seconds
        From the start of worker 0's process until torch was imported; None where the system does not say.
    meet_seconds
        How long `hvd.init()` took.
    backend
        The engines by device, as torch names them.
    accelerator
        What torch computes on, None for the CPU alone.
    built
        Which engines this torch has.
    latency_seconds
        Median time of an allreduce of one number; None for one worker.
    allreduce
        By the bytes of the buffer, the bus bandwidth of an allreduce.
    pairs
        Two workers, and what goes from the first to the second while all others are silent.
    """

    import_seconds: float | None
    meet_seconds: float
    backend: str
    accelerator: str | None
    built: Mapping[str, bool]
    latency_seconds: float | None = None
    allreduce: Mapping[int, float] | None = None
    pairs: tuple[tuple[int, int, float], ...] = ()

    @classmethod
    def read(cls, text: str) -> Links:
        """Read what worker 0 has printed."""
        said = json.loads(text)
        allreduce = {int(size): rate for size, rate in said.pop("allreduce", {}).items()}
        pairs = tuple((first, second, rate) for first, second, rate in said.pop("pairs", ()))
        return cls(**said, allreduce=allreduce or None, pairs=pairs)
