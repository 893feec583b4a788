from __future__ import annotations

from collections.abc import Iterator

import pytest

from hora.verify.zygotes import kept_warm


@pytest.fixture(scope="session", autouse=True)
def warm() -> Iterator[None]:
    """One import of torch for all verifications."""
    with kept_warm():
        yield
