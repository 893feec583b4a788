"""What the tests of `hora.run` call as several workers."""

from __future__ import annotations

import os


def place(offset, *, scale=1):
    return int(os.environ["RANK"]) * scale + offset, int(os.environ["WORLD_SIZE"])


def fail_on(rank):
    if os.environ["RANK"] == str(rank):
        raise ValueError("no such luck")


def give_back_what_cannot_travel():
    return (each for each in "ab")


def fail_in_the_first_generation():
    generation, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
    if generation == 0 and rank == 0:
        os._exit(3)
    return 10 * generation + rank


def leave():
    raise SystemExit(0)


class Fragile:
    def __reduce__(self):
        return os.environ.__getitem__, ("here",)


def give_back_what_does_not_arrive():
    return Fragile()


def say():
    print("hear, hear")
