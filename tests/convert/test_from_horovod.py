"""Scripts that are written for Horovod: golden files, what is refused and where, and that they train the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from horovod_files import ROOT, cases, outcome, output

import hora.data
import hora.torch
from hora.convert import check, convert, write
from hora.convert.horovod.modules import ELASTIC, TORCH
from hora.errors import HoraError

BEFORE = """import horovod.torch as hvd
import torch
from torch.utils.data import DataLoader, TensorDataset

hvd.init()
loader = DataLoader(TensorDataset(torch.ones(8, 2), torch.ones(8, 1)), batch_size=2)
model = torch.nn.Linear(2, 1)
"""
OPTIMIZER = """optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer = hvd.DistributedOptimizer(optimizer{options})
"""
SENT = "hvd.broadcast_parameters(model.state_dict(), root_rank=0)\n"
LOOP = """for x, y in loader:
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
"""
SCRIPT = BEFORE + OPTIMIZER.format(options="") + SENT + LOOP


def refusals(directory: Path, text: str, to: str = "ddp") -> list[str]:
    path = directory / "train.py"
    path.write_text(text, encoding="utf-8")
    conversion = convert(path, from_="horovod", to=to)
    assert not (conversion.refusals and conversion.changed)
    return [f"{one.line} {one.code} {one.message}" for one in conversion.refusals]


@pytest.mark.parametrize(("case", "target"), cases(), ids=lambda one: getattr(one, "name", one))
def test_each_case_becomes_what_is_kept(case: Path, target: str) -> None:
    assert outcome(case, target) == output(case, target).read_text(encoding="utf-8")


@pytest.mark.parametrize("case", sorted(ROOT.glob("*.in.py")), ids=lambda one: one.name)
def test_in_torchs_words_nothing_names_either_library(case: Path) -> None:
    code = [line.split("#")[0] for line in output(case, "ddp").read_text(encoding="utf-8").splitlines()]
    assert not [line for line in code if "hvd" in line or "hora" in line or "horovod" in line]


@pytest.mark.parametrize("case", sorted(ROOT.glob("*.in.py")), ids=lambda one: one.name)
def test_check_finds_no_more_than_in_the_original(case: Path) -> None:
    before = {one.code for one in check(case) if not one.note}
    assert {one.code for one in check(output(case, "ddp")) if not one.note} <= before


def test_the_names_are_those_that_hora_has() -> None:
    assert set(hora.torch.__all__) >= TORCH
    assert set(hora.torch.__all__) - TORCH == {"deal", "loader", "total"}
    assert all(hasattr(hora.torch.elastic, name) for name in ELASTIC)
    assert hora.data.AsyncDataLoaderMixin
    assert hora.data.BaseDataLoader


def test_the_whole_of_a_plain_script_is_converted(tmp_path: Path) -> None:
    assert refusals(tmp_path, SCRIPT) == []
    assert refusals(tmp_path, SCRIPT, "hora") == []


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (BEFORE + OPTIMIZER.format(options=", op=hvd.Adasum") + SENT + LOOP, "9 HR301 torch has no Adasum"),
        (BEFORE + OPTIMIZER.format(options=", op=choose()") + SENT + LOOP, "9 HR301 whether gradients are averaged"),
        (BEFORE + OPTIMIZER.format(options=", process_set=evens") + SENT + LOOP, "9 HR606 gradients are averaged over"),
        (BEFORE + OPTIMIZER.format(options=", sparse_as_dense=True") + SENT + LOOP, "9 HR301 torch's wrapper makes no"),
        (BEFORE + OPTIMIZER.format(options=", compression=own") + SENT + LOOP, "9 HR301 how gradients are compressed"),
        (BEFORE + OPTIMIZER.format(options="") + LOOP, "9 HR302 worker 0 does not send the network"),
        (SCRIPT.replace("root_rank=0", "root_rank=hvd.size() - 1"), "10 HR302 torch's wrapper sends worker 0's"),
        (SCRIPT.replace(SENT, SENT + SENT), "11 HR302 the network is sent more than once"),
        (SCRIPT.replace("model(x)", "model.forward(x)"), "13 HR301 the training goes past"),
        (
            SCRIPT.replace("optimizer.step()", "optimizer.step(lambda: (model(x) - y).square().mean())"),
            "15 HR309 the optimizer decides by the loss of a closure",
        ),
        (
            SCRIPT.replace(", op=hvd.Sum", "").replace("(optimizer)", "(optimizer, op=hvd.Sum)")
            + "    if x.sum() > 3:\n        loss.backward()\n",
            "9 HR307 gradients of several backward passes",
        ),
        (
            SCRIPT.replace("model.parameters()", "[*model.parameters(), scale]"),
            "8 HR905 the optimizer trains what is in no network",
        ),
        (
            SCRIPT.replace(LOOP, "optimizer.add_param_group({'params': []})\n" + LOOP),
            "11 HR905 what joins the optimizer",
        ),
        (SCRIPT.replace(LOOP, "model.bias.requires_grad = False\n" + LOOP), "11 HR301 what is trained changes once"),
        (SCRIPT.replace(LOOP, "model.bias = None\n" + LOOP), "11 HR301 it would be set on the wrapper"),
        (SCRIPT + "    report(model)\n", "16 HR301 what is done with the wrapper here"),
        (BEFORE + SENT + "print(hvd.allreduce(torch.ones(1)))\n", "1 HR909 no backward pass is followed"),
        ("from mpi4py import MPI\n" + SCRIPT, "1 HR907 mpi4py knows workers that mpirun has started"),
        ("import os\n" + SCRIPT + "os.environ['HOROVOD_RANK']\n", "17 HR907 torchrun sets no HOROVOD_RANK"),
        (SCRIPT + "hvd.join()\n", "16 HR907 join lets workers run out"),
        (SCRIPT + "evens = hvd.ProcessSet([0])\n", "16 HR606 process sets"),
        (SCRIPT + "hvd.alltoall(x)\n", "16 HR907 torch.distributed has nothing for 'hvd.alltoall'"),
        (SCRIPT + "runtime = hvd\n", "16 HR907 torch.distributed has nothing for 'hvd'"),
        (SCRIPT + "fast = hvd.mpi_threads_supported()\n", "16 HR907 torch.distributed has nothing for"),
        (SCRIPT + "total = hvd.allreduce(x, prescale_factor=0.5)\n", "16 HR907 prescale_factor is said here"),
        (SCRIPT + "print(f'{hvd.cross_rank()}')\n", "16 HR907 'hvd.cross_rank' stands in a string"),
        (SCRIPT + "state = hvd.elastic.TorchState(model)\n", "16 HR907 torch's elastic jobs are started by torchrun"),
        (
            SCRIPT.replace(".mean()\n", ".mean()\n    loss = hvd.allreduce(loss)\n"),
            "14 HR305 gradients may flow through",
        ),
        (SCRIPT + "net = torch.nn.parallel.DistributedDataParallel(model)\n", "16 HR907 it trains on many workers in"),
        (SCRIPT.replace("model(x)", "predict(x)"), "13 HR908"),
        (
            SCRIPT.replace(
                "import horovod.torch as hvd\n", "try:\n    import horovod.torch as hvd\nexcept OSError: 0\n"
            ),
            "1 HR907 the script goes on without Horovod",
        ),
        ("import horovod\n" + SCRIPT + "horovod.run(print)\n", "17 HR907 horovod.run starts the workers"),
    ],
)
def test_what_torch_cannot_say_is_refused(tmp_path: Path, text: str, refused: str) -> None:
    found = refusals(tmp_path, text)
    assert found
    assert found[0].startswith(refused), found


@pytest.mark.parametrize(
    "given",
    [
        "filter(lambda p: p.requires_grad, model.parameters())",
        "[{'params': [p for n, p in model.named_parameters() if 'bias' in n]}, {'params': model.weight}][:1]",
        "[{'params': (p for n, p in model.named_parameters() if 'bias' in n)}, {'params': decayed, 'weight_decay': 1}]",
    ],
)
def test_parameters_of_networks_may_be_picked(tmp_path: Path, given: str) -> None:
    picked = "decayed = []\nfor n, p in model.named_parameters():\n    if 'bias' not in n:\n        decayed.append(p)\n"
    found = refusals(
        tmp_path, SCRIPT.replace("optimizer = torch", picked + "optimizer = torch").replace("model.parameters()", given)
    )
    assert [one.split()[1] for one in found] == (["HR905"] if "[:1]" in given else [])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("print(isinstance(model, torch.nn.Linear))", "print(isinstance(model.module, torch.nn.Linear))"),
        ("torch.save(model, 'model.pt')", "torch.save(model.module, 'model.pt')"),
        ("for name, weight in model.named_parameters(): 0", "for name, weight in model.module.named_parameters(): 0"),
        ("print(f'{hvd.rank()} of {hvd.size()}')", "print(f'{dist.get_rank()} of {dist.get_world_size()}')"),
        ("rank = hvd.rank", "rank = dist.get_rank"),
        ("hvd.broadcast_(x, root_rank=1, name='x')", "dist.broadcast(x, src=1)"),
        ("hvd.allreduce_(x, average=False, name='x')", "dist.all_reduce(x)"),
        ("hvd.allreduce(x.detach(), op=hvd.Sum, name='x')", "sum_over_workers(x.detach())"),
    ],
)
def test_uses_are_said_where_they_stand(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT + line + "\n")
    assert convert(path, from_="horovod", to="ddp").converted.splitlines()[-3] == said


@pytest.mark.parametrize("load", ["optimizer.load_state_dict(state)", "library.resume(optimizer)"])
def test_what_an_optimizer_has_loaded_is_sent(tmp_path: Path, load: str) -> None:
    path = tmp_path / "train.py"
    state = "hvd.broadcast_optimizer_state(optimizer, root_rank=0)\n"
    path.write_text(SCRIPT.replace(SENT, f"import library\nif hvd.rank() == 0:\n    {load}\n{SENT}{state}"))
    sent = "optimizer.load_state_dict(object_from_worker(optimizer.state_dict()))"
    assert sent in convert(path, from_="horovod", to="ddp").converted
    path.write_text(SCRIPT.replace(SENT, SENT + state))
    assert "load_state_dict" not in convert(path, from_="horovod", to="ddp").converted


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("import horovod.tensorflow as hvd", "horovod.tensorflow is not for PyTorch"),
        ("from horovod import spark", "horovod.spark is not for PyTorch"),
        ("from horovod.ray import RayExecutor", "horovod.ray is not for PyTorch"),
        ("import horovod.torch as hvd; hvd.keras.x", "horovod.keras is not for PyTorch"),
        ("from horovod.torch import gather_all", "hora.torch has no 'gather_all'"),
        ("import horovod.torch as hvd; hvd.mpi_ops.size()", "horovod.torch.mpi_ops is reached through another module"),
        ("import horovod.common.util", "horovod.common.util has no counterpart"),
        ("import horovod; horovod.__version__", "hora has no '__version__'"),
        ("import horovod, importlib; importlib.import_module('horovod.torch')", "'horovod.torch' is imported by a"),
        ("import horovod; hora = horovod.run", "'hora' is the name of something else"),
    ],
)
def test_what_hora_has_no_name_for_is_refused(tmp_path: Path, line: str, refused: str) -> None:
    found = refusals(tmp_path, line + "\n", "hora")
    assert found
    assert found[0].startswith(f"1 HR907 {refused}"), found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from horovod import torch as hvd", "from hora import torch as hvd"),
        ("import horovod.torch, os", "import hora.torch, os"),
        ("from horovod.torch.mpi_ops import Sum, size", "from hora.torch import Sum, size"),
        ("from horovod.torch.elastic.sampler import ElasticSampler", "from hora.torch.elastic import ElasticSampler"),
        (
            "import horovod.torch.elastic; horovod.torch.elastic.run",
            "import hora.torch.elastic; hora.torch.elastic.run",
        ),
        ("from horovod.common.exceptions import HorovodInternalError", "from hora.torch import HorovodInternalError"),
        ("from horovod.data import BaseDataLoader", "from hora.data import BaseDataLoader"),
        ("import horovod as h  # runs\nh.run(print)", "import hora as h  # runs\nh.run(print)"),
    ],
)
def test_imports_are_said_anew(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(line + "\n")
    assert convert(path, from_="horovod").converted == said + "\n"


def test_modules_of_the_scripts_own_are_converted_with_it(tmp_path: Path) -> None:
    average = (
        "import horovod.torch as hvd\nimport torch\n\n\ndef average(x):\n    return hvd.allreduce(torch.tensor(x))\n"
    )
    (tmp_path / "metrics.py").write_text(average)
    (tmp_path / "train.py").write_text("from metrics import average\n" + SCRIPT + "print(average(1.0))\n")
    for to, call in (("hora", "hvd.allreduce(torch.tensor(x))"), ("ddp", "average_over_workers(torch.tensor(x))")):
        conversion = convert(tmp_path / "train.py", from_="horovod", to=to)
        assert not conversion.refusals
        assert [file.path.name for file in conversion.changed] == ["train.py", "metrics.py"]
        assert call in conversion.changed[1].converted
        write(conversion, f"{tmp_path / to}/")
        assert "horovod" not in (tmp_path / to / "metrics.py").read_text()


def test_a_module_that_is_not_followed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("import horovod.torch as hvd\n\n\ndef f():\n    return hvd.rank()\n")
    text = SCRIPT + "def later():\n    import other\n    return other.f()\n"
    path = tmp_path / "train.py"
    path.write_text(text)
    found = convert(path, from_="horovod", to="ddp").refusals
    assert [(Path(one.file).name, one.line, one.code) for one in found] == [("other.py", 5, "HR909")]


LAYERS = """class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)

    def forward(self, x):
        return use(self.head, self.body(x))


