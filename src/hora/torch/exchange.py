"""Each worker shows the others a few bytes, so that they can agree on something before it matters.

Over the world this is an operation like any other. Over a group of an optimizer's own, one collective of a fixed size
carries what nearly always fits; what is longer takes a second one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

import torch
import torch.distributed as dist

from hora.torch.calls import Call
from hora.torch.exceptions import HorovodInternalError
from hora.torch.failure import engine_errors
from hora.torch.handles import ask
from hora.torch.world import Members, current

_SLOT = 1024
_PREFIX = 8


def exchange(
    data: bytes, what: str, members: Members | None = None, group: dist.ProcessGroup | None = None
) -> list[bytes]:
    """Return what each worker passed, in the order of the ranks.

    Parameters
    ----------
    data
        This worker's bytes, of any length.
    what
        What the exchange is for, as the message of a failure names it.
    members
        Whose bytes; by default all workers'.
    group
        The process group to use; by default it is negotiated as other operations are.

    Raises
    ------
    HorovodInternalError
        A worker is gone, did not come in time, or does something else.
    """
    members = members or current().members
    if group is None:
        calls = ask(Call(what, None, [], {}, own=base64.b64encode(data).decode()), members)
        return [base64.b64decode(call.own) for call in calls if call is not None]
    rows = _all_gather(len(data).to_bytes(_PREFIX, "little") + data[: _SLOT - _PREFIX], _SLOT, what, members, group)
    lengths = [int.from_bytes(row[:_PREFIX], "little") for row in rows]
    longest = max(lengths)
    if longest <= _SLOT - _PREFIX:
        return [row[_PREFIX : _PREFIX + length] for row, length in zip(rows, lengths, strict=True)]
    rows = _all_gather(data, longest, what, members, group)
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def agree(
    rows: Sequence[str], what: str, members: Members | None = None, group: dist.ProcessGroup | None = None
) -> None:
    """Check that every worker passed the same rows.

    Raises
    ------
    HorovodInternalError
        On every worker alike, naming the first worker that differs from the first of all, and the first row that does.
    """
    text = json.dumps(list(rows))
    digests = exchange(hashlib.sha256(text.encode()).digest(), what, members, group)
    if len(set(digests)) == 1:
        return
    ranks = (members or current().members).ranks
    everywhere = [json.loads(row) for row in exchange(text.encode(), what, members, group)]
    first = everywhere[0]
    other, theirs = next((rank, listed) for rank, listed in zip(ranks, everywhere, strict=True) if listed != first)
    place = next(
        (i for i, (a, b) in enumerate(zip(first, theirs, strict=False)) if a != b), min(len(first), len(theirs))
    )
    mine, its = (listed[place] if place < len(listed) else "nothing more" for listed in (first, theirs))
    raise HorovodInternalError(
        f"worker {current().rank}: {what}: the workers differ at entry {place}: worker {ranks[0]} has {mine}, "
        f"worker {other} has {its}"
    )


def _all_gather(data: bytes, length: int, what: str, members: Members, group: dist.ProcessGroup) -> list[bytes]:
    """Gather `length` bytes of every worker."""
    mine = torch.frombuffer(bytearray(data.ljust(length, b"\0")), dtype=torch.uint8).to(current().device)
    everywhere = [torch.empty_like(mine) for _ in members.ranks]
    with engine_errors(what, members):
        dist.all_gather(everywhere, mine, group=group)
    return [row.cpu().numpy().tobytes() for row in everywhere]
