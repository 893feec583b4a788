"""Loops over the samples of a batch: what is one sample's, what adds up over all, what is left to the next."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from hora.convert import convert

SCRIPT = """
import torch
import torch.nn.functional as F

torch.manual_seed(0)
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = torch.utils.data.TensorDataset(torch.randn(57, 4), torch.randint(3, (57,)))
loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
for inputs, targets in loader:
    output = model(inputs)
{body}
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
SUMMED = 'loss = F.cross_entropy(output, targets, reduction="sum") / {count}'
MEANS = {
    "added up by place": "loss = 0\nfor i in range(len(output)):\n    loss += F.cross_entropy(output[i], targets[i])\n"
    "loss = loss / len(output)",
    "slices of one": "loss = 0\nfor i in range(inputs.size(0)):\n"
    "    loss = loss + F.cross_entropy(output[i:i + 1], targets[i:i + 1])\nloss = loss / inputs.size(0)",
    "listed": "losses = []\nfor o, t in zip(output, targets):\n    losses.append(F.cross_entropy(o, t))\n"
    "loss = torch.stack(losses).mean()",
    "comprehension": "losses = [F.cross_entropy(o, t) for o, t in zip(output, targets)]\n"
    "loss = sum(losses) / len(losses)",
    "listed twice": "pairs = list(zip(output, targets))\n"
    "loss = sum(F.cross_entropy(o, t) for o, t in pairs) / len(pairs)",
    "generator": "def each():\n    for o, t in zip(output, targets):\n        yield F.cross_entropy(o, t)\n"
    "losses = list(each())\nloss = sum(losses) / len(losses)",
    "mapped": "losses = list(map(lambda o: o.pow(2).sum(), output))\nloss = torch.stack(losses).mean()",
    "in a function": "def along(o, t):\n    total = 0\n    for k in range(3):\n        total = total + o[k] * t\n"
    "    return total\nloss = sum(along(o, t) for o, t in zip(output, targets)) / len(targets)",
    "written in place": "masked = output.clone()\nfor i, o in enumerate(output):\n    masked[i, 0] = o[1].detach()\n"
    "loss = F.cross_entropy(masked, targets)",
    "network for one": "outs = []\nfor x in inputs:\n    outs.append(model(x))\n"
    "loss = F.cross_entropy(torch.stack(outs), targets)",
    "counted": "count = 0\nfor o in output:\n    count += 1\n" + SUMMED.format(count="count"),
    "counted by place": "count = 0\nfor i in range(len(output)):\n    count = count + 1\n"
    + SUMMED.format(count="count"),
    "list of names": 'names = ["sample" for o in output]\n' + SUMMED.format(count="len(names)"),
}
SUMS = {
    "some added to a sum": "loss = output.sum() * 0\nfor o, t in zip(output, targets):\n    if t == 1:\n"
    "        loss = loss + F.cross_entropy(o, t)",
    "all added up": "loss = sum(F.cross_entropy(o, t) for o, t in zip(output, targets))",
}
REFUSED = {
    "each with each": (
        "loss = 0\nfor o in output:\n    for p in output:\n        loss = loss + (o - p).pow(2).sum()",
        "each sample of the batch meets each other",
    ),
    "each with each, mapped": (
        "loss = sum(map(lambda o: sum((o - p).pow(2).sum() for p in output), output))",
        "each sample of the batch meets each other",
    ),
    "pairs": (
        "import itertools\nloss = sum((a - b).pow(2).sum() for a, b in itertools.product(output, output))",
        "itertools.product() comes from outside",
    ),
    "with those before it": (
        "loss = 0\nfor i in range(len(output)):\n    for j in range(i):\n"
        "        loss = loss + (output[i] - output[j]).pow(2).sum()",
        "places within a worker's slice",
    ),
    "the last one": ("for o in output:\n    last = o\nloss = last.sum()", "what one sample leaves"),
    "the one before": (
        "loss, before = 0, inputs.new_zeros(3)\nfor o in output:\n    loss = loss + (o - before).pow(2).sum()\n"
        "    before = o",
        "what one sample leaves",
    ),
    "the first, returned": (
        "def first():\n    for o in output:\n        return o.sum()\nloss = first()",
        "what one sample",
    ),
    "ended early": (
        "loss = output.sum() * 0\nfor o, t in zip(output, targets):\n    if t == 1:\n        break\n"
        "    loss = loss + F.cross_entropy(o, t)\nloss = loss / len(output)",
        "what one sample leaves",
    ),
    "weighed by place": (
        "loss = 0\nfor i, o in enumerate(output):\n    loss = loss + i * F.cross_entropy(o, targets[i])",
        "places within a worker's slice",
    ),
    "beside a list of all": (
        "loss = 0\nfor v, o in zip(torch.arange(8.0), output):\n    loss = loss + v * o.sum()",
        "put beside what is listed for the whole batch",
    ),
    "with the mean of all": (
        "loss = 0\nfor o in output:\n    loss = loss + o.sum() * output.mean()",
        "one sample's meets a mean over the batch",
    ),
    "the mean of all, once for each": (
        "loss = 0\nfor o in output:\n    loss = loss + F.cross_entropy(output, targets)",
        "what adds up over the samples is not one sample's",
    ),
    "backward for each": (
        "for o, t in zip(output, targets):\n    F.cross_entropy(o, t).backward(retain_graph=True)\n"
        "loss = F.cross_entropy(output, targets)",
        "this is done for each sample of the batch",
    ),
    "some listed": (
        "losses = []\nfor o, t in zip(output, targets):\n    if t == 1:\n        continue\n"
        "    losses.append(F.cross_entropy(o, t))\nloss = sum(losses) / len(losses)",
        "has nothing to go backward through",
    ),
    "some yielded": (
        "def some():\n    for o, t in zip(output, targets):\n        if t == 1:\n"
        "            yield F.cross_entropy(o, t)\n"
        "losses = list(some())\nloss = sum(losses) / len(losses)",
        "has nothing to go backward through",
    ),
    "some added to nothing": (
        "loss = 0\nfor o, t in zip(output, targets):\n    if t == 1:\n        loss = loss + F.cross_entropy(o, t)",
        "has nothing to go backward through",
    ),
    "listed beside another": (
        "losses = [output.sum()]\nfor o in output:\n    losses.append(o.sum())\nloss = sum(losses)",
        "holds others beside them",
    ),
    "sorted": (
        "rows = [o for o in output]\nrows.sort(key=lambda o: o.sum())\n"
        "loss = F.cross_entropy(torch.stack(rows), targets)",
        "entries of a list of the samples are moved",
    ),
    "different labels": (
        "seen = set()\nfor t in targets:\n    seen.add(t.item())\n" + SUMMED.format(count="len(seen)"),
        "differs from worker to worker",
    ),
    "labels as keys": (
        "seen = {}\nfor t in targets:\n    seen[t.item()] = 1\n" + SUMMED.format(count="len(seen)"),
        "differs from worker to worker",
    ),
    "some samples counted": (
        "count = 0\nfor o in output[targets > 0]:\n    count += 1\n" + SUMMED.format(count="count"),
        "gone through one by one",
    ),
    "picked from another loader's batch": (
        "(others,) = next(iter(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=8)))\n"
        "loss = 0\nfor i in range(len(others)):\n    loss = loss + output[i].sum()",
        "places within a worker's slice",
    ),
    "unpacked": ("def both(a, *others):\n    return a.sum()\nloss = both(*output)", "gone through one by one"),
}


