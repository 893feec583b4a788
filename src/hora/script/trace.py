"""The stream of events on disk: a JSON object a line, written as it happens; a killed worker leaves what it did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

from hora.script import events
from hora.script.events import Event

_TYPES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        events.PassBegan,
        events.PassPlanned,
        events.BatchLoaded,
        events.BatchCut,
        events.StreamRead,
        events.BatchDrew,
        events.PassEnded,
        events.BackwardRan,
        events.OptimizerBegan,
        events.OptimizerStepped,
        events.Printed,
        events.RunEnded,
        events.FilesWritten,
        events.StatisticsKept,
    )
}


class TraceWriter:
    """Writes events to a file, each line complete when `write` returns."""

    def __init__(self, path: Path) -> None:
        # Opened before the script runs, in its process: the script may close or redirect the standard streams.
        self._file: TextIO = open(path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115

    def write(self, event: Event) -> None:
        """Append one event; its fields are values and tuples, which JSON takes as they are."""
        self._file.write(json.dumps({"event": type(event).__name__, **vars(event)}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_trace(path: Path) -> tuple[Event, ...]:
    """Read the events of one worker; a last line that a killed worker left half written is passed over.

    Returns an empty tuple where the worker never came to write one.
    """
    if not path.exists():
        return ()
    read: list[Event] = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                break
            fields = json.loads(line)
            kind = _TYPES[fields.pop("event")]
            read.append(kind(**{name: _frozen(value) for name, value in fields.items()}))
    return tuple(read)


def _frozen(value: Any) -> Any:
    """Turn JSON's lists back into the tuples that the records hold."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
