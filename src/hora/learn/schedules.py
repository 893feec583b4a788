"""All-reduce as a list of rounds: who sends which part to whom. Played step by step here, run in `exchange`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One worker sends one part of its vector to another.

    Attributes
    ----------
    source, target
        Ranks.
    part
        Which part; a schedule cuts the vector into equal parts, numbered from 0.
    adds
        Whether the target adds what it gets to its own, or takes it instead.
    """

    source: int
    target: int
    part: int
    adds: bool


Round = tuple[Message, ...]


@dataclass(frozen=True)
class Schedule:
    """Rounds, one after the other; the messages of one round travel at once.

    Attributes
    ----------
    size
        Number of workers.
    parts
        Into how many parts the vector is cut.
    rounds
        The messages.
    """

    size: int
    parts: int
    rounds: tuple[Round, ...]

    def seconds(self, alpha: float, beta: float, size_in_bytes: float) -> float:
        """Return the cost in seconds: each round a start `alpha`, and `beta` for each byte at its busiest worker."""
        return sum(alpha + beta * self._busiest(one) * size_in_bytes / self.parts for one in self.rounds)

    def sent(self, size_in_bytes: float) -> list[float]:
        """Return the bytes that each worker sends."""
        sent = Counter(message.source for one in self.rounds for message in one)
        return [sent[rank] * size_in_bytes / self.parts for rank in range(self.size)]

    @staticmethod
    def _busiest(one: Round) -> int:
        """Return the parts that the busiest worker of a round sends, or gets: both ways are open at once."""
        ways = Counter(("sends", message.source) for message in one)
        ways.update(("gets", message.target) for message in one)
        return max(ways.values())


def ring(size: int) -> Schedule:
    """Each worker speaks to its neighbour only: the parts go round once to be added, and once more to be taken."""
    adding = [
        tuple(Message(rank, (rank + 1) % size, (rank - step) % size, True) for rank in range(size))
        for step in range(size - 1)
    ]
    taking = [
        tuple(Message(rank, (rank + 1) % size, (rank + 1 - step) % size, False) for rank in range(size))
        for step in range(size - 1)
    ]
    return Schedule(size, size, (*adding, *taking))


def tree(size: int) -> Schedule:
    """Pairs add up towards worker 0, and the sum goes back the same way; the vector stays whole."""
    up = []
    distance = 1
    while distance < size:
        up.append(tuple(Message(rank + distance, rank, 0, True) for rank in range(0, size - distance, 2 * distance)))
        distance *= 2
    down = [tuple(Message(one.target, one.source, 0, False) for one in back) for back in reversed(up)]
    return Schedule(size, 1, (*up, *down))


def server(size: int) -> Schedule:
    """All send to worker 0, which adds up and sends the sum to all: the parameter server."""
    others = range(1, size)
    return Schedule(
        size, 1, (tuple(Message(r, 0, 0, True) for r in others), tuple(Message(0, r, 0, False) for r in others))
    )


def play(schedule: Schedule, vectors: Sequence[Sequence[float]]) -> list[list[list[float]]]:
    """Play the rounds.

    Parameters
    ----------
    vectors
        For each worker one number for each part.

    Returns
    -------
    list
        The vectors before the first round, and after each.
    """
    now = [list(vector) for vector in vectors]
    history = [[list(vector) for vector in now]]
    for one in schedule.rounds:
        before = [list(vector) for vector in now]
        for message in one:
            value = before[message.source][message.part]
            own = now[message.target][message.part] if message.adds else 0.0
            now[message.target][message.part] = own + value
        history.append([list(vector) for vector in now])
    return history


ALGORITHMS = {"ring": ring, "tree": tree, "parameter server": server}
