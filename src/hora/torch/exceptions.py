"""What a collective raises when the engine below fails, under the name that Horovod's scripts catch."""

from __future__ import annotations


class HorovodInternalError(RuntimeError):
    """A collective failed: a worker is gone, the network broke, or the workers called different operations.

    The message names this worker, the operation, its name and its shape.
    """
