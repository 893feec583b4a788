"""The proof is right in both directions: a right conversion passes, each thing left out is seen and named."""

from pathlib import Path

import pytest

from hora.errors import HoraError
from hora.verify import verify, verify_each

SCRIPTS = Path(__file__).parent / "scripts"
TINY = SCRIPTS / "tiny.py"
CONVERTED = SCRIPTS / "tiny_converted.py"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Write a script of this directory with some of its text replaced, into the working directory of the test."""
    monkeypatch.chdir(tmp_path)

    def write(script: Path, *replacements: tuple[str, str]) -> Path:
        text = script.read_text()
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"edited_{script.name}"
        path.write_text(text)
        return path

    return write


def test_a_right_conversion_is_equivalent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = verify(TINY, CONVERTED, workers=2, steps=8)
    assert result.verdict == "equivalent", result.why
    assert (result.status, result.steps, result.precision) == (0, 8, "float64")
    assert result.max_relative_difference < 1e-13
    assert 0 < result.noise_floor < 1e-13
    assert not list(tmp_path.iterdir()), "an observed run left files in the working directory"


def test_it_converts_for_itself(edited):
    result = verify(edited(TINY), workers=3, steps=8)
    assert result.verdict == "equivalent", result.why


def test_a_metric_of_the_training_data_is_of_the_same_samples(edited):
    evaluation = """    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += ((model(x) - y).abs() < 0.5).sum().item()
    print("right", right)

