"""Runs a schedule for real, on torch.distributed's send and receive."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from hora.learn.schedules import Message, Schedule


def all_reduce(schedule: Schedule, vector: Tensor, group: dist.ProcessGroup | None = None) -> None:
    """Replace `vector` by its sum over the workers of `group`, in place, by the rounds of a schedule."""
    rank = dist.get_rank(group)
    parts = vector.tensor_split(schedule.parts)
    for messages in schedule.rounds:
        sent = [_send(message, parts[message.part], group) for message in messages if message.source == rank]
        got = [message for message in messages if message.target == rank]
        buffers = [torch.empty_like(parts[message.part]) for message in got]
        received = [_receive(message, buffer, group) for message, buffer in zip(got, buffers, strict=True)]
        for work in (*sent, *received):
            if work is not None:
                work.wait()
        for message, buffer in zip(got, buffers, strict=True):
            part = parts[message.part]
            part.copy_(part + buffer if message.adds else buffer)


def _send(message: Message, part: Tensor, group: dist.ProcessGroup | None) -> dist.Work | None:
    return dist.isend(part.clone(), group=group, group_dst=message.target)


def _receive(message: Message, buffer: Tensor, group: dist.ProcessGroup | None) -> dist.Work | None:
    return dist.irecv(buffer, group=group, group_src=message.source)
