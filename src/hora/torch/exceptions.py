"""What a collective raises when the engine below fails, under the name that Horovod's scripts catch."""

from __future__ import annotations


class HorovodInternalError(RuntimeError):
    """A collective failed: a worker is gone, the network broke, or the workers called different operations.

    The message names this worker, the operation, its name and its shape.
    """


class HostsUpdatedInterrupt(RuntimeError):  # noqa: N818 - Horovod's name
    """The set of hosts has changed: the workers end, and start anew from what they have committed.

    Parameters
    ----------
    skip_sync
        Horovod's: whether the workers that stay are equal already.
    """

    def __init__(self, skip_sync: bool = False) -> None:
        super().__init__("the set of hosts has changed")
        self.skip_sync = skip_sync
