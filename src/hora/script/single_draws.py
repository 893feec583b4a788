"""Random numbers that a training step draws one at a time, as for one sample after the other: counted.

Which sample such a number is for cannot be seen, so it cannot be drawn per sample (:mod:`hora.script.latent`). Where
one worker draws more of them in a step than each of several does, they go by the sample.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

_OF_PYTHON = ("random", "uniform", "randint", "randrange", "choice", "gauss", "normalvariate", "betavariate", "sample")
_OF_NUMPY = (
    "random", "random_sample", "rand", "randn", "uniform", "normal", "standard_normal", "randint", "beta", "choice",
)  # fmt: skip


class SingleDraws:
    """Counts the calls that draw from the streams of Python and, where it is installed, of NumPy."""

    def __init__(self) -> None:
        self._count = 0

    def taken(self) -> int:
        """Give how many there were since the last time."""
        count, self._count = self._count, 0
        return count

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count for as long as the context lasts."""
        with ExitStack() as patches:
            patches.enter_context(self._watched(random, _OF_PYTHON))
            try:
                import numpy as np
            except ImportError:
                pass
            else:
                patches.enter_context(self._watched(np.random, _OF_NUMPY))
            yield

    @contextmanager
    def _watched(self, module: ModuleType, names: tuple[str, ...]) -> Iterator[None]:
        originals = {name: getattr(module, name) for name in names}

        def counting(original: Callable[..., Any]) -> Callable[..., Any]:
            def drawing(*args: Any, **kwargs: Any) -> Any:
                self._count += 1
                return original(*args, **kwargs)

            return drawing

        for name, original in originals.items():
            setattr(module, name, counting(original))
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(module, name, original)
