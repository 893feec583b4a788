"""Equal facts are one object, so that a loop ends where nothing is new."""

from __future__ import annotations

from dataclasses import replace

from hora.convert.spread import Kind, Spread, join, older
from hora.convert.values import Constant, Named, Value, of

ROWS = Spread(Kind.ROWS, frozenset({"loader"}), 0)


def test_equal_facts_are_one_object() -> None:
    assert Named("torch") is Named(name="torch")
    assert of(Named("torch")) is Value(things=frozenset({Named("torch")}))
    assert replace(replace(ROWS, axis=1), axis=0) is ROWS


def test_a_number_is_no_truth_value() -> None:
    assert Constant(1, "int") is not Constant(True, "bool")


def test_what_is_unlike_on_two_paths_is_the_same_in_each_round() -> None:
    count = Spread(Kind.COUNT, frozenset({"loader"}))
    assert join(ROWS, count) is join(ROWS, count)
    assert join(ROWS, count).kind is Kind.MIXED


def test_what_grows_old_grows_old_the_same_way_in_each_round() -> None:
    assert older(ROWS, frozenset({"loader"})) is older(ROWS, frozenset({"loader"}))
