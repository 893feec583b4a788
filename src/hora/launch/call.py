"""A function's call as the launcher carries it: to each host of the workers before they start, and its results back.

Both travel the way that everything else goes between the launcher and a host (`hora.launch.connection`), so that the
hosts need no directory in common, and whoever may not log in there can change neither.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hora.errors import HoraError
from hora.launch.calling import FUNCTION, RESULT, by_value, dump
from hora.launch.generation import Site
from hora.launch.hosts import Place

COMMAND = (sys.executable, "-u", "-c", "from hora.launch.calling import call; call()")
"""What each worker executes."""


class Call:
    """A `hora.launch.job.Errand`.

    Parameters
    ----------
    func, args, kwargs
        What each worker calls, with which arguments.

    Attributes
    ----------
    asked
        The call in words, for errors.

    Raises
    ------
    HoraError
        They cannot be pickled.
    """

    def __init__(self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.asked = f"run {getattr(func, '__qualname__', func)}"
        self._data = pickle.dumps(sys.path) + _pickled(self.asked, func, (func, tuple(args), dict(kwargs)))
        self._results: list[bytes] = []

    def bring(self, site: Site, places: Sequence[Place], directory: Path) -> None:
        """Write the call into a directory of each host."""
        for host in dict.fromkeys(place.host for place in places):
            site.write(host, directory / FUNCTION, self._data)

    def fetch(self, site: Site, places: Sequence[Place], directory: Path) -> None:
        """Read what each worker has returned.

        Raises
        ------
        HoraError
            One ended the process in the midst of the call.
        """
        self._results = []
        for place in places:
            result = site.read(place.host, directory / RESULT.format(rank=place.rank))
            if result is None:
                raise HoraError(
                    self.asked,
                    f"worker {place.rank} ended well, but the function did not return there",
                    "Return from it in place of sys.exit(), also in what it calls.",
                )
            self._results.append(result)

    def results(self) -> list[Any]:
        """Return what the workers have returned, by rank.

        Raises
        ------
        HoraError
            A result cannot be unpickled here.
        """
        results = []
        for rank, data in enumerate(self._results):
            try:
                results.append(pickle.loads(data))
            except Exception as error:  # whatever the classes of the result raise
                raise HoraError(
                    self.asked,
                    f"what worker {rank} returned cannot be unpickled here: {type(error).__name__}: {error}",
                    "Return what this process can import.",
                ) from error
        return results


def _pickled(asked: str, func: Callable[..., Any], call: object) -> bytes:
    """Pickle a function and its arguments, by cloudpickle where that is installed."""
    if not by_value() and getattr(func, "__module__", "") == "__main__":
        raise HoraError(
            asked,
            "the function stands in the script itself, where workers cannot import it",
            "Install cloudpickle, or move the function to a module and import it.",
        )
    try:
        return dump(call)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        mend = "Pass what can be pickled." if by_value() else "Install cloudpickle, or pass what pickle can pickle."
        raise HoraError(asked, f"it does not travel to the workers: {error}", mend) from error
