"""The random numbers of an observed run: where they start, and which of those inside the model are switched off.

Dropout drawn by one worker on a whole batch and by several on its slices can never agree number by number, so where
gradients are compared it is replaced by the identity and said so.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_pre_hook

_DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


def seed_everything(seed: int) -> None:
    """Give torch, random and numpy (where it is installed) the state that `seed` makes."""
    torch.manual_seed(seed)
    random.seed(seed)
    try:
        import numpy as np
    except ImportError:
        return
    np.random.seed(seed % 2**32)


@contextmanager
def without_dropout(note: Callable[[str], None]) -> Iterator[None]:
    """Make every dropout the identity; `note` is told the name of each one that would have dropped something."""
    originals = {name: getattr(functional, name) for name in _DROPOUTS}
    attention = functional.scaled_dot_product_attention

    def identity(name: str) -> Callable[..., torch.Tensor]:
        def passed_on(
            input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
        ) -> torch.Tensor:
            if training and p > 0:
                note(name)
            return input

        return passed_on

    def undropped_attention(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **rest: Any,
    ) -> torch.Tensor:
        if dropout_p > 0:
            note("dropout in attention")
        return attention(query, key, value, attn_mask, 0.0, is_causal, **rest)

    def undropped_rnn(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, nn.RNNBase) and module.dropout > 0 and module.training:
            note("dropout between recurrent layers")
            module.dropout = 0.0

    hook = register_module_forward_pre_hook(undropped_rnn)
    for name in _DROPOUTS:
        setattr(functional, name, identity(name))
    functional.scaled_dot_product_attention = undropped_attention  # type: ignore[assignment]
    try:
        yield
    finally:
        hook.remove()
        for name, original in originals.items():
            setattr(functional, name, original)
        functional.scaled_dot_product_attention = attention
