"""Names for process groups of some of the workers: the one place that touches the private side of torch's own naming.

Torch names such a group by its ranks and by how many groups *this worker* has made, which differs where one is in
more sets than another; they then wait for each other under different names until the time is out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.distributed import distributed_c10d


@contextmanager
def named_by_ranks() -> Iterator[None]:
    """Let torch name a group of some of the workers by its ranks, and by how many groups of just these there are."""
    before = distributed_c10d._hash_ranks_to_str
    distributed_c10d._hash_ranks_to_str = _name
    try:
        yield
    finally:
        distributed_c10d._hash_ranks_to_str = before


def count_anew() -> None:
    """Let torch number the groups of all workers from 0 again.

    It numbers an attempt to connect that has failed, too, which not every worker has come to.
    """
    distributed_c10d._world.group_count = 0


def _name(ranks: Sequence[int]) -> str:
    """Name a group; who is in it has made all the earlier ones of the same ranks, so the count is alike."""
    own = f"hora_{'_'.join(map(str, ranks))}#"
    return f"{own}{sum(name.startswith(own) for name in distributed_c10d._world.pg_names.values())}"
