"""Training that outlives its workers, with Horovod's names: `hvd.elastic.run`, `TorchState`, `ElasticSampler`."""

from hora.torch.elastic.handlers import get_handler_registry, set_handler_registry
from hora.torch.elastic.running import RESTART, run
from hora.torch.elastic.sampler import ElasticSampler
from hora.torch.elastic.state import ObjectState, State, TorchState
from hora.torch.exceptions import HorovodInternalError, HostsUpdatedInterrupt

__all__ = [
    "RESTART",
    "ElasticSampler",
    "HorovodInternalError",
    "HostsUpdatedInterrupt",
    "ObjectState",
    "State",
    "TorchState",
    "get_handler_registry",
    "run",
    "set_handler_registry",
]
