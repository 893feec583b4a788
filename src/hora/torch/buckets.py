"""Buckets: flat buffers that hold the mean of many gradients, each reduced by one collective.

A gradient lives in its bucket as a view with its parameter's strides, so nothing is copied out, and at most once in.

    | weight        | bias  |pad| weight     |...| tail: one flag per parameter, and a note |

A flag says whether this worker had a gradient (1), none (0) or a sparse one (-1); their mean says what all workers had.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist

from hora.torch.compression import Compressor

_ALIGNMENT_BYTES = 64


def layout(
    parameters: Sequence[torch.Tensor], bucket_bytes: int, groups: Sequence[Sequence[torch.Tensor]] = ()
) -> list[list[int]]:
    """Cut parameters into buckets, the last first, as backward makes their gradients in that order.

    Parameters
    ----------
    parameters
        The parameters, in the order of the optimizer.
    bucket_bytes
        A bucket of one dtype and device closes when it has as many bytes.
    groups
        Parameters that share a bucket whatever its size, one for each dtype and device, a list for each bucket.

    Returns
    -------
    list of list of int
        The indices of each bucket's parameters, in the order in which the buckets fill.
    """
    group_of = {parameter: number for number, group in enumerate(groups) for parameter in group}
    done: list[list[int]] = []
    filling: dict[tuple[object, ...], list[int]] = {}
    for index in reversed(range(len(parameters))):
        parameter = parameters[index]
        group = group_of.get(parameter)
        kind = group, parameter.dtype, parameter.device
        bucket = filling.setdefault(kind, [])
        bucket.append(index)
        if group is None and sum(parameters[i].nbytes for i in bucket) >= bucket_bytes:
            done.append(filling.pop(kind))
    return done + list(filling.values())


class Bucket:
    """One flat buffer and the parameters whose gradients it holds.

    Parameters
    ----------
    parameters
        Parameters of one dtype and device.
    sparse_as_dense
        Whether a sparse gradient is made dense and reduced with the others.

    Attributes
    ----------
    pending
        How many of the parameters still wait for their gradient in this backward.
    note
        A number that is averaged along: what the workers must agree on to go on alike.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], *, sparse_as_dense: bool = False) -> None:
        self.parameters = list(parameters)
        self.pending = 0
        self.note = 0.0
        self._sparse_as_dense = sparse_as_dense
        first = parameters[0]
        step = max(1, _ALIGNMENT_BYTES // first.element_size())
        offsets = [0]
        for parameter in parameters:
            offsets.append(offsets[-1] + -(-parameter.numel() // step) * step)
        self._flat = torch.zeros(offsets[-1] + len(parameters) + 1, dtype=first.dtype, device=first.device)
        self._tail = self._flat[offsets[-1] :]
        self._offsets = offsets
        self._views = [self._view(index) for index in range(len(parameters))]
        self._full_tail = torch.ones_like(self._tail)
        self._full_tail[-1] = 0.0
        self._wire = self._flat
        self._work: dist.Work | None = None
        self._graph_gradients: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._absent: list[int] = []

    def launch(self, group: dist.ProcessGroup, prescale: float, compression: type[Compressor]) -> None:
        """Take the gradients in, and start to sum the bucket over the workers, times `prescale`."""
        self._fill()
        self._flat.mul_(prescale)
        self._wire, _ = compression.compress(self._flat)
        wire = torch.view_as_real(self._wire) if self._wire.is_complex() else self._wire
        self._work = dist.all_reduce(wire, group=group, async_op=True)

    def finish(self, postscale: float) -> list[torch.Tensor]:
        """Wait for the sum, times `postscale`, and point the gradients at it.

        Returns
        -------
        list of Parameter
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
        return self._give_back() if self._absent else []

    def mean_note(self) -> float:
        """Return the mean of the workers' notes."""
        return float(self._tail[-1].real if self._tail.is_complex() else self._tail[-1])

    def _view(self, index: int) -> torch.Tensor:
        """Return a parameter's part of the buffer."""
        parameter = self.parameters[index]
        strides = parameter.stride() if _dense(parameter) else torch.empty(parameter.shape, device="meta").stride()
        return self._flat.as_strided(parameter.shape, strides, self._offsets[index])

    def _fill(self) -> None:
        """Copy in the gradients that are not views of this bucket, and point the parameters at their views."""
        self._absent.clear()
        start, size = self._flat.data_ptr(), self._flat.element_size()
        sources, targets = [], []
        flags = [1.0] * len(self.parameters)
        for index, (parameter, view) in enumerate(zip(self.parameters, self._views, strict=True)):
            gradient = parameter.grad
            if gradient is view:
                if view.data_ptr() == start + size * self._offsets[index]:
                    continue
                # `.grad.data = ...` has moved the view to another storage.
                view = self._views[index] = self._view(index)
            if gradient is None or (gradient.is_sparse and not self._sparse_as_dense):
                view.zero_()
                flags[index] = 0.0 if gradient is None else -1.0
                self._absent.append(index)
                continue
            sources.append(gradient.to_dense() if gradient.is_sparse else gradient.detach())
            targets.append(view)
            if gradient.requires_grad:
                self._graph_gradients.append((gradient, view))
            else:
                parameter.grad = view
        if sources:
            torch._foreach_copy_(targets, sources)
        if self._absent or self.note:
            self._tail.copy_(torch.tensor([*flags, self.note]))
        else:
            self._tail.copy_(self._full_tail)

    def _give_back(self) -> list[torch.Tensor]:
        """Settle the parameters that had no dense gradient here: give them the mean of those that had, if any."""
        flags = (self._tail.real if self._tail.is_complex() else self._tail).tolist()
        for index in self._absent:
            if flags[index] > 0:
                self.parameters[index].grad = self._views[index]
        return [self.parameters[index] for index in self._absent if flags[index] < 0]


def _dense(tensor: torch.Tensor) -> bool:
    """Return whether the strides fill the tensor's memory without holes, in whatever order."""
    expected = 1
    for stride, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length != 1 and stride != expected:
            return False
        expected *= length
    return True
