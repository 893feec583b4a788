"""Buckets and overlap, small enough to read: gradients are reduced while backward runs, each moment noted."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

WIDTH, LAYERS, SAMPLES = 512, 8, 64


@dataclass
class Span:
    """A stretch of time, in milliseconds since backward began: which bucket or part, from when to when."""

    what: str
    begin: float
    end: float


class Buckets:
    """Reduces a model's gradients in buckets of at least `size_in_bytes`, from the last layer to the first.

    A bucket is sent off by the hook of its last gradient. `wait` waits for all and hands the means back.
    """

    def __init__(self, model: nn.Module, size_in_bytes: float) -> None:
        self.spans: list[Span] = []
        self._start = 0.0
        self._size = size_in_bytes
        self._filling: list[nn.Parameter] = []
        self._sent: list[tuple[list[nn.Parameter], Tensor, dist.Work]] = []
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(self._ready)  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """Start the clock."""
        self.spans, self._start = [], time.perf_counter()

    def wait(self) -> None:
        """Send what is left, wait for all, and put the means into the gradients."""
        if self._filling:
            self._send()
        for parameters, flat, work in self._sent:
            work.wait()
            pieces = torch.split(flat, [parameter.numel() for parameter in parameters])
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter.grad = piece.view_as(parameter) / dist.get_world_size()
        self._sent = []

    def now(self) -> float:
        """Return the milliseconds since the start."""
        return 1000 * (time.perf_counter() - self._start)

    def _ready(self, parameter: nn.Parameter) -> None:
        self._filling.append(parameter)
        if sum(4 * one.numel() for one in self._filling) >= self._size:
            self._send()

    def _send(self) -> None:
        flat = torch.cat([parameter.grad.flatten() for parameter in self._filling if parameter.grad is not None])
        span = Span(f"bucket {len(self._sent)}", self.now(), 0.0)
        self.spans.append(span)
        work = dist.all_reduce(flat, async_op=True)

        def note(_: object) -> None:
            span.end = self.now()

        work.get_future().then(note)
        self._sent.append((self._filling, flat, work))
        self._filling = []


def timelines(sizes: list[float]) -> list[dict[str, object]]:
    """Run a network's backward with each bucket size; return, of the median run, the spans and the total."""
    x = torch.randn(SAMPLES, WIDTH)
    found = []
    for size in sizes:
        model = nn.Sequential(*(layer for _ in range(LAYERS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())))
        buckets = Buckets(model, size)
        runs = []
        for _ in range(7):
            model.zero_grad()
            loss = model(x).square().mean()
            dist.barrier()
            buckets.begin()
            loss.backward()
            end = buckets.now()
            buckets.wait()
            total = buckets.now()
            runs.append((total, [Span("backward", 0.0, end), *buckets.spans]))
        total, spans = sorted(runs[1:], key=lambda one: one[0])[len(runs[1:]) // 2]
        found.append({"bytes": size, "total": total, "spans": [asdict(span) for span in spans]})
    return found
