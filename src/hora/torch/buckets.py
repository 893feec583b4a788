"""Buckets: flat buffers that hold the mean of many gradients, each reduced by one collective.

A gradient lives in its bucket as a view with its parameter's strides, so nothing is copied out, and at most once in.

    | weight        | bias  |pad| weight     |...| tail: a flag for each parameter, then the notes |

A flag says whether this worker had a gradient (1), none (0) or a sparse one (-1); their mean says what all workers had.
The mean of the notes says whether the workers are at the same place.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from hora.torch.compression import Compressor
from hora.torch.engine import count_aliases
from hora.torch.notes import COUNT as NOTES
from hora.torch.recording import Span

_ALIGNMENT_BYTES = 64
# Gradients that are so large on average are scaled one by one on their way in; smaller ones together, after it.
_LARGE_BYTES = 2**18


@dataclass(frozen=True)
class Zeros:
    """What a worker that has joined gives to a bucket, on its way.

    Attributes
    ----------
    work
        The collective.
    tail
        The bucket's tail as it travels: the flags and the notes, summed over the workers when `work` is done.
    """

    work: dist.Work
    tail: torch.Tensor

    def mean_notes(self, postscale: float) -> list[float]:
        """Return the mean of the workers' notes."""
        means: list[float] = (_real(self.tail)[-NOTES:].double() * postscale).tolist()
        return means

    def sparse(self) -> list[int]:
        """List the places of the parameters whose gradient is sparse on some worker."""
        return [place for place, flag in enumerate(_real(self.tail)[:-NOTES].tolist()) if flag < 0]


