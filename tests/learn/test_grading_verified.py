"""Exercises 2 and 4 are graded by Hora's judges: a right file passes, a wrong one is told why."""

import pytest

from hora.convert import convert
from hora.learn import grade, start
from hora.learn.grading.checks import Check, Grade
from hora.learn.grading.lesson_2 import fault_of
from hora.learn.judging import changed, keep_warm, script
from hora.verify import Verification

MENDS = (
    ("lr=0.05 * hvd.size()", "lr=0.05"),
    ("loss.backward()", "(loss * loader.weight).backward()"),
    ("\nfor epoch", "hvd.broadcast_parameters(model.state_dict(), root_rank=0)\n\nfor epoch"),
)


def mended(path, *mends):
    text = path.read_text()
    for old, new in mends:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


def test_a_fault_comes_with_its_rule_s_hint():
    result = Verification("not-equivalent", "gradients differ", "look", 3, 6, cause="HR206")
    assert fault_of(result) == (
        "NOT EQUIVALENT: gradients differ. "
        "Slices of unequal size count by their samples: multiply the loss by loader.weight"
    )
    assert fault_of(Verification("cannot-tell", "it fails", "look", 3, 6)) == "CANNOT TELL: it fails. look"
    assert fault_of(Verification("equivalent", "", "", 3, 6)) is None


def test_a_grade_is_told_line_by_line():
    result = Grade((Check("this"), Check("that", "It is not")))
    assert not result.passed
    assert result.lines() == ("right: this", "wrong: that. It is not")
    assert "**Not yet.**" in result.markdown()


def test_a_file_that_is_no_python_is_a_fault(tmp_path):
    for number in (2, 4):
        path = tmp_path / f"exercise_{number}.py"
        path.write_text("def train(:\n")
        assert "not Python" in grade(number, path).checks[0].fault


def test_what_changed_is_a_diff_without_its_head():
    assert changed("a\nb\n", "a\nc\n") == "-b\n+c"


@pytest.mark.slow
def test_exercise_2_passes_with_all_three_mended_and_not_with_two(tmp_path):
    keep_warm()
    for left_out in range(3):
        (tmp_path / str(left_out)).mkdir()
        path = start(2, tmp_path / str(left_out))
        mended(path, *(mend for number, mend in enumerate(MENDS) if number != left_out))
        (check,) = grade(2, path).checks
        assert check.fault.startswith("NOT EQUIVALENT"), left_out
    result = grade(2, mended(start(2, tmp_path), *MENDS))
    assert result.passed, result.lines()


@pytest.mark.slow
def test_exercise_4_passes_with_what_convert_writes_and_not_as_it_starts(tmp_path):
    keep_warm()
    path = start(4, tmp_path)
    result = grade(4, path)
    assert not result.passed
    assert {check.asked[:1] for check in result.checks[:7] if check.fault} >= {"1", "3", "5", "7"}
    path.write_text(convert(script("train")).converted)
    result = grade(4, path)
    assert result.passed, result.lines()
