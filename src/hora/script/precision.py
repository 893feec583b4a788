"""Train a script in double precision, unedited.

What it computes is then the same to about 1e-15, in whatever order it is added.
Parameters are made in float64 through torch's default dtype; data that the script makes in float32 are cast where they
reach the training: at the loader's exit and at every module's door. A script that forces float32 elsewhere fails with
torch's own message about dtypes, and is then observed in its own precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def float64() -> Iterator[None]:
    """Make float64 the dtype of parameters and of what enters modules, for as long as the context lasts."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    hook = register_module_forward_pre_hook(_cast_inputs)
    try:
        yield
    finally:
        hook.remove()
        torch.set_default_dtype(before)


def in_float64(value: Any) -> Any:
    """Cast the float32 tensors in a batch, however its tuples, lists and dicts are nested."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype == torch.float32 else value
    if isinstance(value, tuple):
        items = [in_float64(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [in_float64(item) for item in value]
    if isinstance(value, dict):
        return {key: in_float64(item) for key, item in value.items()}
    return value


def _cast_inputs(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    return tuple(in_float64(value) for value in inputs)
