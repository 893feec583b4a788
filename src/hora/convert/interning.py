"""Equal facts are one object: a walk compares and looks up the same few thousand of them many million times."""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

_KNOWN: WeakValueDictionary[tuple[object, ...], Any] = WeakValueDictionary()


class Interned(type):
    """The type of frozen dataclasses of which there is one object for equal fields.

    With ``eq=False``, to be equal is then to be the same, which neither hashes nor compares what the fields hold.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Give the object with these fields, a new one where there is none yet."""
        call = (cls, args, *kwargs.items())
        made = _KNOWN.get(call)
        if made is None:
            made = super().__call__(*args, **kwargs)
            _KNOWN[call] = made = _KNOWN.setdefault((cls, *made.__dict__.values()), made)
        return made
