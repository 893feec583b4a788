"""Conversions that are wrong in a known way: one rule left out, or a bug that is no rule's absence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hora.convert import convert

EXAMPLES = Path(__file__).parents[2] / "examples"

# Without them the script prints more, or fails at once, and computes the same.
_COMPUTE_THE_SAME = frozenset({"HR101", "HR102", "HR602"})
_REDUNDANT_WITH_A_SEED = frozenset({"HR302", "HR502"})

Edit = tuple[str, str]

# Three workers share none of the examples' batches equally, and no worker is the last.
WORKERS = 3


@dataclass(frozen=True)
class Example:
    """An example, arguments for a short run, and the line that seeds it."""

    script: str
    arguments: tuple[str, ...]
    seeding: str

    @property
    def path(self) -> Path:
        """The script for one device."""
        return EXAMPLES / f"{self.script}.py"


@dataclass(frozen=True)
class Case:
    """A wrong conversion.

    Attributes
    ----------
    name
        The rule that is left out, or the bug in a few words.
    expected
        The codes that name it right; empty where no rule does.
    original, converted
        The texts of both scripts.
    workers
        On how many it shows.
    """

    example: Example
    name: str
    expected: frozenset[str]
    original: str
    converted: str
    workers: int = WORKERS


DIGITS = Example("vision/digits", ("--quick",), "    torch.manual_seed(args.seed)\n")
FASHION = Example(
    "vision/fashion_mnist",
    ("--depth", "10", "--width", "1", "--epochs", "2", "--images", "1000", "--batch-size", "32"),
    "    torch.manual_seed(args.seed)\n",
)
CHAR_LM = Example("text/char_lm", ("--quick",), "    torch.manual_seed(args.seed)\n")
DCGAN = Example("gan/dcgan", ("--epochs", "2"), "    torch.manual_seed(args.seed)\n")
MASKED_LM = Example("text/masked_lm", ("--quick",), "    torch.manual_seed(1)\n")
TONES = Example("audio/tones", ("--epochs", "2", "--tones", "100"), "    torch.manual_seed(1)\n")
CLIPS = Example("video/clips", ("--epochs", "2", "--clips", "100"), "    torch.manual_seed(1)\n")
HIGH_RESOLUTION = Example(
    "vision/high_resolution", ("--epochs", "2", "--images", "24", "--side", "64"), "    torch.manual_seed(args.seed)\n"
)


def seeded(example: Example, seed: int) -> str:
    """The text of an example that draws other weights, orders and noise."""
    return _replaced(
        example.path.read_text(encoding="utf-8"), (example.seeding, f"    torch.manual_seed({1000 + seed})\n")
    )


def left_out(example: Example, directory: Path) -> Iterator[Case]:
    """Each rule that changes what is computed, left out of the conversion.

    Where a seed makes a rule redundant, the example loses it.
    """
    unseeded = directory / example.path.name
    unseeded.write_text(_replaced(example.path.read_text(encoding="utf-8"), (example.seeding, "")), encoding="utf-8")
    for code in sorted({edit.code for edit in convert(example.path).edits} - _COMPUTE_THE_SAME):
        without = convert(unseeded if code in _REDUNDANT_WITH_A_SEED else example.path, skip={code})
        # Where the example draws its data, HR502 seeds it, and the weights that are drawn then are alike.
        redundant = code == "HR302" and any(edit.code == "HR502" for edit in without.edits)
        if not without.refusals and not redundant:
            yield Case(example, f"without {code}", frozenset({code}), without.original, without.converted)


_BACKWARD = "        (loss * loader.weight).backward()\n"
_STEP = "        optimizer.step()\n"
_FORWARD = "        x = F.relu(self.fc1(x.flatten(1)))\n"
_OPTIMIZER = "    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)\n"
_EQUALISED = "    hvd.broadcast_optimizer_state(optimizer, root_rank=0)\n"
_EVALUATED = "        test_loss, accuracy = evaluate(model, test_loader, device)\n"
_SCHEDULER = "    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)\n"
_MOVED = "        images, labels = images.to(device), labels.to(device)\n        optimizer.zero_grad()\n"
_DEALT_TEST = "    test_loader = hvd.deal(test_loader, evaluation=True)\n"
_SAMPLED_TEST = """\
    from torch.utils.data.distributed import DistributedSampler
    sampler = DistributedSampler(test_set, hvd.size(), hvd.rank(), shuffle=False)
    test_loader = DataLoader(test_set, batch_size=256, sampler=sampler)
"""
_AVERAGED_AGAIN = "        for p in model.parameters():\n            p.grad /= hvd.size()\n"
_NOISE = "        images = images + 0.3 * torch.randn_like(images)\n"
_STALE = """\
        fresh = [p.grad.clone() for p in model.parameters()]
        for p, stale in zip(model.parameters(), train.__dict__.get("stale", fresh)):
            p.grad.copy_(stale)
        train.stale = fresh
"""
_SKIPS = """\
        if hvd.rank() == 1 and not total:
            total += 1e-9
            continue
"""


def bugs() -> Iterator[Case]:
    """What a colleague's conversion of the digits may do wrong although each rule seems to be kept."""
    original = DIGITS.path.read_text(encoding="utf-8")
    converted = convert(DIGITS.path).converted

    def case(
        name: str,
        expected: str,
        *edits: tuple[str, str],
        both: tuple[tuple[str, str], ...] = (),
        workers: int = WORKERS,
    ) -> Case:
        one, several = _replaced(original, *both), _replaced(converted, *both, *edits)
        return Case(DIGITS, name, frozenset(expected.split()), one, several, workers)

    yield case("loss divided twice", "HR303", ("loader.weight).backward", "loader.weight / hvd.size()).backward"))
    yield case("gradients averaged twice", "HR303", (_BACKWARD, _BACKWARD + _AVERAGED_AGAIN))
    yield case(
        "one seed on all workers' augmentation",
        "HR501 HR503",
        both=((_MOVED, _MOVED + _NOISE),),
    )
    yield case(
        "stale rate after a resume on all but worker 0",
        "HR302",
        (_EQUALISED, _EQUALISED + "    optimizer.param_groups[0]['lr'] *= 0.1 if hvd.rank() else 1\n"),
    )
    yield case("a parameter group missing", "HR301", (_OPTIMIZER, _OPTIMIZER.replace("model.p", "model.fc1.p")))
    yield case(
        "a scheduler stepped N times",
        "HR402",
        ("        scheduler.step()\n", "        for _ in range(hvd.size()):\n            scheduler.step()\n"),
        both=((_OPTIMIZER, _OPTIMIZER + _SCHEDULER), (_EVALUATED, _EVALUATED + "        scheduler.step()\n")),
    )
    yield case("evaluation on padded data", "HR203", (_DEALT_TEST, _SAMPLED_TEST), workers=2)
    yield case("a branch on the rank in the model", "", (_FORWARD, _FORWARD + "        x = x * (1 + hvd.rank() / 9)\n"))
    yield case("a stale view of the gradients", "", (_STEP, _STALE + _STEP))
    yield case("a worker that skips a batch", "", (_MOVED, _SKIPS + _MOVED))


def _replaced(text: str, *edits: Edit) -> str:
    for old, new in edits:
        if text.count(old) != 1:
            raise ValueError(f"{text.count(old)} places, not one, hold {old!r}")
        text = text.replace(old, new)
    return text
