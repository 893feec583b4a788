"""A worker's heartbeat as the launcher reads it: what `hora.torch.heartbeat` writes, half a second old or older."""

from __future__ import annotations

import json
from dataclasses import dataclass

LARGEST = 4096
"""Bytes of a heartbeat at most."""


@dataclass(frozen=True)
class Stacks:
    """How a worker is asked for its stacks: which signal, and the file that it appends them to."""

    signal: int
    path: str


@dataclass(frozen=True)
class Heartbeat:
    """What a worker says of itself.

    Attributes
    ----------
    steps
        Steps of its optimizer so far.
    samples
        Samples that dealt loaders handed out to it for training.
    epoch, batch, batches
        Where the loop over the dealt loader is, both counted from 1, and how many batches the epoch has.
    step_seconds
        Median of what it computes between two steps, waits left out; None before it has done enough of them.
    waits_for
        The operation in which it waits for other workers, else None.
    waited
        Seconds since that began.
    stacks
        How it is asked for its stacks, None if it cannot be.
    ending
        Its interpreter ends: this is the last one.
    """

    steps: int
    samples: int
    epoch: int | None = None
    batch: int | None = None
    batches: int | None = None
    step_seconds: float | None = None
    waits_for: str | None = None
    waited: float = 0.0
    stacks: Stacks | None = None
    ending: bool = False


def read(data: bytes) -> Heartbeat | None:
    """Read a heartbeat; None where this is none, such as the file of a disk that is full."""
    try:
        said = json.loads(data)
        waiting, stacks = said["waiting"], said["stacks"]
        return Heartbeat(
            said["steps"],
            said["samples"],
            said["epoch"],
            said["batch"],
            said["batches"],
            said["step_seconds"],
            waiting and waiting["for"],
            waiting["seconds"] if waiting else 0.0,
            stacks and Stacks(stacks["signal"], stacks["path"]),
            bool(said.get("ending")),
        )
    except (ValueError, KeyError, TypeError):
        return None
