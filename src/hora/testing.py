"""For a team's own tests: assert that a script trains the same on several workers.

>>> from hora.testing import assert_equivalent
>>> def test_training_scales():
...     assert_equivalent("train.py", workers=2, args=["--epochs", "1"])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hora.verify import Verification, verify
from hora.verify.zygotes import kept_warm

__all__ = ["assert_equivalent", "kept_warm"]


def assert_equivalent(
    script: str | os.PathLike[str],
    converted: str | os.PathLike[str] | None = None,
    *,
    workers: int = 2,
    args: Sequence[str] = (),
    scaling: str = "strong",
    steps: int = 20,
    seed: int = 0,
    timeout: float = 600.0,
) -> Verification:
    """Assert that `converted` on several workers trains what `script` trains on one, as ``hora verify`` finds out.

    Parameters
    ----------
    script, converted
        The original and its conversion; without one, `script` is converted for the comparison.
    workers, args, scaling, steps, seed, timeout
        As in `hora.verify.verify`.

    Returns
    -------
    Verification
        The evidence, for further assertions.

    Raises
    ------
    AssertionError
        It does not, or that cannot be told; the message says why and what to do.
    HoraError
        A file is not there, is no Python script, or cannot be converted; or there is no such scaling.
    """
    result = verify(
        Path(script),
        None if converted is None else Path(converted),
        workers=workers,
        args=args,
        scaling=scaling,
        steps=steps,
        seed=seed,
        timeout=timeout,
    )
    if result.verdict != "equivalent":
        answer = result.verdict.replace("-", " ").upper()
        how = f"{workers} workers" + (", weak scaling" if scaling == "weak" else "")
        raise AssertionError(f"{script} with {how}: {answer}: {result.why}. {result.next}")
    return result
