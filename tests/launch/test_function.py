"""`hora.run` calls a function as several workers."""

from __future__ import annotations

import functions
import pytest

import hora
from hora.errors import HoraError
from hora.launch import calling
from hora.launch.calling import read_results


def test_each_worker_returns_its_own():
    assert hora.run(functions.place, args=(5,), kwargs={"scale": 2}, num_proc=2) == [(5, 2), (7, 2)]


def test_a_worker_that_fails_is_named_with_its_traceback():
    with pytest.raises(HoraError) as caught:
        hora.run(functions.fail_on, (1,), np=2)
    assert "worker 1 failed" in str(caught.value)
    assert 'raise ValueError("no such luck")' in str(caught.value)
    assert caught.value.status == 1


def test_a_result_that_cannot_be_pickled_is_an_error():
    with pytest.raises(HoraError, match="cannot pickle 'generator' object"):
        hora.run(functions.give_back_what_cannot_travel)


def test_a_function_of_the_script_needs_cloudpickle(monkeypatch):
    monkeypatch.setattr(calling, "find_spec", lambda name: None)
    monkeypatch.setattr(functions.place, "__module__", "__main__")
    with pytest.raises(HoraError, match="Install cloudpickle"):
        hora.run(functions.place)


def test_what_pickle_refuses_is_refused_before_a_worker_starts():
    with pytest.raises(HoraError, match="does not travel"):
        hora.run(functions.place, (open,), {"x": (each for each in "a")})


def test_horovods_other_arguments_decide_nothing():
    with pytest.raises(TypeError, match="'speed'"):
        hora.run(functions.place, (0,), use_gloo=True, speed=3)


def test_results_are_those_of_the_last_generation(tmp_path):
    for name, text in {"result-0-2": b"I0\n.", "result-1-0": b"I10\n.", "result-1-1": b"I11\n."}.items():
        (tmp_path / name).write_bytes(text)
    assert read_results(tmp_path) == [10, 11]
