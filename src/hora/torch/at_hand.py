"""The batch at hand: the dealt loader that handed out a batch for training last, for code where it has no name."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from hora.errors import HoraError

_at_hand: weakref.ref[Any] | None = None


def note(dealt: Any) -> None:
    """Note that a dealt loader hands out a batch to train on."""
    global _at_hand
    _at_hand = weakref.ref(dealt)


def _now() -> Any:
    """Return that loader; None where there is none, or it is gone."""
    return None if _at_hand is None else _at_hand()


def loader() -> Any:
    """Return the dealt loader that handed out a batch for training last, where it has no name.

    Returns
    -------
    DataLoader
        With the attributes `weight` and `first` and the methods `total` and `gather` of dealt loaders.

    Raises
    ------
    HoraError
        No loader that was dealt for training has handed out a batch, or it is gone.
    """
    found = _now()
    if found is None:
        raise HoraError(
            "hvd.loader()",
            "no loader that hvd.deal() gave has handed out a batch for training",
            "Call it inside the loop over the batches of a dealt loader",
        )
    return found


def borrowed() -> bool:
    """Return whether this worker has no samples of its own in the batch handed out last for training.

    It has borrowed them from the others, so that they are not to be counted twice.
    """
    found = _now()
    return found is not None and torch.is_grad_enabled() and not found.weight


def total(count: Any) -> Any:
    """Add up over the workers what each counts in its slice of the batch that was handed out last for training.

    For a loss that training and evaluation share, in a network or a module of its own, where the loader has no name;
    see the method `total` of dealt loaders.

    Parameters
    ----------
    count
        A tensor, or a number.

    Returns
    -------
    torch.Tensor or int or float
        The same on all workers, every one of which calls it; `count` itself where no gradients are recorded, as in
        evaluation, where no batch was handed out, and for one worker.
    """
    found = _now()
    return count if found is None or not torch.is_grad_enabled() else found.total(count)
