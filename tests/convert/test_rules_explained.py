"""The catalogue of rules: every code has an example that it finds and one that it does not, and a page that is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from hora.convert import check, convert
from hora.convert.catalogue import CATALOGUE, EXAMPLES
from hora.convert.distributed.rules import RULES as DISTRIBUTED
from hora.convert.explaining import as_list, as_markdown, as_page, as_record
from hora.convert.rules import RULES
from hora.errors import HoraError

PAGES = Path(__file__).parents[2] / "docs" / "rules"


def codes(script: Path) -> set[str]:
    """Give the codes that a check finds, and those that a conversion speaks of."""
    found = {finding.code for finding in check(script)}
    try:
        conversion = convert(script)
    except HoraError:
        return found
    return found | {one.code for one in (*conversion.refusals, *conversion.notes)}


def test_every_rule_of_either_side_is_in_the_catalogue() -> None:
    assert set(CATALOGUE) == {rule.CODE for rule in (*RULES, *DISTRIBUTED)}
    assert len(DISTRIBUTED) == len({rule.CODE for rule in DISTRIBUTED})


@pytest.mark.parametrize("code", CATALOGUE)
def test_the_wrong_example_is_found_and_the_right_one_is_not(code: str) -> None:
    assert code in codes(EXAMPLES / f"{code}.wrong.py")
    assert code not in codes(EXAMPLES / f"{code}.right.py")


def test_no_example_is_of_no_rule() -> None:
    assert {path.name.split(".")[0] for path in EXAMPLES.glob("*.py")} == set(CATALOGUE)


def test_the_pages_of_the_documentation_are_those_of_the_rules() -> None:
    """``python tests/convert/test_rules_explained.py`` writes them anew."""
    assert {path.stem for path in PAGES.glob("HR*.md")} == set(CATALOGUE)
    for code, entry in CATALOGUE.items():
        assert (PAGES / f"{code}.md").read_text(encoding="utf-8") == as_markdown(entry)


def test_a_page_and_a_list_say_what_the_fields_say() -> None:
    entry = CATALOGUE["HR301"]
    record = as_record(entry)
    assert (record["mends"], record["computes"], record["distributed"]) == (True, True, True)
    page = as_page(entry)
    assert page.startswith("HR301  every optimizer that steps is wrapped\n\nWith only the generator")
    assert "    hvd.broadcast_parameters(" in page
    assert as_list([entry, CATALOGUE["HR602"]]) == (
        "HR301  mends  computes  every optimizer that steps is wrapped\nHR602  mends            worker 0 speaks\n"
    )


if __name__ == "__main__":
    for one in CATALOGUE.values():
        (PAGES / f"{one.code}.md").write_text(as_markdown(one), encoding="utf-8")
