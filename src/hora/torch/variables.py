"""Horovod's variables: those with a meaning here set Hora's own, the others are named once.

Variables for stalls and for the timeline are read where they are needed, under either name.
"""

from __future__ import annotations

import os
import sys

# What decides nothing here, of the variables that Horovod reads while it runs.
_WITHOUT_MEANING = (
    "HOROVOD_ADASUM_MPI_CHUNK_SIZE",
    "HOROVOD_AUTOTUNE",
    "HOROVOD_AUTOTUNE_BAYES_OPT_MAX_SAMPLES",
    "HOROVOD_AUTOTUNE_GAUSSIAN_PROCESS_NOISE",
    "HOROVOD_AUTOTUNE_LOG",
    "HOROVOD_AUTOTUNE_STEPS_PER_SAMPLE",
    "HOROVOD_AUTOTUNE_WARMUP_SAMPLES",
    "HOROVOD_BATCH_D2D_MEMCOPIES",
    "HOROVOD_CACHE_CAPACITY",
    "HOROVOD_CCL_CACHE",
    "HOROVOD_CONTROLLER",
    "HOROVOD_CPU_OPERATIONS",
    "HOROVOD_CYCLE_TIME",
    "HOROVOD_DISABLE_GROUP_FUSION",
    "HOROVOD_DISABLE_NVTX_RANGES",
    "HOROVOD_ENABLE_ASYNC_COMPLETION",
    "HOROVOD_HIERARCHICAL_ALLGATHER",
    "HOROVOD_HIERARCHICAL_ALLREDUCE",
    "HOROVOD_LOG_LEVEL",
    "HOROVOD_MPI_THREADS_DISABLE",
    "HOROVOD_NUM_NCCL_STREAMS",
    "HOROVOD_THREAD_AFFINITY",
    "HOROVOD_TORUS_ALLREDUCE",
)

_told = False


def honour() -> None:
    """Do what Horovod's variables say where Hora's own do not, and name those that decide nothing, on worker 0.

    HOROVOD_FUSION_THRESHOLD (bytes) is HORA_BUCKET_MB, HOROVOD_GLOO_TIMEOUT_SECONDS is HORA_TIMEOUT_SECONDS, and
    HOROVOD_GLOO_IFACE is GLOO_SOCKET_IFNAME.
    """
    global _told
    threshold = os.environ.get("HOROVOD_FUSION_THRESHOLD", "")
    if threshold.isdecimal():
        # None fused: each parameter fills a bucket.
        os.environ.setdefault("HORA_BUCKET_MB", repr(max(1, int(threshold)) / 2**20))
    for theirs, ours in (
        ("HOROVOD_GLOO_TIMEOUT_SECONDS", "HORA_TIMEOUT_SECONDS"),
        ("HOROVOD_GLOO_IFACE", "GLOO_SOCKET_IFNAME"),
    ):
        if os.environ.get(theirs):
            os.environ.setdefault(ours, os.environ[theirs])
    idle = [name for name in _WITHOUT_MEANING if os.environ.get(name)]
    if idle and not _told and os.environ.get("RANK", "0") == "0":
        print(f"hora: without meaning here: {', '.join(idle)}", file=sys.stderr)
    _told = True