def _converted(body: str, directory: Path) -> tuple[str | None, list[str]]:
    """Convert the script with this body in its loop and give it, with the messages of its refusals."""
    script = directory / "train.py"
    script.write_text(SCRIPT.format(body=indent(body, "    ")))
    conversion = convert(script)
    return conversion.script.converted if not conversion.refusals else None, [
        one.message for one in conversion.refusals
    ]


@pytest.mark.parametrize("name", MEANS)
def test_what_is_each_samples_own_makes_a_mean(name: str, tmp_path: Path) -> None:
    text, refusals = _converted(MEANS[name], tmp_path)
    assert text is not None, refusals
    assert "(loss * loader.weight).backward()" in text


@pytest.mark.parametrize("name", SUMS)
def test_what_adds_up_over_the_samples_makes_a_sum(name: str, tmp_path: Path) -> None:
    text, refusals = _converted(SUMS[name], tmp_path)
    assert text is not None, refusals
    assert "(loss * hvd.size() * bool(loader.weight)).backward()" in text


@pytest.mark.parametrize("name", REFUSED)
def test_what_hangs_on_how_the_batch_is_cut_is_refused(name: str, tmp_path: Path) -> None:
    body, reason = REFUSED[name]
    _, refusals = _converted(body, tmp_path)
    assert any(reason in message for message in refusals), refusals
