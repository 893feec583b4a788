"""Exercise 1 is graded by what the reader's functions compute; each known mistake is told in its words."""

import pytest

from hora.learn.exercises import exercise_1
from hora.learn.grading.apart import grade_apart
from hora.learn.grading.lesson_1 import judge


def right_gradient(x, y, w, b):
    error = w * x + b - y
    return (2 * error * x).mean(), (2 * error).mean()


def right_descent(x, y, w, b, rate, batches):
    for batch in batches:
        slope_w, slope_b = right_gradient(x[batch], y[batch], w, b)
        w, b = w - rate * slope_w, b - rate * slope_b
    return w, b


def faults(gradient=right_gradient, descend=right_descent):
    return [check.fault for check in judge({"gradient": gradient, "descend": descend})]


def test_a_right_answer_passes():
    assert faults() == [None, None]


def test_the_file_that_the_reader_starts_from_does_not_pass():
    zero, stays = faults(exercise_1.gradient, exercise_1.descend)
    assert "It is zero" in zero
    assert "no step is made" in stays


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x, y, w, b: [-one for one in right_gradient(x, y, w, b)], "sign is turned"),
        (lambda x, y, w, b: [one / 2 for one in right_gradient(x, y, w, b)], "half of it"),
        (lambda x, y, w, b: [one * len(x) for one in right_gradient(x, y, w, b)], "a sum over the samples"),
        (lambda x, y, w, b: [one * len(x) / 2 for one in right_gradient(x, y, w, b)], "half of a sum"),
        (lambda x, y, w, b: right_gradient(x, y, w, b)[::-1], "exchanged"),
        (lambda x, y, w, b: [right_gradient(x, y, w, b)[1]] * 2, "counts by its x"),
        (lambda x, y, w, b: (right_gradient(x, y, w, b)[0], 1.0), "dL/dw is right, dL/db is not"),
        (lambda x, y, w, b: (w, b), "Neither is right"),
        (lambda x, y, w, b: w * x + b - y, "must return two numbers"),
        (None, "no function `gradient`"),
    ],
)
def test_what_is_wrong_with_a_gradient_is_said(wrong, words):
    fault, other = faults(gradient=wrong)
    assert words in fault
    assert other is None


def climbing(x, y, w, b, rate, batches):
    return right_descent(x, y, w, b, -rate, batches)


def one_step(x, y, w, b, rate, batches):
    return right_descent(x, y, w, b, rate, batches[:1])


def whole(x, y, w, b, rate, batches):
    return right_descent(x, y, w, b, rate, [slice(None)] * len(batches))


def mixed(x, y, w, b, rate, batches):
    for batch in batches:
        w = w - rate * right_gradient(x[batch], y[batch], w, b)[0]
        b = b - rate * right_gradient(x[batch], y[batch], w, b)[1]
    return w, b


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (climbing, "It climbs"),
        (one_step, "one step only"),
        (whole, "takes all samples"),
        (mixed, "ends elsewhere"),
        (lambda *given: None, "must return (w, b)"),
    ],
)
def test_what_is_wrong_with_a_descent_is_said(wrong, words):
    assert words in faults(descend=wrong)[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [("while True: pass\n", "It did not within 1 s"), ("def gradient(\n", "Python says: SyntaxError")],
)
def test_a_file_that_does_not_come_to_an_end_or_is_no_python(tmp_path, text, words):
    path = tmp_path / "exercise_1.py"
    path.write_text(text)
    result = grade_apart("hora.learn.grading.lesson_1", path, seconds=1 if "while" in text else 30)
    assert not result.passed
    assert words in result.lines()[0]
