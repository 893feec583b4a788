"""Random numbers and orders: what must be alike on all workers, what must not, and what the original leaves open."""

from pathlib import Path

import pytest

from hora.convert import convert
from hora.verify import verify

SCRIPTS = Path(__file__).parent / "scripts"
FIXTURES = Path(__file__).parents[1] / "convert" / "fixtures"
NOISY, WORDS = SCRIPTS / "noisy.py", SCRIPTS / "words.py"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """The conversion of a script with a piece of text replaced, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)

    def edited(script: Path, old: str, new: str) -> Path:
        text = convert(script).converted
        assert old in text
        path = tmp_path / "edited.py"
        path.write_text(text.replace(old, new))
        return path

    return edited


def test_noise_that_is_each_workers_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = verify(NOISY, steps=6)
    assert result.verdict == "equivalent", result.why
    assert result.neutralised == ("random numbers of the batch, drawn per sample", "dropout")
    assert result.remarks == ()


def test_noise_that_one_seed_makes_the_same_for_every_slice(edited):
    same = edited(NOISY, "torch.manual_seed(torch.initial_seed() + hvd.rank())", "pass")
    result = verify(NOISY, same, steps=6)
    assert (result.verdict, result.cause, result.first_difference.quantity) == ("not-equivalent", "HR503", "noise")
    assert "the workers draw the same random numbers for their slices of TensorDataset[64]" in result.why
    assert result.remarks[0].startswith("seeded alike, the workers draw the same for each slice in: dropout (HR501")


def test_a_set_that_is_sorted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = verify(WORDS, workers=3, steps=4)
    assert result.verdict == "equivalent", result.why
    assert result.remarks[0].startswith("compared with the original whose sets of strings are sorted")


def test_a_set_that_is_worker_0s(edited):
    sent = edited(WORDS, "sorted(set(words))", "hvd.broadcast_object(list(set(words)), root_rank=0)")
    result = verify(WORDS, sent, steps=4)
    assert (result.verdict, result.remarks) == ("equivalent", ()), result.why


@pytest.mark.slow
def test_a_set_that_each_worker_orders_for_itself(edited):
    result = verify(WORDS, edited(WORDS, "sorted(set(words))", "list(set(words))"), steps=4)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR502")
    assert result.confirmed.text == "vocabulary = sorted(set(words))"


def test_a_batch_that_every_worker_normalises_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = verify(SCRIPTS / "replicated.py", workers=3, steps=6)
    assert result.verdict == "equivalent", result.why


def test_numbers_drawn_for_one_sample_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = verify(FIXTURES / "HR503" / "noise_one_by_one.in.py", workers=3, steps=3)
    assert result.verdict == "cannot-tell", result.why
    assert "step 0 draws random numbers for one sample after the other (8 on one worker, 2, 3, 3 on 3)" in result.why
