"""Processes that verifications share end with the last who keeps them."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from hora.verify import zygotes


def test_blocks_that_are_left_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygotes, "_kept", None)
    monkeypatch.setattr(zygotes, "_keeping", 0)
    outer, inner = ExitStack(), ExitStack()
    outer.enter_context(zygotes.kept_warm())
    inner.enter_context(zygotes.kept_warm())
    with zygotes.zygotes(("json",)) as pair:
        assert all(zygote.is_alive() for zygote in pair)
    outer.close()
    assert all(zygote.is_alive() for zygote in pair), "the inner block still keeps them"
    inner.close()
    assert not any(zygote.is_alive() for zygote in pair)
