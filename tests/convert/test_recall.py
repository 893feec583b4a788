"""A call that comes again is recalled: fewer statements are followed, and nothing else differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixture_files import cases

from hora.convert import convert
from hora.convert.recall import Recalled
from hora.convert.source import parse
from hora.convert.walk import Walk

NESTED = """
import torch

def double(x):
    return x + x

def block(x, seen):
    x = double(x)
    seen.append(x)
    return double(x)

net = torch.nn.Linear(2, 2)
seen = []
for epoch in range(3):
    for step in range(4):
        for part in range(2):
            y = block(net(torch.ones(2)), seen)
"""


def steps() -> int:
    walk = Walk(parse(NESTED, path=Path("nested.py")))
    walk.run()
    return walk.work.done


def test_fewer_statements_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    recalled = steps()
    monkeypatch.setattr(Recalled, "fits", lambda *_: False)
    assert recalled < 0.8 * steps()


def test_what_is_found_is_what_following_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [case for case in cases() if case.read_text(encoding="utf-8").count("def ") > 2]
    assert several
    shown = [(one.refusals, one.notes, one.converted) for one in map(convert, several)]
    monkeypatch.setattr(Recalled, "fits", lambda *_: False)
    assert shown == [(one.refusals, one.notes, one.converted) for one in map(convert, several)]
