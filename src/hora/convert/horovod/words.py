"""What a script that was written for Horovod says in torch's own words."""

from __future__ import annotations

from hora.convert.targets.words import Words

WORDS = Words(
    "ddp",
    "torch.distributed",
    ("dist", "distributed"),
    {
        # Without a backend it is NCCL for tensors on a GPU and Gloo for those on the CPU, and scripts reduce both.
        "init": "{name}.init_process_group()",
        "shutdown": "{name}.destroy_process_group()",
        "is_initialized": "{name}.is_initialized()",
        "barrier": "{name}.barrier()",
        "rank": "{name}.get_rank()",
        "size": "{name}.get_world_size()",
        "local_rank": 'int(os.environ["LOCAL_RANK"])',
        "local_size": 'int(os.environ["LOCAL_WORLD_SIZE"])',
        "nccl_built": "{name}.is_nccl_available()",
        "gloo_built": "{name}.is_gloo_available()",
        "mpi_built": "{name}.is_mpi_available()",
    },
    {
        "average_over_workers": '''def {function}(tensor):
    """Average a tensor over the workers; integers lose their fraction."""
    total = tensor.detach().clone()
    {name}.all_reduce(total)
    return torch.div(total, {size}, rounding_mode=None if total.is_floating_point() else "trunc")
''',
        "sum_over_workers": '''def {function}(tensor):
    """Add up a tensor over the workers."""
    total = tensor.detach().clone()
    {name}.all_reduce(total)
    return total
''',
        "rows_of_workers": '''def {function}(tensor):
    """Give the rows of all workers' tensors, in the order of the workers; their numbers may differ."""
    tensors = [None] * {size}
    {name}.all_gather_object(tensors, tensor.detach().cpu())
    return torch.cat(tensors).to(tensor.device)
''',
        "tensor_from_worker": '''def {function}(tensor, root_rank):
    """Give every worker the tensor that one of them has."""
    tensor = tensor.detach().clone()
    {name}.broadcast(tensor, src=root_rank)
    return tensor
''',
        "object_from_worker": '''def {function}(obj, root_rank=0):
    """Give every worker the object that one of them has."""
    objects = [obj]
    {name}.broadcast_object_list(objects, src=root_rank)
    return objects[0]
''',
        "objects_of_workers": '''def {function}(obj):
    """Give every worker the objects of all, in the order of the workers."""
    objects = [None] * {size}
    {name}.all_gather_object(objects, obj)
    return objects
''',
        "add_up": '''def {function}(state, bucket):
    """Add up a bucket of gradients over the workers, which DistributedDataParallel would average."""
    reduced = {name}.all_reduce(bucket.buffer(), async_op=True)
    return reduced.get_future().then(lambda future: future.value()[0])
''',
    },
    # A group that is taken apart right after its last operation may abort the process (torch 2.13, Gloo).
    ending="{name}.barrier()\n{name}.destroy_process_group()",
)
"""Torch's own words, and the functions that a script gets where it has none."""

HOOKS = {"fp16": "fp16_compress_hook", "bf16": "bf16_compress_hook", "none": "allreduce_hook"}
"""For each way to compress gradients, torch's hook that sends them so."""
