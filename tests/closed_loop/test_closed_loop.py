"""A tenth of the closed loop, another one each day."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from closing import every_case, outcomes


@pytest.mark.slow
def test_every_case_is_wrong_in_one_way(tmp_path: Path) -> None:
    cases = every_case(tmp_path)
    assert len({(case.example.script, case.name) for case in cases}) == len(cases)
    assert all(case.converted != case.original for case in cases)


@pytest.mark.slow
def test_todays_tenth_is_detected_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for outcome in outcomes(every_case(tmp_path)[datetime.date.today().toordinal() % 10 :: 10]):
        case, result = outcome.case, outcome.result
        assert outcome.detected, f"{case.example.script}, {case.name}: {result.why}"
        assert outcome.named is not False, f"{case.example.script}, {case.name}: named {result.cause}: {result.why}"
