"""What is printed is compared like a reader would: numbers as far as they are printed, times not at all."""

import pytest

from hora.verify.printed import first_difference

REFERENCE = ["epoch 1: loss 0.9265, 270/297 right, 3.1 s", "saved x.pt"]


def found(*lines, reference=REFERENCE, permuted=None):
    return first_difference(reference, permuted if permuted is not None else [reference] * 3, lines)


def test_equal_lines_agree():
    assert found(*REFERENCE) is None


def test_the_last_digit_may_be_rounded_the_other_way():
    assert found("epoch 1: loss 0.9266, 270/297 right, 3.1 s", "saved x.pt") is None


@pytest.mark.parametrize(
    "line", ["epoch 1: loss 0.4632, 270/297 right, 3.1 s", "epoch 1: loss 0.9265, 135/297 right, 3.1 s"]
)
def test_a_metric_of_one_worker_differs(line):
    assert found(line, "saved x.pt") == (REFERENCE[0], line)


def test_counts_are_exact():
    assert found("epoch 1: loss 0.9265, 271/297 right, 3.1 s", "saved x.pt") is not None


def test_durations_are_not_compared():
    assert found("epoch 1: loss 0.9265, 270/297 right, 9.7 s", "saved x.pt") is None


def test_what_changes_between_runs_of_one_worker_is_noise():
    others = [["rate 101.25"], ["rate 99.75"], ["rate 100.00"]]
    assert found("rate 7.50", reference=["rate 100.50"], permuted=others) is None


def test_a_missing_line_differs():
    assert found(REFERENCE[0]) == ("saved x.pt", None)


def test_an_additional_line_differs():
    assert found(*REFERENCE, "worker 0 here") == (None, "worker 0 here")


def test_nan_equals_nan():
    assert found("loss nan", reference=["loss nan"]) is None
    assert found("loss 0.5", reference=["loss nan"]) == ("loss nan", "loss 0.5")


def test_a_line_that_correct_runs_lack_is_not_missed():
    reference = ["epoch 1: loss 0.5", "new best 0.5", "epoch 2: loss 0.4"]
    others = [reference, ["epoch 1: loss 0.5", "epoch 2: loss 0.4"], reference]
    assert found("epoch 1: loss 0.5", "epoch 2: loss 0.4", reference=reference, permuted=others) is None
    assert found("epoch 1: loss 0.5", "new best 0.5", "epoch 2: loss 0.4", reference=reference, permuted=others) is None
    wrong = found("epoch 1: loss 0.5", "epoch 2: loss 0.2", reference=reference, permuted=others)
    assert wrong == ("epoch 2: loss 0.4", "epoch 2: loss 0.2")


def test_what_follows_an_additional_line_is_held_against_its_own():
    assert found("worker 0 here", *REFERENCE) == (None, "worker 0 here")


def test_only_the_end_of_a_progress_bar_is_read():
    assert found("1/9 2.0\r9/9 1.0", reference=["1/9 2.1\r9/9 1.0"]) is None


def test_many_lines_take_no_time():
    lines = [f"step {i}: loss {1 / (i + 1):.6f}" for i in range(1900)]
    assert found(*lines, reference=lines) is None
    assert found(*lines[:-1], reference=lines) == (lines[-1], None)
