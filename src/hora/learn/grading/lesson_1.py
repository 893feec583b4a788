"""Grades exercise 1: the reader's gradient against autograd, the reader's descent against a step-by-step one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hora.learn.grading.apart import grade_apart
from hora.learn.grading.checks import Check, Grade
from hora.learn.neuron import Data, gradient, loss, noisy_line

_PLACES = ((0.5, -0.25), (-3.0, 3.0), (2.0, 0.0))
_CLOSE = 1e-6


def grade(path: Path) -> Grade:
    """Grade a reader's file."""
    return grade_apart(__name__, path)


def judge(names: Mapping[str, Any]) -> tuple[Check, ...]:
    """Check the names that the file defines."""
    data = noisy_line(samples=23, seed=5)
    first = Check("gradient(x, y, w, b) is what autograd computes", _gradient_fault(names.get("gradient"), data))
    second = Check("descend(...) makes one step for each batch", _descent_fault(names.get("descend"), data))
    return first, second


def _gradient_fault(function: Any, data: Data) -> str | None:
    if not callable(function):
        return "There is no function `gradient`"
    for place in _PLACES:
        try:
            w, b = function(data.x, data.y, *place)
            given = torch.stack([torch.as_tensor(one, dtype=torch.float64).reshape(()) for one in (w, b)])
        except Exception as error:
            return f"It must return two numbers; Python says: {type(error).__name__}: {error}"
        right = _by_autograd(data, place)
        if not torch.allclose(given, right, rtol=_CLOSE, atol=_CLOSE):
            return (
                f"{_reason(given, right, len(data))} "
                f"(at w = {place[0]}, b = {place[1]}, autograd says {_pair(right)}, you {_pair(given)})"
            )
    return None


def _by_autograd(data: Data, place: tuple[float, float]) -> Tensor:
    here = torch.tensor(place, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(loss(data, *here), here)
    return found


def _reason(given: Tensor, right: Tensor, samples: int) -> str:
    """Name the mistake that explains what was given."""
    known = {
        "It is zero: write the two sums": torch.zeros(2, dtype=torch.float64),
        "The sign is turned: the error is w * x + b - y": -right,
        "It is half of it: a square's derivative has a factor of 2": right / 2,
        "It is a sum over the samples, and the loss is a mean": right * samples,
        "It is half of a sum: the loss is a mean, and a square's derivative has a factor of 2": right * samples / 2,
        "The two are exchanged: return dL/dw first": right.flip(0),
        "dL/dw lacks a factor: each sample's error counts by its x": right[1].expand(2),
    }
    for words, wrong in known.items():
        if torch.allclose(given, wrong, rtol=_CLOSE, atol=_CLOSE):
            return words
    if torch.allclose(given[1], right[1], rtol=_CLOSE, atol=_CLOSE):
        return "dL/db is right, dL/dw is not"
    if torch.allclose(given[0], right[0], rtol=_CLOSE, atol=_CLOSE):
        return "dL/dw is right, dL/db is not"
    return "Neither is right: start from the error e = w * x + b - y"


def _descent_fault(function: Any, data: Data) -> str | None:
    if not callable(function):
        return "There is no function `descend`"
    rate, place = 0.1, (-3.0, 3.0)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    batches = [order[cut : cut + 5] for cut in range(0, len(order), 5)]
    try:
        given = _tensor(function(data.x, data.y, *place, rate, batches))
    except Exception as error:
        return f"It must return (w, b); Python says: {type(error).__name__}: {error}"
    right = _descended(data, place, rate, batches)
    if torch.allclose(given, right, rtol=_CLOSE, atol=_CLOSE):
        return None
    known = {
        "It stays where it started: no step is made": torch.tensor(place, dtype=torch.float64),
        "It climbs: the step goes against the gradient": _descended(data, place, -rate, batches),
        "It makes one step only: there is one for each batch": _descended(data, place, rate, batches[:1]),
        "Each step takes all samples, not those of its batch": _descended(
            data, place, rate, [torch.arange(len(data))] * len(batches)
        ),
    }
    found = [words for words, wrong in known.items() if torch.allclose(given, wrong, rtol=_CLOSE, atol=_CLOSE)]
    words = found[0] if found else "It ends elsewhere: step for each batch from where the last step ended"
    return f"{words} (it should end at {_pair(right)}, yours at {_pair(given)})"


def _descended(data: Data, place: tuple[float, float], rate: float, batches: list[Tensor]) -> Tensor:
    here = torch.tensor(place, dtype=torch.float64)
    for batch in batches:
        here = here - rate * torch.stack(gradient(data[batch], *here))
    return here


def _tensor(pair: Any) -> Tensor:
    w, b = pair
    return torch.tensor([float(w), float(b)], dtype=torch.float64)


def _pair(values: Tensor) -> str:
    return ", ".join(f"{float(value):.4g}" for value in values)
