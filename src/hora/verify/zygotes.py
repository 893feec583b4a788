"""The two processes that a verification's workers are forked from; in each of them sets of strings have another order.

The original and worker 0 of its conversion are forked from the first, the other workers from the second: what rests on
the order of a set, and is not taken from worker 0, then shows as the difference that it is between processes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from hora.launch.zygote import Zygote

Pair: TypeAlias = tuple[Zygote, Zygote]

_one_at_a_time = threading.Lock()
# Whoever keeps them last ends them: blocks may be left in any order, as by functions at the interpreter's end.
_kept: dict[tuple[str, ...], Pair] | None = None
_keeping = 0


@contextmanager
def kept_warm() -> Iterator[None]:
    """Let the verifications within share their processes, which take seconds to import torch.

    >>> @pytest.fixture(scope="session", autouse=True)
    ... def warm():
    ...     with hora.testing.kept_warm():
    ...         yield
    """
    global _kept, _keeping
    with _one_at_a_time:
        _kept = {} if _kept is None else _kept
        _keeping += 1
    try:
        yield
    finally:
        with _one_at_a_time, ExitStack() as entered:
            _keeping -= 1
            if not _keeping:
                for pair in _kept.values():
                    for zygote in pair:
                        entered.push(zygote)
                _kept = None


@contextmanager
def zygotes(modules: Sequence[str]) -> Iterator[Pair]:
    """Two processes that have imported `modules`: new ones, or those that are `kept`."""
    key = (*modules, *(os.environ.get(name, "") for name in ("PATH", "PYTHONPATH", "PYTHONHASHSEED", *threads())))
    with ExitStack() as entered:
        with _one_at_a_time:
            pair = _kept.get(key) if _kept is not None else None
            if pair is None or not all(zygote.is_alive() for zygote in pair):
                pair = _started(modules, "1", entered), _started(modules, "2", entered)
                if _kept is not None:
                    _kept[key] = pair
                    entered.pop_all()
        yield pair


def threads() -> dict[str, str]:
    """Variables for a zygote and its workers: many threads would only make a short run longer."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def _started(modules: Sequence[str], hash_seed: str, entered: ExitStack) -> Zygote:
    env = {**threads(), "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", hash_seed)}
    return entered.enter_context(Zygote(modules, env))
