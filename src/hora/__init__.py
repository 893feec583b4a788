"""Hora takes a training script written for one GPU to many: converted, proven to train the same, launched.

Importing this package imports neither torch nor any room of the house; each verb imports its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hora.launch.function import run as run

__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> object:
    """Find `hora.run`, whose room is imported when it is asked for."""
    if name == "run":
        from hora.launch.function import run

        return run
    raise AttributeError(f"module 'hora' has no attribute {name!r}")