def use(layer, x):
    return layer(x)


class Trainer:
    def __init__(self, net):
        self.net, self.body = net, net.body

    def step(self, x):
        return self.net(x)


"""


@pytest.mark.parametrize(
    ("step", "refused"),
    [
        ("model(x)", []),
        ("Trainer(model).step(x)", []),
        ("model(x) + model.head(model.body(x))", ["HR301", "HR301"]),
        ("model(x) + Trainer(model).body(x).sum()", ["HR301"]),
        ("model(x) + use(model.head, torch.ones(2, 3))", ["HR301"]),
    ],
)
def test_layers_are_trained_through_the_wrapper(tmp_path: Path, step: str, refused: list[str]) -> None:
    text = SCRIPT.replace("hvd.init()", LAYERS + "hvd.init()")
    text = text.replace("model = torch.nn.Linear(2, 1)", "model = Net()").replace("(model(x) - y)", f"({step} - y)")
    assert [one.split()[1] for one in refusals(tmp_path, text)] == refused


def test_what_stands_against_it_in_another_file_is_told_there(tmp_path: Path) -> None:
    net = "import torch\n\n\ndef place(model):\n    model.to('cpu')\n"
    (tmp_path / "net.py").write_text(net)
    path = tmp_path / "train.py"
    path.write_text("from net import place\n" + SCRIPT.replace(SENT, SENT + "place(model)\n"))
    found = convert(path, from_="horovod", to="ddp").refusals
    assert [(Path(one.file).name, one.line, one.code) for one in found] == [("net.py", 5, "HR301")]


def test_worker_0_may_have_another_name(tmp_path: Path) -> None:
    text = SCRIPT.replace(SENT, "main = 0\n" + SENT.replace("root_rank=0", "root_rank=main"))
    assert refusals(tmp_path, text) == []


def test_gradients_that_are_read_too_early_are_noted(tmp_path: Path) -> None:
    clipped = SCRIPT.replace(
        "    optimizer.step()", "    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n    optimizer.step()"
    )
    path = tmp_path / "train.py"
    path.write_text(clipped)
    [note] = convert(path, from_="horovod").notes
    assert (note.line, note.code) == (15, "HR306")


@pytest.mark.parametrize(
    ("options", "text", "told"),
    [
        ({"from_": "horovod", "to": "horovod"}, SCRIPT, "it is said in Horovod's words already"),
        ({"from_": "horovod", "to": "mpi"}, SCRIPT, "there is no such target"),
        ({"from_": "deepspeed"}, SCRIPT, "there is no such library"),
        ({"from_": "horovod", "scaling": "weak"}, SCRIPT, "such a script keeps its batches"),
        ({"from_": "horovod", "partial": True}, SCRIPT, "such a script keeps its batches"),
        ({"from_": "horovod"}, "import torch\n", "nothing of Horovod is imported"),
    ],
)
def test_errors_say_what_to_do(tmp_path: Path, options: dict[str, str], text: str, told: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(text)
    with pytest.raises(HoraError, match=told):
        convert(path, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "resumed", "summed", "two_networks"])
def test_two_workers_end_with_the_same_weights(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    weights = []
    for end in ("in", "hora", "ddp"):
        to = tmp_path / f"{end}.pt"
        arguments = ["--save", str(to)] if name == "digits" else [str(to)]
        command = [sys.executable, "-m", "hora", "run", "-n", "2", str(ROOT / f"{name}.{end}.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        weights.append(torch.load(to))
    for other in weights[1:]:
        assert other.keys() == weights[0].keys()
        for key, value in weights[0].items():
            torch.testing.assert_close(other[key], value, atol=1e-6, rtol=0)
