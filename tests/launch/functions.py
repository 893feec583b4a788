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
