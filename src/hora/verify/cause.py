"""Which rule a pattern of differences points to, and what to do about it.

What differs says little; *how* it differs says more: by what factor, in which steps, in which layers, on which
workers. Each function here reads one kind of difference and returns a rule's code, None where no rule explains it.
"""

from __future__ import annotations

from hora.script.events import BatchLoaded, OptimizerStepped
from hora.verify import agreement, coverage
from hora.verify.evidence import Evidence
from hora.verify.reference import TensorDifference
from hora.verify.result import Quantity

_ADVICE = {
    "HR201": "Deal the training loader: loader = hvd.deal(loader)",
    "HR202": "Reshuffle in each epoch: sampler.set_epoch(epoch), or deal the loader with hvd.deal",
    "HR203": "Count each evaluated sample once: deal the loader with hvd.deal, which pads nothing",
    "HR204": "Let each worker have its share of the stream: loader = hvd.deal(loader)",
    "HR206": "Weigh the loss by the worker's share: (loss * loader.weight).backward()",
    "HR301": "Wrap each optimizer that steps: optimizer = hvd.DistributedOptimizer(optimizer)",
    "HR302": "Start all workers alike: hvd.broadcast_parameters(model.state_dict(), root_rank=0)",
    "HR303": "Keep the scale of the loss: gradients are averaged over the workers, once",
    "HR310": "Keep BatchNorm's statistics alike: torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)",
    "HR401": "Keep the learning rate of one worker where the global batch is kept",
    "HR402": "Count epochs and schedules in global batches, as one worker does",
    "HR502": "Draw permutations from one random state on all workers: deal the loader with hvd.deal",
    "HR503": "Seed the noise of each worker for itself: torch.manual_seed(torch.initial_seed() + hvd.rank())",
    "HR601": "Reduce the metric over the workers before it is printed or kept: hvd.allreduce(total, op=hvd.Sum)",
    "HR603": "Let worker 0 write: if hvd.rank() == 0",
}

# Where the global batch grows with the workers.
_ADVICE_IF_WEAK = {
    "HR201": 'Deal the training loader: loader = hvd.deal(loader, scaling="weak")',
    "HR401": "Take N times the rate, reached over the first epochs: hora convert --scaling weak writes how",
}

# Guesses that fall where `convert` reads the script and finds the rule kept.
REFUTABLE = frozenset({"HR206"})

# Several ratios that are one: what is left of rounding.
_SAME = 1e-3


_SAVE_WHOLE = "Let the worker that saves save all that one worker does, and no wrapper: model.module.state_dict()"


def advice(code: str | None, *, weak: bool = False, quantity: Quantity | None = None) -> str:
    """What to do about a rule that explains a difference, or about what differs where no rule does."""
    if code is None and quantity == "contents":
        return _SAVE_WHOLE
    if weak and code in _ADVICE_IF_WEAK:
        return _ADVICE_IF_WEAK[code]
    return _ADVICE.get(code or "", "Look at what the script computes at that place, and hora convert --diff")


def of_rate(step: int, rank: int, *, weak: bool) -> str:
    """The rule behind a learning rate that is another from `step` on, first on worker `rank`."""
    if rank > 0:
        return "HR302"
    # A warm-up begins at the rate of one batch, so that one that is left out shows only in the second step.
    return "HR401" if step == 0 or weak else "HR402"


def of_tensor(evidence: Evidence, first: TensorDifference, over: list[TensorDifference]) -> tuple[str | None, str]:
    """The rule behind the `first` of the tensors that are out of the noise (`over`), and the pattern in words."""
    if first.quantity == "initial parameters":
        return "HR302", ""
    if first.quantity == "buffer":
        return "HR310", ""
    if first.quantity != "gradient":
        return None, ""
    wrong = [d for d in over if d.quantity == "gradient"]
    if agreement.disagreement(evidence.free) is not None:
        return "HR301", _where(evidence, wrong)
    workers = evidence.replayed.workers
    ratio = _common_ratio(wrong)
    for factor, words in ((workers, f"{workers} times"), (1 / workers, f"1/{workers} of")):
        if ratio is not None and abs(ratio / factor - 1) < _SAME:
            return "HR303", f"; every gradient that differs is {words} one worker's"
    uneven = _uneven_steps(evidence)
    if {d.step for d in wrong} <= uneven:
        some = len(uneven) < len(evidence.reference.steps())
        return "HR206", "; only steps differ whose global batch has no equal slices" if some else ""
    return None, _where(evidence, wrong)


def of_print(evidence: Evidence) -> tuple[str, str]:
    """The rule behind a printed number, where all that was computed before agrees."""
    padded = coverage.padded(evidence.reference, evidence.free)
    if padded is not None:
        loader, one, several = padded
        return "HR203", f"; the workers together evaluate {several} samples of {loader}, and one worker {one}"
    return "HR601", ""


def _common_ratio(differences: list[TensorDifference]) -> float | None:
    """The factor by which all differ, None where there is no such factor."""
    ratios = [d.ratio for d in differences]
    known = [ratio for ratio in ratios if ratio is not None]
    if not known or len(known) < len(ratios):
        return None
    return known[0] if all(abs(ratio / known[0] - 1) < _SAME for ratio in known) else None


def _where(evidence: Evidence, wrong: list[TensorDifference]) -> str:
    """Which of the gradients are concerned, if not all are."""
    names = {d.tensor for d in evidence.differences if d.quantity == "gradient"}
    concerned = sorted({d.tensor for d in wrong})
    if len(concerned) == len(names):
        return ""
    shown = ", ".join(concerned[:3]) + (", ..." if len(concerned) > 3 else "")
    return f"; {len(concerned)} of {len(names)} gradients differ at all: {shown}"


def _uneven_steps(evidence: Evidence) -> set[int]:
    """The steps whose global batch the workers cannot share in equal slices."""
    batches = {(loader, number): batches for loader, number, batches in evidence.reference.training_passes()}
    uneven: set[int] = set()
    size = 0
    for event in evidence.reference.events[0]:
        if isinstance(event, BatchLoaded) and (event.loader, event.number) in batches:
            size = len(event.samples)
        elif isinstance(event, OptimizerStepped) and size % evidence.replayed.workers:
            uneven.add(event.step)
    return uneven
