"""The networks that `optimizer_step.py` trains: few large tensors, many small ones, convolutions, attention."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F


@dataclass(frozen=True)
class Task:
    """A network with one batch of a worker.

    Attributes
    ----------
    build
        Makes the network, alike on every worker.
    batch
        Makes `samples` inputs and targets.
    loss
        The loss of outputs and targets.
    samples
        How many samples a worker has by default.
    """

    build: Callable[[], nn.Module]
    batch: Callable[[int], tuple[torch.Tensor, torch.Tensor]]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    samples: int


class WideBlock(nn.Module):
    """Two 3x3 convolutions after normalisation, around which the input goes unchanged (Zagoruyko 2016)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = None if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = F.relu(self.norm1(x))
        around = x if self.shortcut is None else self.shortcut(hidden)
        out: torch.Tensor = around + self.conv2(F.relu(self.norm2(self.conv1(hidden))))
        return out


def wide_resnet(depth: int = 16, factor: int = 4, classes: int = 10) -> nn.Module:
    """A WideResNet for images of 32x32: WRN-16-4 has 2.7 million parameters."""
    widths = [16, 16 * factor, 32 * factor, 64 * factor]
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1, bias=False)]
    for number in range(3):
        for block in range((depth - 4) // 6):
            before = widths[number] if block == 0 else widths[number + 1]
            layers.append(WideBlock(before, widths[number + 1], 2 if block == 0 and number else 1))
    head = [nn.BatchNorm2d(widths[3]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[3], classes)]
    return nn.Sequential(*layers, *head)


class Transformer(nn.Module):
    """A small decoder of text, its embedding tied to its output: 5.2 million parameters."""

    def __init__(self, vocabulary: int = 2048, width: int = 256, heads: int = 4, depth: int = 6, length: int = 64):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        length = text.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        hidden = self.tokens(text) + self.places(torch.arange(length))
        logits: torch.Tensor = self.head(self.norm(self.layers(hidden, mask=mask, is_causal=True)))
        return logits.transpose(1, 2)


def stack(width: int, depth: int, *, bias: bool = True) -> Callable[[], nn.Module]:
    """Linear layers of one width."""
    return lambda: nn.Sequential(
        *(layer for _ in range(depth) for layer in (nn.Linear(width, width, bias=bias), nn.ReLU()))
    )


class Wait(torch.autograd.Function):
    """Returns its input, and takes as long as a layer on an accelerator would: no core works meanwhile."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: torch.Tensor, seconds: float) -> torch.Tensor:
        ctx.seconds = seconds  # type: ignore[attr-defined]
        time.sleep(seconds)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        time.sleep(2 * ctx.seconds)  # type: ignore[attr-defined]
        return gradient, None


class ElsewhereLinear(nn.Linear):
    """A linear layer that waits instead of multiplying: 20 ms forward, 40 ms backward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = Wait.apply(x + self.weight[0] + self.bias, 0.02)  # type: ignore[no-untyped-call]
        return out


def elsewhere(width: int, depth: int) -> nn.Module:
    """Linear layers that are computed elsewhere, so that the cores are there for the communication."""
    return nn.Sequential(*(ElsewhereLinear(width, width) for _ in range(depth)))


def vectors(width: int) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    return lambda samples: (torch.randn(samples, width), torch.randn(samples, width))


def images(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(samples, 3, 32, 32), torch.randint(10, (samples,))


def text(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    both = torch.randint(2048, (samples, 65))
    return both[:, :-1], both[:, 1:]


TASKS = {
    "mlp": Task(stack(1890, 7), vectors(1890), F.mse_loss, 64),
    "mlp-6m": Task(stack(1000, 6), vectors(1000), F.mse_loss, 512),
    "elsewhere": Task(lambda: elsewhere(1000, 6), vectors(1000), F.mse_loss, 8),
    "small": Task(stack(100, 400, bias=False), vectors(100), F.mse_loss, 32),
    "wideresnet": Task(wide_resnet, images, F.cross_entropy, 8),
    "transformer": Task(Transformer, text, F.cross_entropy, 4),
}
