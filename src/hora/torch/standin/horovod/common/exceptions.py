"""The exceptions that Horovod's scripts catch."""

from hora.torch.exceptions import HorovodInternalError

__all__ = ["HorovodInternalError"]
