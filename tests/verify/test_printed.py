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
