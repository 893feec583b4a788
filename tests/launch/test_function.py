"""`hora.run` calls a function as several workers."""

from __future__ import annotations

import pickle

import functions
import pytest

import hora
from hora.errors import HoraError
from hora.launch import calling


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


def test_a_function_of_the_script_keeps_its_file_for_tracebacks():
    pytest.importorskip("cloudpickle")
    assert pickle.loads(calling.dump(lambda: 1)).__code__.co_filename == __file__


def test_horovods_other_arguments_decide_nothing():
    with pytest.raises(TypeError, match="'speed'"):
        hora.run(functions.place, (0,), use_gloo=True, speed=3)


def test_results_are_those_of_the_last_generation():
    assert hora.run(functions.fail_in_the_first_generation, num_proc=2, min_num_proc=1, max_num_proc=2) == [10, 11]


def test_a_worker_that_ends_in_the_midst_of_the_call_is_named():
    with pytest.raises(HoraError, match=r"worker 0 ended well, but the function did not return there"):
        hora.run(functions.leave)


def test_a_result_that_cannot_be_unpickled_here_is_an_error():
    with pytest.raises(HoraError, match=r"what worker 0 returned cannot be unpickled here: KeyError: 'here'"):
        hora.run(functions.give_back_what_does_not_arrive)


def test_what_each_worker_wrote_is_kept_where_asked(tmp_path):
    hora.run(functions.say, output_filename=tmp_path)
    assert (tmp_path / "rank.0" / "stdout").read_text() == "hear, hear\n"
