"""The random states of a worker: python's, numpy's where it is loaded, torch's on the CPU and on an accelerator."""

from __future__ import annotations

import random
import sys
from typing import Any

import torch

from hora.torch.stream import derive


def random_state() -> dict[str, Any]:
    """Return this worker's random states."""
    numpy = sys.modules.get("numpy")
    return {
        "torch": torch.get_rng_state(),
        "random": random.getstate(),
        "numpy": None if numpy is None else numpy.random.get_state(),
        "accelerator": torch.get_device_module().get_rng_state() if torch.accelerator.is_available() else None,
    }


def set_random_state(states: list[dict[str, Any]], rank: int) -> None:
    """Go on with the random states of the worker that had this rank; a worker that is new gets some of its own."""
    state = states[min(rank, len(states) - 1)]
    numpy = sys.modules.get("numpy")
    if rank >= len(states):
        seed = derive(state["torch"].numpy().tobytes(), rank)
        random.seed(seed)
        torch.manual_seed(seed)
        if numpy is not None:
            numpy.random.seed(seed % 2**32)
        return
    torch.set_rng_state(state["torch"])
    random.setstate(state["random"])
    if numpy is not None and state["numpy"] is not None:
        numpy.random.set_state(state["numpy"])
    if torch.accelerator.is_available() and state["accelerator"] is not None:
        torch.get_device_module().set_rng_state(state["accelerator"])
