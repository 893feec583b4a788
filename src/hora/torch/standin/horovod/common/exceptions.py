"""The exceptions that Horovod's scripts catch."""

from hora.torch.exceptions import HorovodInternalError, HostsUpdatedInterrupt

__all__ = ["HorovodInternalError", "HostsUpdatedInterrupt"]
