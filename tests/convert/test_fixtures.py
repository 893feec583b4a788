"""Every rule on small scripts: what it writes, what it finds, and that there is nothing more to do after it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from fixture_files import ROOT, cases, converted, findings, found, output

from hora.convert import convert
from hora.convert.rules import RULES


def name(case: Path) -> str:
    return f"{case.parent.name}/{case.name.removesuffix('.in.py')}"


@pytest.mark.parametrize("case", cases(), ids=name)
def test_a_case_becomes_what_it_should(case: Path) -> None:
    conversion = converted(case)
    if not output(case).exists():
        assert conversion.refusals
        assert conversion.converted == conversion.original
        assert not conversion.edits
    else:
        assert not conversion.refusals
        assert conversion.converted == output(case).read_text(encoding="utf-8")
        ast.parse(conversion.converted)


@pytest.mark.parametrize("case", cases(), ids=name)
def test_a_case_is_found_out(case: Path) -> None:
    assert found(case) == findings(case).read_text(encoding="utf-8")


@pytest.mark.parametrize("case", [case for case in cases() if output(case).exists()], ids=name)
def test_a_converted_case_is_left_as_it_is(case: Path) -> None:
    again = convert(output(case))
    assert not again.refusals
    assert again.diff() == ""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.CODE)
def test_a_rule_is_shown_by_a_case_of_its_own(rule: object) -> None:
    code = rule.CODE  # type: ignore[attr-defined]
    texts = [findings(case).read_text(encoding="utf-8") for case in (ROOT / code).glob("*.in.py")]
    assert any(f" {code} " in text for text in texts)


def test_codes_are_distinct_and_in_order() -> None:
    codes = [rule.CODE for rule in RULES]
    assert codes == sorted(set(codes))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.CODE)
def test_a_rule_says_what_it_is_and_why(rule: object) -> None:
    assert rule.__doc__ == f"{rule.CODE}: {rule.TITLE}."  # type: ignore[attr-defined]
    assert rule.WHY.endswith(".")  # type: ignore[attr-defined]
    assert rule.__name__ == f"hora.convert.rules.{rule.CODE.lower()}"  # type: ignore[attr-defined]


def test_every_rule_that_mends_has_a_case_in_which_it_is_silent() -> None:
    for code in ("HR102", "HR201", "HR206", "HR301", "HR302", "HR401", "HR601", "HR602", "HR603"):
        texts = [findings(case).read_text(encoding="utf-8") for case in cases()]
        assert any(f" {code} " not in text for text in texts if text)
