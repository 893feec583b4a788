"""Smaller numbers on the wire: `Compression.fp16` and `.bf16` halve what float32 gradients cost."""

from __future__ import annotations

import torch


class Compressor:
    """Turns a tensor into what travels, and back. The base class sends it as it is."""

    wire_dtype: torch.dtype | None = None

    @classmethod
    def compress(cls, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.dtype]:
        """Return what travels, and the dtype to come back to. Integers pass untouched."""
        if cls.wire_dtype is not None and tensor.dtype.is_floating_point:
            return tensor.to(cls.wire_dtype), tensor.dtype
        return tensor, tensor.dtype

    @classmethod
    def decompress(cls, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return the tensor in the dtype it had before `compress`."""
        return tensor.to(dtype)


class FP16Compressor(Compressor):
    """Sends floating-point numbers as float16."""

    wire_dtype = torch.float16


class BF16Compressor(Compressor):
    """Sends floating-point numbers as bfloat16: float32's range, 8 bits of precision."""

    wire_dtype = torch.bfloat16


class Compression:
    """The compressors by name, as Horovod has them; bf16 is Hora's."""

    none = Compressor
    fp16 = FP16Compressor
    bf16 = BF16Compressor
