"""BatchNorm over the global batch: what one worker would have normalised with, on workers that hold a slice each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import distributed
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional

from hora.torch import at_hand


def _sum(tensor: torch.Tensor) -> torch.Tensor:
    summed: torch.Tensor = all_reduce(tensor)  # type: ignore[no-untyped-call]
    return summed


def _all_alike(own: torch.Tensor) -> bool:
    """Whether all workers hold the same, to the bit."""
    every = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(every, own)
    return all(torch.equal(other, own) for other in every)


@contextmanager
def synchronised_batch_norm(note: Callable[[str], None]) -> Iterator[None]:
    """Make BatchNorm in training use the mean and variance of all workers' slices; `note` is told where it was used."""
    local = functional.batch_norm

    def synchronised(
        input: torch.Tensor,
        running_mean: torch.Tensor | None,
        running_var: torch.Tensor | None,
        weight: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> torch.Tensor:
        if not training:
            return local(input, running_mean, running_var, weight, bias, training, momentum, eps)
        note("BatchNorm")
        if not distributed.is_initialized():
            return local(input, running_mean, running_var, weight, bias, training, momentum, eps)
        others = [dim for dim in range(input.dim()) if dim != 1]
        channels = [1, -1] + [1] * (input.dim() - 2)
        count = input.numel() / input.shape[1]
        own = torch.cat([input.sum(others), input.new_tensor([count, 0 if at_hand.borrowed() else count])])
        if _all_alike(own[:-1].detach()):
            # Every worker has the whole of it, such as a GAN's fixed noise: one worker's statistics are those of each.
            return local(input, running_mean, running_var, weight, bias, training, momentum, eps)
        total = _sum(own)
        number, entries = total[-2:].detach()
        mean = total[:-2] / number
        centred = input - mean.view(channels)
        variance = _sum((centred**2).sum(others)) / number
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((variance * entries / (entries - 1)).to(running_var.dtype), momentum)
        out: torch.Tensor = centred * torch.rsqrt(variance + eps).view(channels)
        if weight is not None:
            out = out * weight.view(channels)
        return out + bias.view(channels) if bias is not None else out

    functional.batch_norm = synchronised
    try:
        yield
    finally:
        functional.batch_norm = local
