"""Weak scaling is proven against one worker that trains on N batches at once, at the rate for them."""

from pathlib import Path

import pytest

from hora.convert import convert
from hora.errors import HoraError
from hora.testing import assert_equivalent
from hora.verify import verify

SCRIPTS = Path(__file__).parent / "scripts"
EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = SCRIPTS / "tiny.py"


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """Convert the small script for weak scaling, with lines that hold some text replaced or left out."""
    monkeypatch.chdir(tmp_path)

    def write(**replacements: tuple[str, str]) -> Path:
        lines = convert(TINY, scaling="weak").converted.splitlines(keepends=True)
        for part, new in replacements.values():
            assert any(part in line for line in lines), part
            lines = [line.replace(part, new) if new else line for line in lines if new or part not in line]
        path = tmp_path / "converted.py"
        path.write_text("".join(lines))
        return path

    return write


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_right_conversion_is_equivalent(converted, workers):
    result = verify(TINY, converted(), workers=workers, scaling="weak", steps=8)
    assert result.verdict == "equivalent", result.why
    assert f"on {workers} batches at once, at the rate for them" in result.why
    assert result.joined == workers
    assert result.max_relative_difference < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("example", ["vision/digits.py", "text/masked_lm.py"])
def test_examples_are_equivalent(tmp_path, monkeypatch, example, workers):
    monkeypatch.chdir(tmp_path)
    result = verify(EXAMPLES / example, workers=workers, scaling="weak", args=["--quick"], steps=6)
    assert result.verdict == "equivalent", result.why
    assert "--scaling weak" in result.next


@pytest.mark.slow
def test_the_assertion_takes_the_scaling(converted):
    assert assert_equivalent(TINY, converted(), workers=2, scaling="weak", steps=6).joined == 2
    with pytest.raises(AssertionError, match=r"with 2 workers, weak scaling: NOT EQUIVALENT: the learning rate of"):
        assert_equivalent(TINY, converted(rate=(" * hvd.size()", " * 1")), scaling="weak", steps=6)


def test_the_assertion_names_a_scaling_that_is_not_there():
    with pytest.raises(HoraError, match="there is no such scaling"):
        assert_equivalent(TINY, scaling="huge")


@pytest.mark.slow
def test_a_rate_that_is_neither_scaled_nor_warmed_up_is_found(converted):
    wrong = converted(rate=(" * hvd.size()", " * 1"), made=("warmup = ", ""), stepped=("warmup.step()", ""))
    result = verify(TINY, wrong, workers=2, scaling="weak", steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR401")
    assert result.first_difference.quantity == "learning rate"
    assert "on one worker on 2 batches at once" in result.why


def test_a_rate_without_its_warm_up_is_found_in_the_first_step(converted):
    result = verify(
        TINY,
        converted(made=("warmup = ", ""), stepped=("warmup.step()", "")),
        workers=2,
        scaling="weak",
        steps=8,
    )
    assert (result.verdict, result.cause, result.first_difference.step) == ("not-equivalent", "HR401", 0)


def test_a_loader_that_is_not_dealt_is_found(converted):
    wrong = converted(deal=("hvd.deal(", ""), weight=("loss * loader.weight", "loss"))
    result = verify(TINY, wrong, workers=2, scaling="weak", steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR201")


@pytest.mark.slow
def test_a_loader_that_is_dealt_for_strong_scaling_is_found(converted):
    wrong = converted(deal=('hvd.deal(loader, scaling="weak")', "hvd.deal(loader)"))
    result = verify(TINY, wrong, workers=2, scaling="weak", steps=8)
    assert (result.verdict, result.cause) == ("not-equivalent", "HR201")
    assert "holds 16 samples on 2 workers, and 32 on one" in result.why


def test_a_distributed_script_has_no_such_one_worker():
    with pytest.raises(HoraError, match="HR907") as error:
        verify(SCRIPTS / "by_hand_ddp.py", scaling="weak")
    assert "--alone" in error.value.mend


@pytest.mark.parametrize(
    ("options", "found"),
    [({"scaling": "much"}, "there is no such scaling"), ({"scaling": "weak", "alone": []}, "both say what one worker")],
)
def test_what_cannot_be_asked(options, found):
    with pytest.raises(HoraError, match=found):
        verify(TINY, **options)
