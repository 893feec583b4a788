"""Whole conversions: the golden pair, what is reported, what is left out, and texts that nobody wrote by hand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from fixture_files import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hora.convert import check, convert

DIGITS = Path(__file__).parents[2] / "examples" / "vision" / "digits.py"
GOLDEN = Path(__file__).parent / "digits.out.py"


def test_the_golden_pair() -> None:
    conversion = convert(DIGITS)
    assert conversion.converted == GOLDEN.read_text(encoding="utf-8")
    assert not conversion.refusals
    assert not conversion.notes


def test_each_edit_tells_its_rule_its_reason_and_its_line() -> None:
    edits = convert(DIGITS).edits
    lines = DIGITS.read_text(encoding="utf-8").splitlines()
    codes = ["HR101", "HR102", "HR201", "HR206", "HR301", "HR302", "HR601", "HR602", "HR603"]
    assert sorted({edit.code for edit in edits}) == codes
    weighed = next(edit for edit in edits if edit.code == "HR206")
    assert lines[weighed.line - 1] == "        loss.backward()"
    assert weighed.text == "(loss * loader.weight).backward()"
    assert weighed.reason == "the loss of a slice is averaged without its weight"
    assert [edit.line for edit in edits] == sorted(edit.line for edit in edits)


def test_the_diff_is_one_that_patch_understands() -> None:
    diff = convert(DIGITS).diff()
    assert diff.startswith(f"--- {DIGITS}\n+++ {DIGITS}\n@@ -6,6 +6,7 @@\n")
    assert diff.count("\n-") - 1 == 4


def test_the_converted_script_has_nothing_to_find(tmp_path: Path) -> None:
    script = tmp_path / "digits.py"
    script.write_text(convert(DIGITS).converted)
    assert check(script) == ()
    assert convert(script).diff() == ""


@pytest.mark.parametrize("code", ["HR102", "HR206", "HR301", "HR302", "HR601", "HR602", "HR603"])
def test_a_rule_that_is_left_out_is_found_missing(code: str, tmp_path: Path) -> None:
    conversion = convert(DIGITS, skip={code})
    assert not conversion.refusals
    assert code not in {edit.code for edit in conversion.edits}
    script = tmp_path / "digits.py"
    script.write_text(conversion.converted)
    assert {finding.code for finding in check(script)} == {code}


def test_findings_are_lines_that_a_linter_prints() -> None:
    finding = next(one for one in check(DIGITS) if one.code == "HR201")
    assert str(finding) == f"{DIGITS}:85:20 HR201 its batches are not dealt over the workers"
    assert finding.mendable
    assert not finding.refusal
    assert not finding.note


def test_a_module_beside_the_script_is_followed_and_not_edited(tmp_path: Path) -> None:
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "__init__.py").write_text("from .net import *\n")
    (tmp_path / "networks" / "net.py").write_text(
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = nn.Linear(8, 3)\n\n    def forward(self, x):\n        return self.layer(x)\n"
    )
    script = tmp_path / "train.py"
    script.write_text((ROOT / "HR908" / "model_from_elsewhere.in.py").read_text())
    conversion = convert(script)
    assert not conversion.refusals
    assert "hvd.broadcast_parameters(model.state_dict(), root_rank=0)" in conversion.converted


def test_what_a_module_beside_the_script_does_wrong_is_refused_there(tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text("def loss(output, target):\n    return ((output - target) ** 2).sum(1)\n")
    script = tmp_path / "train.py"
    text = (ROOT / "HR101" / "module.in.py").read_text()
    script.write_text("from losses import loss as distance\n" + text.replace("F.cross_entropy(", "distance("))
    (refusal,) = convert(script).refusals
    assert (refusal.code, refusal.line) == ("HR303", 17)


QUIET = [
    "# a comment",
    "",
    "numbers = {'a': [1, 2], 'b': '''three\n  lines\n'''}",
    "add = lambda a, *b, c=1, **d: (a, b, c, d)",
    "def helper(a, /, b=2, *, c): return a; pass",
    "class Empty: value = 1",
    "if 1: pass",
    "größe = 'ü'  # ä",
    "values = [i for i in range(3) if i]",
    "try: pass\nfinally: text = f'{1!r:>{10}}'",
    "long = (1 +\n\t2)\n\f",
]


def fixture(case: str) -> str:
    return (ROOT / f"{case}.in.py").read_text(encoding="utf-8")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(
        ["HR101/module", "HR101/half_converted", "HR601/running_loss", "HR602/inside_if_and_one_line"]
    ),
    before=st.lists(st.sampled_from(QUIET), max_size=3),
    after=st.lists(st.sampled_from(QUIET), max_size=3),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_lines_that_no_rule_touches_stay_as_they_are(
    tmp_path: Path, case: str, before: list[str], after: list[str], newline: str
) -> None:
    head, text, tail = ("\n".join([*lines, ""]) for lines in (before, [fixture(case)], after))
    script = tmp_path / "train.py"
    script.write_bytes((head + text + tail).replace("\n", newline).encode())
    conversion = convert(script)
    ast.parse(conversion.converted)
    assert not conversion.refusals
    assert head.replace("\n", newline) in conversion.converted
    assert conversion.converted.endswith(tail.replace("\n", newline))
    script.write_bytes(conversion.encoded())
    assert convert(script).diff() == ""
