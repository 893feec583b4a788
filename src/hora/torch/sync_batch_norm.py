"""Batch normalisation with the statistics of the global batch, on the CPU as well as on accelerators."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from hora.errors import HoraError
from hora.torch import at_hand
from hora.torch.reducing import allreduce
from hora.torch.wire import Sum
from hora.torch.world import current


class SyncBatchNorm(_BatchNorm):
    """Normalises as `torch.nn.BatchNorm` does for a batch that holds the samples of all workers.

    Parameters and attributes are those of `torch.nn.BatchNorm1d`; inputs have shape (samples, features, ...) and may
    hold another number of samples on each worker. In evaluation, and with one worker, nothing is sent.
    """

    @classmethod
    def convert_sync_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace each BatchNorm of a network by one of this class, as `torch.nn.SyncBatchNorm` does on GPUs.

        Parameters and running statistics are taken over as they are, so that an optimizer that holds them keeps them.

        Parameters
        ----------
        module
            The network. Its layers are replaced in place; a network that is a BatchNorm itself is left alone.

        Returns
        -------
        torch.nn.Module
            The network, or what replaces it.

        Raises
        ------
        HoraError
            A lazy layer does not know its features yet.
        """
        if isinstance(module, _BatchNorm) and not isinstance(module, cls):
            return cls._of(module)
        for name, child in module.named_children():
            setattr(module, name, cls.convert_sync_batchnorm(child))
        return module

    @classmethod
    def _of(cls, layer: _BatchNorm) -> SyncBatchNorm:
        """Make the layer that takes the place of another, with its tensors."""
        if isinstance(layer, LazyModuleMixin):
            raise HoraError(
                "convert_sync_batchnorm()",
                f"a {type(layer).__name__} that does not know its number of features yet",
                "Call the network once on a batch before",
            )
        own = cls(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        own.weight, own.bias = layer.weight, layer.bias
        own.running_mean, own.running_var = layer.running_mean, layer.running_var
        own.num_batches_tracked = layer.num_batches_tracked
        return own.train(layer.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the normalised input."""
        self._check_input_dim(input)
        batch_statistics = self.training or self.running_mean is None
        if not batch_statistics or current().size == 1:
            normalised: torch.Tensor = super().forward(input)
            return normalised
        over = [0, *range(2, input.dim())]
        features = [1, -1, *[1] * (input.dim() - 2)]
        count = input.numel() // input.shape[1]
        # Whoever borrows takes the whole batch: mean and variance stay what they are, the number of entries does not.
        counts = input.new_tensor([count, 0 if at_hand.borrowed() else count])
        sums = allreduce(torch.cat([input.sum(over), counts]), op=Sum)
        mean, total, entries = sums[:-2] / sums[-2].detach(), sums[-2].detach(), sums[-1].detach()
        # In a second pass, as the mean of squares less the square of the mean would lose digits.
        variance = allreduce((input - mean.view(features)).square().sum(over), op=Sum) / total
        if self.training and self.running_mean is not None and self.running_var is not None:
            self._track(mean.detach(), variance.detach() * (entries / (entries - 1).clamp_min(1)))
        output = (input - mean.view(features)) * torch.rsqrt(variance + self.eps).view(features)
        return output if self.weight is None else output * self.weight.view(features) + self.bias.view(features)

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Refuse what has no features."""
        if input.dim() < 2:
            raise ValueError(f"SyncBatchNorm needs inputs of at least 2 dimensions; got {input.dim()}")

    def _track(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Take a batch's statistics into the running ones."""
        share = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if share is None else share
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(value, 0.0 if share is None else share)
