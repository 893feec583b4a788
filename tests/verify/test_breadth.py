"""Several numbers of workers, what else a step leaves behind, scripts without a loader; the page, the assertion."""

from pathlib import Path

import pytest

from hora.convert import convert
from hora.errors import HoraError
from hora.testing import assert_equivalent
from hora.verify import verify, verify_each
from hora.verify.page import write_page

SCRIPTS = Path(__file__).parent / "scripts"
NORMALISED = SCRIPTS / "normalised.py"
WHOLE, WHOLE_CONVERTED = SCRIPTS / "whole.py", SCRIPTS / "whole_converted.py"


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """The conversion of a script with a piece of text replaced, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def broken(text: str, old: str, new: str) -> Path:
        assert old in text
        path = tmp_path / "broken.py"
        path.write_text(text.replace(old, new))
        return path

    return broken


@pytest.fixture(scope="module")
def normalised(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("normalised"))
        results = verify_each(NORMALISED, workers=[2, 3], steps=6)
        assert not list(Path.cwd().iterdir()), "an observed run left files in the working directory"
    return results


def test_buffers_state_and_files_agree_for_each_number_of_workers(normalised):
    assert [(result.workers, result.verdict, result.why[-29:]) for result in normalised] == [
        (2, "equivalent", "BatchNorm, in each of 6 steps"),
        (3, "equivalent", "BatchNorm, in each of 6 steps"),
    ]
    for result in normalised:
        assert set(result.neutralised) == {"BatchNorm", "dropout"}
        assert 1e-3 < result.statistics_drift < 1, "workers that normalise their own slices drift apart"


def test_the_evidence_is_there_in_full(normalised):
    result = normalised[0]
    assert [step.step for step in result.by_step] == list(range(6))
    assert all(abs(step.loss - step.loss_of_several) < 1e-9 for step in result.by_step)
    assert max(step.difference for step in result.by_step) == result.max_relative_difference
    assert {tensor.name for tensor in result.by_tensor} >= {"0.weight", "1.bias", "4.weight"}
    assert all(sum(row.by_worker) == row.samples for row in result.coverage)


def test_the_page_shows_it(normalised, tmp_path):
    write_page(normalised, NORMALISED, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for shown in (
        "EQUIVALENT with synchronised BatchNorm",
        "3 workers",
        "4.weight",
        "TensorDataset[75]",
        "noise floor",
    ):
        assert shown in page
    with pytest.raises(HoraError, match="there is no directory"):
        write_page(normalised, NORMALISED, tmp_path / "absent" / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


def test_a_file_that_every_worker_writes_is_named(broken):
    text = convert(NORMALISED).converted
    script = broken(text, "    if hvd.rank() == 0:\n        torch.save(", "    if True:\n        torch.save(")
    result = verify(NORMALISED, script, workers=2, steps=6)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR603")
    assert "workers 0, 1 all write model-0.pt" in result.why


def test_statistics_that_drift_in_the_replay_are_named(broken):
    text = convert(NORMALISED).converted
    script = broken(
        text, "        optimizer.step()\n", "        optimizer.step()\n        model[1].running_mean += hvd.rank()\n"
    )
    result = verify(NORMALISED, script, workers=2, steps=6)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR310")
    assert (result.first_difference.quantity, result.first_difference.tensor) == ("buffer", "1.running_mean")


@pytest.mark.slow
def test_no_loader_for_the_training(broken):
    assert assert_equivalent(WHOLE, WHOLE_CONVERTED, workers=3, steps=8).steps == 8
    script = broken(WHOLE_CONVERTED.read_text(), "inputs[own]), targets[own]", "inputs[own][:3]), targets[own][:3]")
    with pytest.raises(AssertionError, match=r"with 2 workers: NOT EQUIVALENT: in step 0 the gradient of"):
        assert_equivalent(WHOLE, script, workers=2, steps=8)
