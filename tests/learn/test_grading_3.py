"""Exercise 3 is graded by playing the reader's rounds; who lacks whose vector is said."""

import pytest

from hora.learn.exercises import exercise_3
from hora.learn.grading.lesson_3 import judge


def doubling(size):
    rounds, distance = [], 1
    while distance < size:
        rounds.append([(rank, rank ^ distance) for rank in range(size)])
        distance *= 2
    return rounds


def fault(function):
    return next(check.fault for check in judge({"doubling": function}) if check.fault)


def test_a_right_answer_passes():
    assert [check.fault for check in judge({"doubling": doubling})] == [None, None]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (exercise_3.doubling, "With 2 workers, worker 0 lacks the vector of worker 1"),
        (lambda size: doubling(size)[:2], "With 8 workers, worker 0 lacks the vector of worker 4"),
        (lambda size: doubling(size) + doubling(size)[:1], "holds 2 times"),
        (lambda size: [[(0, rank)] for rank in range(1, size)], "worker 0 lacks the vector of worker 1"),
        (lambda size: [[(rank, rank + 1) for rank in range(size)]], "there is no worker 2 among 2"),
        (lambda size: [[(0, 0)]], "sends to itself"),
        (lambda size: [*doubling(size), []], "It takes 2, 3, 4"),
        (lambda size: None, "must return lists"),
        (None, "no function `doubling`"),
    ],
)
def test_what_is_wrong_is_said(wrong, words):
    assert words in fault(wrong)
