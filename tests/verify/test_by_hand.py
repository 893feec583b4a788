"""What people write by hand: streams that are split, batches that each worker loads whole and cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.errors import HoraError
from hora.verify import verify

SCRIPTS = Path(__file__).parent / "scripts"
STREAM, BY_HAND, CUT = SCRIPTS / "stream.py", SCRIPTS / "stream_by_hand.py", SCRIPTS / "cut_by_hand.py"


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """Write a script with some of its text replaced, into the working directory of the test."""
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


@pytest.mark.parametrize("workers", [2, 3])
def test_a_stream_that_is_split_right(edited, workers):
    result = verify(STREAM, edited(BY_HAND), workers=workers, steps=8)
    assert result.verdict == "equivalent", result.why
    assert result.max_relative_difference < 1e-13
    assert result.permuted
    assert not result.remarks


def test_a_stream_that_is_converted(edited):
    result = verify(edited(STREAM), workers=3, steps=8)
    assert result.verdict == "equivalent", result.why
    assert not result.remarks


@pytest.mark.slow
def test_a_stream_that_is_converted_for_weak_scaling(edited):
    with pytest.raises(HoraError, match="how long one is the stream does not say"):
        verify(edited(STREAM), workers=2, steps=8, scaling="weak")
    length = "class Lines(IterableDataset):\n    def __len__(self):\n        return 66\n\n"
    counted = edited(STREAM, ("class Lines(IterableDataset):\n", length))
    result = verify(counted, workers=2, steps=8, scaling="weak")
    assert result.verdict == "equivalent", result.why


def test_a_stream_that_every_worker_trains_on_in_full(edited):
    own = "islice(self.samples(), hvd.rank() * workers + own, None, hvd.size() * workers)"
    result = verify(STREAM, edited(BY_HAND, (own, "self.samples()")), workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR204"), result.why
    assert "of pass 0 over IterableDataset is read 2 times on 2 workers, by workers 0, 1" in result.why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("range(66)", "range(66 - hvd.rank())", "is read 2 times on 2 workers, by workers 0, 1"),
        ("12 // hvd.size()", "12 // hvd.size(), drop_last=True", "6 of the 66 samples of pass 0 over"),
        ("12 // hvd.size()", "12", "holds 24 samples on 2 workers, and 12 on one"),
        (" / count", " / (12 if count < 12 else count)", "in step"),
    ],
)
def test_a_stream_that_is_split_wrong(edited, old, new, why):
    result = verify(STREAM, edited(BY_HAND, (old, new)), workers=2, steps=8)
    assert result.verdict == "not-equivalent", result.why
    assert why in result.why


@pytest.mark.slow
def test_a_stream_that_the_loaders_processes_split(edited):
    original = edited(
        STREAM, ("def __iter__(self):", "def samples(self):"), ("batch_size=12", "batch_size=12, num_workers=2")
    )
    text = original.read_text().replace(
        "class Lines(IterableDataset):",
        "from itertools import islice\n\nfrom torch.utils.data import get_worker_info\n\n\n"
        "class Lines(IterableDataset):\n"
        "    def __iter__(self):\n"
        "        info = get_worker_info()\n"
        "        return islice(self.samples(), info.id, None, info.num_workers)\n",
    )
    original.write_text(text)
    by_hand = edited(BY_HAND, ("batch_size=12 // hvd.size()", "batch_size=12 // hvd.size(), num_workers=2"))
    result = verify(original, by_hand, workers=2, steps=8)
    assert result.verdict == "equivalent", result.why


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_batches_that_each_worker_cuts(edited, workers):
    result = verify(edited(CUT), workers=workers, steps=8)
    assert result.verdict == "equivalent", result.why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("x.chunk(size)[rank]", "y.chunk(size)[rank]"),
        ("x[: count // size * size].view(size, -1, 6)[rank]", "y[: count // size * size].view(size, -1, 1)[rank]"),
        ("x.tensor_split(size)[rank].clone()", "torch.tensor_split(y, size)[rank]"),
    ],
)
def test_other_ways_to_cut(edited, x, y):
    script = edited(CUT, ("x[rank::size]", x), ("y[rank::size]", y), ("randn(53", "randn(56"))
    result = verify(script, workers=2, steps=8)
    assert result.verdict == "equivalent", result.why


def test_indices_within_samples_are_of_no_rows(edited):
    """One sample's own entries, and a mask over all of them, say nothing of which samples are trained on."""
    cut = "x, y = x[rank::size], y[rank::size]\n"
    result = verify(edited(CUT, (cut, f"{cut}        within = x[0][:3].sum() + x[x > 9].sum()\n")), workers=2, steps=4)
    assert result.verdict == "equivalent", result.why


def test_batches_that_each_worker_trains_on_in_full(edited):
    script = edited(CUT, ("x, y = x[rank::size], y[rank::size]\n", "print(x[:2].mean())\n"), (" * size", ""))
    result = verify(script, workers=2, steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR201"), result.why
    assert "holds 32 samples on 2 workers, and 16 on one" in result.why


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("torch.manual_seed(0)", "", "workers 0 and 1 draw different global batches"),
        ("[rank::size]", "[rank * 2 : rank * 2 + 2]", "holds 4 samples on 2 workers, and 16 on one"),
        (" * size / count", " / len(x)", "in step 3 the gradient of"),
    ],
)
def test_batches_that_are_cut_wrong(edited, old, new, why):
    result = verify(edited(CUT, (old, new)), workers=2, steps=8)
    assert result.verdict == "not-equivalent", result.why
    assert why in result.why
