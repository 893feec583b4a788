"""The words of a target: what a script imports there, and what it writes for each function of ``hora.torch``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from hora.convert.program import Program


@dataclass(frozen=True)
class Words:
    """The words of a target.

    Attributes
    ----------
    target
        Its name.
    module
        What a script imports; a name for it stands for ``{name}`` in what follows.
    names
        Names for it, the first of which the script does not use is taken; none where it keeps that of Hora's runtime.
    said
        What is written for the call of a function of ``hora.torch``, or the name of what the script gets for it.
    functions
        What the script gets where it needs it, by the names in ``said``.
    options
        What DistributedSampler must be told besides the dataset.
    ending
        The last line of the script, or nothing.
    """

    target: str
    module: str
    names: tuple[str, ...]
    said: dict[str, str]
    functions: dict[str, str]
    options: str = ""
    ending: str = ""

    def in_string(self, what: str, name: str, text: str) -> str:
        """Give what is written for a function inside a formatted string, whose text is given: it may not end that."""
        word = self.said[what].format(name=name)
        if "environ" not in word:
            return word
        # What is put into a text need not be made a number.
        return word.removeprefix("int(").removesuffix(")").replace('"', "'" if '"' in text else '"')

    def name_in(self, program: Program) -> str:
        """Give the name that a script has, or will have, for the module."""
        return program.fresh(*self.names) if self.names else program.runtime


@dataclass
class Needs:
    """What a translation needs in each file: functions, by their names in ``said``, and imports."""

    functions: defaultdict[Path, set[str]] = field(default_factory=lambda: defaultdict(set))
    samplers: set[Path] = field(default_factory=set)
    wrappers: set[Path] = field(default_factory=set)


_SUM = '''def {function}(value):
    """Add up a number, a tensor or an array over the workers."""
    total = torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None).clone()
    {reduce}
    if torch.is_tensor(value):
        return total
    return total.numpy() if total.dim() else total.item()
'''
_MEAN = '''def {function}(value):
    """Average a number, a tensor or an array over the workers."""
    return {sum}(value) / {size}
'''

_SHARE = '''def {function}(loader):
    """Give this worker its share of a loader's batches, in an order that all workers agree on."""
    if not isinstance(loader.sampler, (torch.utils.data.RandomSampler, torch.utils.data.SequentialSampler)):
        raise TypeError(f"{{type(loader.sampler).__name__}} is not one that DistributedSampler can stand for")
    shuffle = isinstance(loader.sampler, torch.utils.data.RandomSampler)
    return torch.utils.data.DataLoader(
        loader.dataset,
        batch_size=loader.batch_size // {size},
        sampler=DistributedSampler(loader.dataset, shuffle=shuffle{options}),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        worker_init_fn=loader.worker_init_fn,
        persistent_workers=loader.persistent_workers,
    )
'''

HOROVOD = Words(
    "horovod",
    "horovod.torch",
    (),
    {
        "rank": "{name}.rank()",
        "local_rank": "{name}.local_rank()",
        "size": "{name}.size()",
        "sum": "sum_over_workers",
        "mean": "mean_over_workers",
        "share": "share_of",
    },
    {
        "share_of": _SHARE,
        "sum_over_workers": _SUM.replace("{reduce}", "total = {name}.allreduce(total, op={name}.Sum)"),
        "mean_over_workers": _MEAN,
    },
    options=", num_replicas={name}.size(), rank={name}.rank()",
)

DDP = Words(
    "ddp",
    "torch.distributed",
    ("dist", "distributed"),
    {
        "init": "{name}.init_process_group()",
        "rank": "{name}.get_rank()",
        "local_rank": 'int(os.environ["LOCAL_RANK"])',
        "size": "{name}.get_world_size()",
        "barrier": "{name}.barrier()",
        "sum": "sum_over_workers",
        "mean": "mean_over_workers",
        "share": "share_of",
        "broadcast": "from_worker_0",
        "broadcast_object": "object_from_worker_0",
    },
    {
        "share_of": _SHARE,
        "sum_over_workers": _SUM.replace("{reduce}", "{name}.all_reduce(total)"),
        "mean_over_workers": _MEAN,
        "from_worker_0": '''def {function}(tensor):
    """Give every worker the tensor that worker 0 has."""
    tensor = tensor.contiguous()
    {name}.broadcast(tensor, src=0)
    return tensor
''',
        "object_from_worker_0": '''def {function}(value):
    """Give every worker the object that worker 0 has."""
    values = [value]
    {name}.broadcast_object_list(values, src=0)
    return values[0]
''',
    },
    # A group that is taken apart right after its last operation may abort the process (torch 2.13, Gloo).
    ending="{name}.barrier()\n{name}.destroy_process_group()",
)

WORDS = {words.target: words for words in (HOROVOD, DDP)}
"""The words of each target."""
