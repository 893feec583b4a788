"""The runtime: Horovod's API on torch.distributed, used as ``import hora.torch as hvd``."""

from hora.torch import elastic
from hora.torch.at_hand import loader, total
from hora.torch.broadcast import broadcast_optimizer_state, broadcast_parameters
from hora.torch.broadcasting import barrier, broadcast, broadcast_, broadcast_async, broadcast_async_
from hora.torch.built import (
    ccl_built,
    cuda_built,
    ddl_built,
    gloo_built,
    gloo_enabled,
    mpi_built,
    mpi_enabled,
    mpi_threads_supported,
    nccl_built,
    rocm_built,
)
from hora.torch.compression import Compression
from hora.torch.deal import deal
from hora.torch.exceptions import HorovodInternalError, HostsUpdatedInterrupt
from hora.torch.exchanging import alltoall, alltoall_async
from hora.torch.gathering import allgather, allgather_async, grouped_allgather, grouped_allgather_async
from hora.torch.handles import poll, synchronize
from hora.torch.joining import join
from hora.torch.objects import allgather_object, broadcast_object
from hora.torch.optimizer import DistributedOptimizer
from hora.torch.process_sets import ProcessSet, add_process_set, global_process_set, remove_process_set
from hora.torch.reducing import (
    allreduce,
    allreduce_,
    allreduce_async,
    allreduce_async_,
    grouped_allreduce,
    grouped_allreduce_,
    grouped_allreduce_async,
    grouped_allreduce_async_,
)
from hora.torch.rounds import init, shutdown
from hora.torch.scattering import (
    grouped_reducescatter,
    grouped_reducescatter_async,
    reducescatter,
    reducescatter_async,
)
from hora.torch.sparse import sparse_allreduce_async
from hora.torch.sync_batch_norm import SyncBatchNorm
from hora.torch.timeline import start_timeline, stop_timeline
from hora.torch.wire import Adasum, Average, Max, Min, Product, Sum
from hora.torch.world import (
    cross_rank,
    cross_size,
    is_homogeneous,
    is_initialized,
    local_rank,
    local_size,
    rank,
    size,
)

__all__ = [
    "Adasum",
    "Average",
    "Compression",
    "DistributedOptimizer",
    "HorovodInternalError",
    "HostsUpdatedInterrupt",
    "Max",
    "Min",
    "ProcessSet",
    "Product",
    "Sum",
    "SyncBatchNorm",
    "add_process_set",
    "allgather",
    "allgather_async",
    "allgather_object",
    "allreduce",
    "allreduce_",
    "allreduce_async",
    "allreduce_async_",
    "alltoall",
    "alltoall_async",
    "barrier",
    "broadcast",
    "broadcast_",
    "broadcast_async",
    "broadcast_async_",
    "broadcast_object",
    "broadcast_optimizer_state",
    "broadcast_parameters",
    "ccl_built",
    "cross_rank",
    "cross_size",
    "cuda_built",
    "ddl_built",
    "deal",
    "elastic",
    "global_process_set",
    "gloo_built",
    "gloo_enabled",
    "grouped_allgather",
    "grouped_allgather_async",
    "grouped_allreduce",
    "grouped_allreduce_",
    "grouped_allreduce_async",
    "grouped_allreduce_async_",
    "grouped_reducescatter",
    "grouped_reducescatter_async",
    "init",
    "is_homogeneous",
    "is_initialized",
    "join",
    "loader",
    "local_rank",
    "local_size",
    "mpi_built",
    "mpi_enabled",
    "mpi_threads_supported",
    "nccl_built",
    "poll",
    "rank",
    "reducescatter",
    "reducescatter_async",
    "remove_process_set",
    "rocm_built",
    "shutdown",
    "size",
    "sparse_allreduce_async",
    "start_timeline",
    "stop_timeline",
    "synchronize",
    "total",
]
