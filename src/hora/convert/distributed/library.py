"""What the libraries for many workers are made of: their collectives, wrappers and samplers, by full names."""

from __future__ import annotations

import ast
from functools import lru_cache

from hora.convert.distributed.script import Script, keyword

COLLECTIVES = frozenset({
    *(f"dist.{name}" for name in (
        "all_reduce", "all_gather", "all_gather_object", "all_gather_into_tensor", "broadcast", "broadcast_object_list",
        "reduce", "reduce_scatter", "reduce_scatter_tensor", "barrier", "gather", "gather_object", "scatter",
        "scatter_object_list", "all_to_all", "all_to_all_single", "monitored_barrier",
    )),
    *(f"hvd.{name}{end}" for name in (
        "allreduce", "grouped_allreduce", "allgather", "grouped_allgather", "broadcast", "alltoall", "reducescatter",
    ) for end in ("", "_", "_async", "_async_")),
    "hvd.barrier", "hvd.join", "hvd.broadcast_parameters", "hvd.broadcast_optimizer_state", "hvd.broadcast_object",
    "hvd.allgather_object", "hvd.allreduce_object",
})  # fmt: skip
OF_ACCELERATOR = frozenset({"wait_for_everyone", "gather", "gather_for_metrics", "reduce", "save_state", "backward"})
WRAPPERS = (".DistributedDataParallel", ".FullyShardedDataParallel")
SAMPLER = ".DistributedSampler"
REDUCING = (
    "reduce", "gather", "metric_average", "average_", "synchronize", "sync", "broadcast", "scatter", "all_to_all",
    "torchmetrics", "global_", "dist_mean", "to_python_float", "join", "accumulate_metrics", "allreduce",
)  # fmt: skip
OTHER_WAYS = (
    "fully_shard", "parallelize_module", "DeviceMesh", "init_device_mesh", "deepspeed", "pipelin", "rpc", "fairscale",
    "PostLocalSGD", "ZeroRedundancy", "distribute_tensor", "megatron", "apex", "AsyncDataParallel", "comm_hook",
)  # fmt: skip


@lru_cache(maxsize=1 << 14)
def is_collective(script: Script, call: ast.Call) -> bool:
    """Whether every worker of the job must come to a call: a collective without a group of its own."""
    name = script.name(call.func)
    if any(one.arg in ("group", "process_set", "process_group") for one in call.keywords):
        return False
    if name in COLLECTIVES:
        return True
    return of_accelerator(script, call) in OF_ACCELERATOR


def of_accelerator(script: Script, call: ast.Call) -> str:
    """Give the name of the method that a call calls of an Accelerator, or nothing."""
    if not isinstance(call.func, ast.Attribute) or not script.calls_of("accelerate.Accelerator", ".Accelerator"):
        return ""
    made = script.made_by(call.func.value, "accelerate.Accelerator", ".Accelerator")
    return call.func.attr if made else ""


def reduces(script: Script, node: ast.AST) -> bool:
    """Whether something in a node brings values of the workers together, be it by a function that it calls."""
    known = reducing(script)
    return any(one in known for one in script.within(node))


@lru_cache(maxsize=16)
def reducing(script: Script) -> frozenset[ast.AST]:
    """Give the calls that bring values of the workers together, by what they are called."""
    return frozenset(
        node
        for node, name in script.calls
        if any(word in f"{name} {ast.unparse(node.func)}".lower() for word in REDUCING)
    )


def mentions(script: Script, *words: str) -> bool:
    """Whether one of the words is somewhere in the text."""
    return any(word in script.source.text for word in words)


def wrapped(script: Script) -> dict[ast.Call, ast.expr]:
    """Give the calls that wrap a network, each with what it wraps."""
    found = {}
    for call in script.calls_of(*WRAPPERS, "DistributedDataParallel", "FullyShardedDataParallel"):
        inner = keyword(call, "module", 0)
        if inner is not None:
            found[call] = inner
    return found


def optimizers(script: Script) -> list[ast.Call]:
    """Give the calls that make an optimizer of torch."""
    return [
        node
        for node, name in script.calls
        if name.startswith("torch.optim.") and not name.startswith(("torch.optim.lr_scheduler.", "torch.optim.swa_"))
        and name.rpartition(".")[2][:1].isupper()
    ]  # fmt: skip


def stepped(script: Script, optimizer: ast.Call) -> list[ast.Call]:
    """Give the calls that take an optimizer's step."""
    found = []
    for node, _ in script.calls:
        if not (isinstance(node.func, ast.Attribute) and node.func.attr == "step"):
            continue
        if any(optimizer in script.origins(one) for one in (node.func.value, *node.args[:1])):
            found.append(node)
    return found


def samplers(script: Script) -> list[ast.Call]:
    """Give the calls that make a DistributedSampler of torch."""
    return [
        node
        for node, name in script.calls
        if (name.endswith(SAMPLER) and name.startswith("torch.")) or name == "torch.utils.data.DistributedSampler"
    ]


def loaders(script: Script) -> list[ast.Call]:
    """Give the calls that make a DataLoader of torch."""
    return [node for node, name in script.calls if name.startswith("torch.utils.data.") and name.endswith("DataLoader")]
