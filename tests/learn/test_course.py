"""The course as a command: its list, its errors, the readers' files."""

import importlib.util
import socket

import pytest

from hora.errors import HoraError
from hora.learn import LESSONS, SECOND_HALF, grade, lesson, serve, start


def test_lessons_are_whole():
    assert [one.number for one in LESSONS] == list(range(1, len(LESSONS) + 1))
    for one in LESSONS:
        assert one.path.is_file()
        assert one.objective
        assert one.exercise
        assert min(one.minutes) > 0
    assert SECOND_HALF


def test_a_lesson_that_is_none():
    with pytest.raises(HoraError, match="the lessons are 1 to"):
        lesson(99)


@pytest.mark.parametrize("number", [one.number for one in LESSONS])
def test_a_reader_s_file_is_not_written_over(number, tmp_path):
    path = start(number, tmp_path)
    assert path.read_text().startswith('"""Exercise')
    path.write_text("mine\n")
    assert start(number, tmp_path) == path
    assert path.read_text() == "mine\n"


def test_a_directory_that_cannot_be_written(tmp_path):
    with pytest.raises(HoraError, match="it cannot be written"):
        start(1, tmp_path / "absent")


def test_grading_a_file_that_is_not_there(tmp_path):
    with pytest.raises(HoraError, match="there is no such file"):
        grade(1, tmp_path / "exercise_1.py")


def test_marimo_that_is_not_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "marimo" else find(name))
    with pytest.raises(HoraError, match=r"marimo is not installed. pip install 'hora\[learn\]'"):
        serve(LESSONS[0])


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(HoraError, match=r"is taken, or not for you. Take another.*hora learn 1 --port"):
            serve(LESSONS[0], port=taken.getsockname()[1])
