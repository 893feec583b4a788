"""A short name for a tensor's content: equal for equal bits."""

from __future__ import annotations

import ctypes
import hashlib

import torch


def digest(tensor: torch.Tensor) -> str:
    """Hash the values of a tensor, wherever it lives."""
    data = tensor.detach().cpu().contiguous()
    # Its memory as it lies there: torch reads a storage byte by byte, and NumPy, which would not, need not be there.
    memory = (ctypes.c_char * (data.numel() * data.element_size())).from_address(data.data_ptr())
    return hashlib.blake2b(memory, digest_size=8).hexdigest()