class Bucket:
    """One flat buffer and the parameters whose gradients it holds.

    Parameters
    ----------
    named
        Names and parameters, of one dtype and device.
    sparse_as_dense
        Whether a sparse gradient is made dense, reduced with the others, and made sparse again.

    Attributes
    ----------
    parameters
        The parameters.
    pending
        How many of them still wait for their gradient in this backward.
    notes
        A few numbers that are averaged along: what the workers must have in common.
    span
        What the timeline shows of it, from when it is full until the engine is done.
    """

    def __init__(self, named: Sequence[tuple[str, torch.Tensor]], *, sparse_as_dense: bool = False) -> None:
        self.parameters = [parameter for _, parameter in named]
        self.pending = 0
        self.notes: tuple[float, ...] = (0.0,) * NOTES
        self.span: Span | None = None
        self._names = [name for name, _ in named]
        self._sparse_as_dense = sparse_as_dense
        self._work: dist.Work | None = None
        self._absent: list[int] = []
        self._sparse: list[int] = []
        # Gradients that are part of a graph (create_graph=True) keep their own storage.
        self._graph_gradients: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._allocate()

    def __str__(self) -> str:
        more = len(self._names) - 3
        return f"reducing the gradients of {', '.join(self._names[:3])}" + (f" and {more} more" if more > 0 else "")

    def launch(self, group: dist.ProcessGroup, prescale: float, compression: type[Compressor]) -> dist.Work:
        """Take the gradients in, and start to sum the bucket over the workers, times `prescale`; return what runs."""
        fresh = [index for index in range(len(self.parameters)) if not self._in_place(index)]
        moved = any(self.parameters[index].grad is self._views[index] for index in fresh)
        if fresh and (moved or self._kept(fresh) or not _alike(self.parameters[0], self._flat)):
            # The script keeps gradients of an earlier backward, which must not change under its hands, or it has moved
            # a view, or the model.
            self._allocate()
            fresh = list(range(len(self.parameters)))
        self._fill(fresh, prescale)
        self._wire, _ = compression.compress(self._flat)
        wire = torch.view_as_real(self._wire) if self._wire.is_complex() else self._wire
        work: dist.Work = dist.all_reduce(wire, group=group, async_op=True)
        self._work = work
        return work

    def launch_zeros(
        self,
        group: dist.ProcessGroup,
        prescale: float,
        compression: type[Compressor],
        notes: Sequence[float] = (0.0,) * NOTES,
    ) -> Zeros:
        """Start to add nothing but notes to the other workers' sum; the gradients here are left alone."""
        zeros = torch.zeros_like(self._flat)
        zeros[-NOTES:] = torch.tensor(notes, dtype=zeros.dtype, device=zeros.device) * prescale
        wire, _ = compression.compress(zeros)
        work = dist.all_reduce(torch.view_as_real(wire) if wire.is_complex() else wire, group=group, async_op=True)
        return Zeros(work, wire[-len(self._tail) :])

    def finish(self, postscale: float) -> list[torch.Tensor]:
        """Wait for the sum, times `postscale`, and point the gradients at it.

        Returns
        -------
        list of Tensor
            The parameters whose gradient is sparse on some worker; theirs are left alone.
        """
        if self._work is None:
            return []
        work, self._work = self._work, None
        work.wait()
        if self._wire is not self._flat:
            self._flat.copy_(self._wire)
        if postscale != 1.0:
            self._flat.mul_(postscale)
        for gradient, view in self._graph_gradients:
            gradient.data.copy_(view)
        self._graph_gradients.clear()
        for index in self._sparse:
            self.parameters[index].grad = self._views[index].to_sparse(1)
        return self._settle_absent() if self._absent else []

    def take_over(self, before: Bucket) -> None:
        """Hold the gradients that another bucket held."""
        held = set(map(id, before._views))
        for parameter, view in zip(self.parameters, self._views, strict=True):
            if parameter.grad is not None and id(parameter.grad) in held:
                view.copy_(parameter.grad)
                parameter.grad = view

    def scale_set_by_hand(self, factor: float) -> None:
        """Multiply the gradients that never were in this bucket."""
        for parameter, view in zip(self.parameters, self._views, strict=True):
            if parameter.grad is not None and parameter.grad is not view:
                parameter.grad = parameter.grad * factor

    @property
    def device(self) -> torch.device:
        """Where the buffer is."""
        return self._flat.device

    @property
    def exact(self) -> bool:
        """Whether the mean of notes tells one worker's deviation."""
        return self._flat.dtype in (torch.float32, torch.float64)

    def mean_notes(self) -> list[float]:
        """Return the mean of the workers' notes."""
        means: list[float] = _real(self._tail)[-NOTES:].tolist()
        return means

    def _allocate(self) -> None:
        """Make the buffer and its views."""
        first = self.parameters[0]
        step = max(1, _ALIGNMENT_BYTES // first.element_size())
        self._offsets, end = [], 0
        for parameter in self.parameters:
            self._offsets.append(end)
            end += -(-parameter.numel() // step) * step
        self._flat = torch.zeros(end + len(self.parameters) + NOTES, dtype=first.dtype, device=first.device)
        self._tail = self._flat[end:]
        self._views = [self._view(index) for index in range(len(self.parameters))]
        self._wire = self._flat
        self._addresses = [view.data_ptr() for view in self._views]
        self._own_references, self._own_aliases = self._references(0), count_aliases(self._flat)

    def _view(self, index: int) -> torch.Tensor:
        """Return a parameter's part of the buffer."""
        parameter = self.parameters[index]
        strides = parameter.stride() if _dense(parameter) else torch.empty(parameter.shape, device="meta").stride()
        return self._flat.as_strided(parameter.shape, strides, self._offsets[index])

    def _in_place(self, index: int) -> bool:
        """Return whether a gradient is its view, and still here: `.grad.data = ...` moves a view to another storage."""
        view = self._views[index]
        return self.parameters[index].grad is view and view.data_ptr() == self._addresses[index]

    def _kept(self, indices: Sequence[int]) -> bool:
        """Return whether the script holds one of these views, or another tensor in their memory."""
        held = any(self._references(index) > self._own_references for index in indices)
        return held or count_aliases(self._flat) > self._own_aliases

    def _references(self, index: int) -> int:
        """Count who holds a view."""
        return sys.getrefcount(self._views[index])

    def _fill(self, fresh: Sequence[int], scale: float) -> None:
        """Copy in the gradients that are not their views yet, point the parameters at their views, and scale all."""
        self._absent.clear()
        self._sparse.clear()
        sources, targets = [], []
        flags = [1.0] * len(self.parameters)
        for index in fresh:
            gradient, view = self.parameters[index].grad, self._views[index]
            if gradient is None or (gradient.is_sparse and not self._sparse_as_dense):
                view.zero_()
                flags[index] = 0.0 if gradient is None else -1.0
                self._absent.append(index)
                continue
            if gradient.is_sparse:
                self._sparse.append(index)
            sources.append(gradient.to_dense() if gradient.is_sparse else gradient.detach())
            targets.append(view)
            if gradient.requires_grad:
                self._graph_gradients.append((gradient, view))
            else:
                self.parameters[index].grad = view
        if self._absent or self.notes[-1] or self.device.type == "cpu":
            self._tail.copy_(torch.tensor([*flags, *self.notes]))
        else:
            # Copying from the host would wait for the device.
            self._tail[:-NOTES].fill_(1.0)
            self._tail[-NOTES:].zero_()
        if self._flat.nbytes >= _LARGE_BYTES * len(self.parameters) and len(targets) == len(self.parameters):
            for source, target in zip(sources, targets, strict=True):
                torch.mul(source, scale, out=target)
            self._tail.mul_(scale)
        else:
            if sources:
                torch._foreach_copy_(targets, sources)
            self._flat.mul_(scale)

    def _settle_absent(self) -> list[torch.Tensor]:
        """Give the parameters that had no gradient here the mean of those that had; return those that are sparse."""
        flags = _real(self._tail).tolist()
        for index in self._absent:
            if flags[index] > 0:
                self.parameters[index].grad = self._views[index]
        return [self.parameters[index] for index in self._absent if flags[index] < 0]


def _real(tensor: torch.Tensor) -> torch.Tensor:
    """Return the real part, of whatever dtype."""
    return tensor.real if tensor.is_complex() else tensor


def _alike(parameter: torch.Tensor, flat: torch.Tensor) -> bool:
    """Return whether a parameter still has its buffer's dtype and device."""
    return parameter.dtype == flat.dtype and parameter.device == flat.device


def _dense(tensor: torch.Tensor) -> bool:
    """Return whether the strides fill the tensor's memory without holes, in whatever order."""
    expected = 1
    for stride, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True