torch.save"""
    result = verify(edited(TINY, ("torch.save", evaluation)), workers=2, steps=4)
    assert result.verdict == "equivalent", result.why


@pytest.mark.slow
def test_a_distributed_script_is_held_against_itself_on_one_worker(edited):
    script = edited(SCRIPTS / "by_hand_ddp.py")
    result = verify(script, workers=2, steps=4)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR201")
    assert "holds 16 samples on 2 workers, and 8 on one" in result.why
    assert "--alone" in result.next
    result = verify(script, workers=2, steps=4, alone=["--batch-size", "16"])
    assert result.verdict == "equivalent", result.why
    assert result.next == f"hora run -n 2 {script}"
    assert any("other arguments" in remark for remark in result.remarks)


def test_a_network_without_its_wrapper_is_found_in_a_distributed_script(edited):
    text = "DistributedDataParallel(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1)))"
    bare = text.removeprefix("DistributedDataParallel(").removesuffix(")")
    script = edited(SCRIPTS / "by_hand_ddp.py", (text, bare), (".module", ""))
    result = verify(script, workers=2, steps=4, alone=["--batch-size", "16"])
    assert (result.verdict, result.cause) == ("not-equivalent", "HR302")


def test_one_worker_cannot_have_the_global_batch_of_two_jobs(edited):
    with pytest.raises(HoraError, match="2 numbers of workers, and one global batch"):
        verify_each(TINY, CONVERTED, workers=[2, 3], alone=[])


def test_undealt_samples_are_named(edited):
    broken = edited(CONVERTED, ("loader = hvd.deal(loader)\n", ""))
    result = verify(TINY, broken, workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR201")
    assert result.first_difference.quantity == "samples"
    assert "holds 32 samples on 2 workers, and 16 on one" in result.why


def test_a_missing_broadcast_is_named_by_its_first_tensor(edited):
    broken = edited(CONVERTED, ("hvd.broadcast_parameters(model.state_dict(), root_rank=0)\n", ""))
    result = verify(TINY, broken, workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR302")
    assert (result.first_difference.step, result.first_difference.tensor) == (0, "0.weight")


def test_an_optimizer_that_is_not_wrapped_is_named(edited):
    broken = edited(CONVERTED, ("optimizer = hvd.DistributedOptimizer(optimizer)\n", ""))
    result = verify(TINY, broken, workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR301")
    assert result.first_difference.quantity == "gradient"
    assert result.first_difference.step == 0


def test_an_unweighted_loss_differs_where_a_batch_is_cut_unevenly(edited):
    broken = edited(CONVERTED, ("(loss * loader.weight).backward()", "loss.backward()"))
    result = verify(TINY, broken, workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR206")
    assert result.first_difference.step == 3, "batches of 16, 16 and 16 are even, one of 5 is not"
    assert result.confirmed is not None
    assert result.confirmed.line == 1 + broken.read_text().splitlines().index("        loss.backward()")
    assert result.confirmed.text == "(loss * loader.weight).backward()"
    assert result.next == f"hora convert {broken} --in-place"


def test_a_loss_that_is_divided_once_more_is_told_by_its_factor(edited):
    broken = edited(CONVERTED, ("(loss * loader.weight)", "(loss * loader.weight / hvd.size())"))
    result = verify(TINY, broken, workers=2, steps=8)
    assert (result.verdict, result.cause, result.confirmed) == ("not-equivalent", "HR303", None)
    assert result.why.endswith("every gradient that differs is 1/2 of one worker's")


@pytest.mark.slow
def test_an_optimizer_of_fewer_parameters_is_told(edited):
    broken = edited(CONVERTED, ("SGD(model.parameters()", "SGD(list(model.parameters())[1:]"))
    result = verify(TINY, broken, workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR301")
    assert result.why.startswith("step 0 updates 3 parameters of optimizer 0, where one worker's updates 4")


@pytest.mark.slow
def test_a_rate_that_is_another_on_one_worker(edited):
    own = "        optimizer.param_groups[0]['lr'] *= 1 + hvd.rank()\n        optimizer.step()\n"
    result = verify(TINY, edited(CONVERTED, ("        optimizer.step()\n", own)), workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR302")
    assert "on worker 1" in result.why


def test_a_metric_that_is_not_reduced_is_quoted(edited):
    broken = edited(CONVERTED, ("total = hvd.allreduce(total, op=hvd.Sum)", "total = total"))
    result = verify(TINY, broken, workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR601")
    assert "epoch 0: loss" in result.why


def test_a_worker_that_fails_is_a_finding(edited):
    broken = edited(
        CONVERTED, ("        optimizer.step()\n", "        1 / (1 - hvd.rank())\n        optimizer.step()\n")
    )
    result = verify(TINY, broken, workers=2, steps=8)
    assert result.verdict == "not-equivalent"
    assert result.first_difference.quantity == "failure"
    assert "worker 1 failed in step 0" in result.why
    assert "ZeroDivisionError" in result.why


@pytest.mark.slow
def test_a_worker_that_stays_behind_is_a_finding(edited):
    broken = edited(
        CONVERTED,
        (
            "        optimizer.step()\n",
            "        import time\n        time.sleep(600 * hvd.rank())\n        optimizer.step()\n",
        ),
    )
    result = verify(TINY, broken, workers=2, steps=8, timeout=15)
    assert result.verdict == "not-equivalent"
    assert result.first_difference.quantity == "failure"
    lines = broken.read_text().splitlines()
    waiting = lines.index("        (loss * loader.weight).backward()") + 1
    asleep = lines.index("        time.sleep(600 * hvd.rank())") + 1
    assert (
        f"the workers hang in step 0, run as it is: worker 0 in line {waiting}, worker 1 in line {asleep}" in result.why
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import sys\nsys.exit(3)\n", "the original script itself fails on one worker: exit status 3"),
        ("import torch\nraise ValueError('no data')\n", "ValueError: no data"),
        ("import torch\n", "no optimizer steps"),
        ("import torch\ntorch.save({}, 'last.pt')\ntorch.load('last.pt')\n", "was run: it resumed from last.pt"),
    ],
)
def test_an_original_that_cannot_be_compared(tmp_path, monkeypatch, text, why):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(text)
    result = verify(script, CONVERTED, workers=2, steps=8)
    assert (result.verdict, result.status) == ("cannot-tell", 3)
    assert why in result.why


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("absent.py", None, "there is no file"),
        ("notes.py", "no script at all\n", "not Python"),
        ("train.py", "print 'hello'\n", "not Python"),
    ],
)
def test_bad_input_is_named(tmp_path, name, text, found):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(HoraError, match=found):
        verify(path, workers=2)


@pytest.mark.parametrize("workers", [0, -1])
def test_too_few_workers(workers):
    with pytest.raises(HoraError, match=f"{workers} workers"):
        verify(TINY, CONVERTED, workers=workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_no_false_alarm(tmp_path, monkeypatch, workers, seed):
    monkeypatch.chdir(tmp_path)
    result = verify(TINY, CONVERTED, workers=workers, steps=8, seed=seed)
    assert result.verdict == "equivalent", result.why
