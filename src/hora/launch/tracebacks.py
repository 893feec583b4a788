"""Holds a worker's traceback back while it streams, so that in the end the cause's alone is printed, once.

Several workers fail within milliseconds, most of them only because the first did. Whether a traceback is its worker's
last words shows when the worker ends; one that the worker survives (a logged exception) is passed on after a while.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

BURST_SECONDS = 0.1
"""Python writes a message at once: lines that follow its first this closely may belong to it."""

HOLD_SECONDS = 3.0
"""A worker that lives this long after a traceback has survived it, or hangs: either way the user should see it."""

# Python's own header, or the box that rich (and so typer) draws.
_HEADER = re.compile(r"Traceback \(most recent call last\):$|╭─+ Traceback \(most recent call last\) ─+╮$")
_FRAME = re.compile(r"[\s╭│╰]")
_CHAIN = re.compile(r"During handling of the above exception, another|The above exception was the direct cause")
# A traceback that follows one of these lines does not end the process.
_NOT_FATAL = re.compile(
    rf"Exception ignored |Exception in thread |--- Logging error ---|Process \S+:$|{_CHAIN.pattern}"
)
# What torch and Python say by themselves while a process that has failed winds up.
_WINDING_UP = re.compile(
    r"(\[rank\d+\]:)?\[[WEIF]\d{4} |terminate called |  what\(\):|Exception ignored |\S+:\d+: \w*Warning: "
)
_RANK = re.compile(r"\[rank\d+\]: ")  # put before each line by torch.distributed's excepthook
_LOST_CONNECTION = re.compile(
    r"connection (was )?(likely )?(closed|reset|refused|aborted)|broken pipe|socket (was )?closed|pair closure"
    r"|failed to (recv|send), got 0 bytes|remote process exited|ncclRemoteError|NCCL communicator was aborted"
    r"|failed: worker \d+ (is gone|has left:)",  # as `hora.torch` says it
    re.IGNORECASE,
)


def tells_lost_connection(lines: Iterable[str]) -> bool:
    """Whether a worker's last words tell that another worker has gone: the words of a victim."""
    return any(_LOST_CONNECTION.search(line) for line in lines)


@dataclass
class Traceback:
    """A traceback with those it is chained to, as far as it has come.

    Attributes
    ----------
    begun_at
        When its first line came: seconds since the start of the run.
    lines
        Its lines as they came.
    message
        Where in `lines` the message of the last exception begins.
    doubtful
        Where in `lines` begins what may be more of that message, or something else altogether.
    """

    begun_at: float
    lines: list[str]
    message: int | None = None
    doubtful: int | None = None

    @property
    def text(self) -> str:
        """All of it, without the rank that torch puts before each line."""
        return "\n".join(map(_without_rank, self.lines)).rstrip()

    @property
    def error(self) -> str | None:
        """First line of the exception that it ends in, such as ``"ValueError: boom"``."""
        return None if self.message is None else _without_rank(self.lines[self.message])

    @property
    def lost_connection(self) -> bool:
        """Whether it tells that another worker has gone."""
        return tells_lost_connection(line for line in map(_without_rank, self.lines) if not _FRAME.match(line))

    @property
    def ranked(self) -> bool:
        """Whether torch put the rank before its lines, those of the message as well."""
        return _RANK.match(self.lines[0]) is not None


class _State(enum.Enum):
    OUTSIDE = enum.auto()
    FRAMES = enum.auto()
    MESSAGE = enum.auto()
    CHAIN = enum.auto()


class TracebackHold:
    """Takes the lines of one worker's stderr and gives back those that may be shown at once.

    Attributes
    ----------
    traceback
        The last one; None again once the worker has survived it and written on.
    """

    def __init__(self) -> None:
        self.traceback: Traceback | None = None
        self._state = _State.OUTSIDE
        self._shown = False
        self._message_at = 0.0
        self._previous = ""

    def feed(self, line: str, now: float) -> list[str]:
        """Take a line; return those to show now, in order."""
        plain = _without_rank(line)
        held = self.traceback
        if held is not None and self._goes_on(held, line, plain, now):
            held.lines.append(line)
            return []
        if _HEADER.match(plain) and not _NOT_FATAL.match(self._previous):
            show = self.let_go()
            self.traceback, self._state = Traceback(now, [line]), _State.FRAMES
            return show
        self._state = _State.OUTSIDE
        if self._shown:
            self.let_go()
        self._previous = plain or self._previous
        return [line]

    def tick(self, now: float) -> list[str]:
        """Return what has been held for too long, now that the worker lives on."""
        if self.traceback is None or self._shown or now - self.traceback.begun_at <= HOLD_SECONDS:
            return []
        self._state, self._shown = _State.OUTSIDE, True
        return self.traceback.lines

    def let_go(self) -> list[str]:
        """Forget the traceback, because the worker did not die of it; return what was not shown yet."""
        lines = [] if self.traceback is None or self._shown else self.traceback.lines
        self.traceback, self._shown = None, False
        return lines

    def doubtful(self) -> list[str]:
        """Lines held that may be something else than part of the traceback."""
        held = self.traceback
        return [] if held is None or held.doubtful is None or self._shown else held.lines[held.doubtful :]

    def _goes_on(self, held: Traceback, line: str, plain: str, now: float) -> bool:
        """Whether the traceback goes on with this line."""
        if self._state is _State.FRAMES:
            if not _FRAME.match(plain):
                held.message, self._state, self._message_at = len(held.lines), _State.MESSAGE, now
            return True
        if self._state is _State.CHAIN:
            if _HEADER.match(plain):
                held.doubtful, self._state = None, _State.FRAMES
            return not plain or self._state is _State.FRAMES
        late = now - self._message_at > BURST_SECONDS
        if self._state is _State.OUTSIDE or late or _HEADER.match(plain) or _WINDING_UP.match(line):
            return False
        if _CHAIN.match(plain):
            self._state = _State.CHAIN
        elif held.ranked:
            return line != plain or not line
        elif held.doubtful is None and plain and not plain[0].isspace():
            held.doubtful = len(held.lines)
        return True


def _without_rank(line: str) -> str:
    return _RANK.sub("", line, count=1)
