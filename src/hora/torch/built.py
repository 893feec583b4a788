"""What the torch at hand was built with, under Horovod's names."""

from __future__ import annotations

import torch
import torch.distributed as dist

from hora.torch.world import current


def mpi_built() -> bool:
    """Return whether this torch has the MPI engine."""
    return dist.is_mpi_available()


def gloo_built() -> bool:
    """Return whether this torch has the Gloo engine."""
    return dist.is_gloo_available()


def nccl_built() -> bool:
    """Return whether this torch has the NCCL engine."""
    return dist.is_nccl_available()


def ccl_built() -> bool:
    """Return whether this torch has the engine for Intel's accelerators."""
    return dist.is_xccl_available()


def ddl_built() -> bool:
    """Return False: torch has no engine for IBM's DDL."""
    return False


def cuda_built() -> bool:
    """Return whether this torch was built for CUDA."""
    return torch.version.cuda is not None


def rocm_built() -> bool:
    """Return whether this torch was built for ROCm."""
    return torch.version.hip is not None


def gloo_enabled() -> bool:
    """Return whether Gloo carries this world's tensors on the CPU."""
    return "gloo" in _engines()


def mpi_enabled() -> bool:
    """Return whether MPI carries this world's tensors."""
    return "mpi" in _engines()


def mpi_threads_supported() -> bool:
    """Return False: torch's MPI engine lets one thread at a time communicate."""
    current()
    return False


def _engines() -> str:
    """Name the engines of the world's process group; none where there is one worker."""
    group = current().group
    return "" if group is None else dist.get_backend_config(group)
