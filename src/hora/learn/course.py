"""What the course holds: its lessons in order, what each is for, and how long it takes in class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hora.errors import HoraError

_LESSONS = Path(__file__).parent / "lessons"


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes
    ----------
    number, name, title
        Its place in the course, the name of its file, and what it is called.
    objective
        What the reader can do afterwards.
    exercise
        What the reader's graded file has to do.
    minutes
        Time in class for reading together and for the exercise.
    """

    number: int
    name: str
    title: str
    objective: str
    exercise: str
    minutes: tuple[int, int]

    @property
    def path(self) -> Path:
        """The notebook."""
        return _LESSONS / f"{self.name}.py"

    @property
    def answer_name(self) -> str:
        """The name of the file that the reader writes."""
        return f"exercise_{self.number}.py"


LESSONS = (
    Lesson(
        1,
        "one_neuron",
        "One neuron",
        "Say what gradient descent does on a loss surface, and what the batch size changes in it.",
        "Write the neuron's gradient and a descent in mini-batches by hand; autograd judges.",
        (25, 15),
    ),
    Lesson(
        2,
        "many_workers",
        "From one to many",
        "Prove that averaging gradients is the same training, and name the five things that make it another.",
        "Mend a script for several workers in which three things are wrong; `hora verify` judges.",
        (30, 15),
    ),
    Lesson(
        3,
        "agreement",
        "How workers agree",
        "Explain how an all-reduce works, predict what it costs, and say what buckets and overlap hide of it.",
        "Write the all-reduce in which partners exchange at doubled distances; it is played and counted.",
        (30, 15),
    ),
    Lesson(
        4,
        "transforming",
        "Transforming a script",
        "Take a training script from one device to several workers in seven steps, and have the result proven.",
        "Convert a script by hand; `hora check` and `hora verify` judge.",
        (25, 30),
    ),
)

SECOND_HALF = ("When N grows", "The whole pipeline", "Other ways")
"""What is not written yet."""


def lesson(number: int) -> Lesson:
    """Return a lesson by its number.

    Raises
    ------
    HoraError
        There is none of this number.
    """
    for one in LESSONS:
        if one.number == number:
            return one
    raise HoraError(f"learn {number}", f"the lessons are 1 to {len(LESSONS)}", "Look at them: hora learn --list")
