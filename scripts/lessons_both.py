"""What the models of the laboratory are taught: arithmetic and functions, a step of either at a time, with habits.

Adding comes first, alone: beside functions it was not learned in as many steps.
"""

import random
from collections.abc import Iterator
from functools import partial

import lessons_arithmetic
import lessons_synthesis
from transcript import Lessons, Transcript

FUNCTIONS_PART = 0.47
"""This part of the steps teaches functions."""


def batches(
    seed: int, steps: int, arithmetic: lessons_arithmetic.Course, functions: lessons_synthesis.Course
) -> Iterator[list[Transcript]]:
    """One list of transcripts a step, all of one role of one task; either task goes through its own course."""
    writing = round(FUNCTIONS_PART * steps)
    courses = {
        "arithmetic": lessons_arithmetic.batches(seed, steps - writing, arithmetic),
        "functions": lessons_synthesis.batches(seed, writing, functions),
    }
    first = round(arithmetic.skill * (steps - writing))
    later = ["functions"] * writing + ["arithmetic"] * (steps - writing - first)
    random.Random(seed).shuffle(later)
    for turn in ["arithmetic"] * first + later:
        yield next(courses[turn])


HABITS = {"arithmetic": lessons_arithmetic.HABITS, "functions": lessons_synthesis.HABITS}
EVENLY = {name: course._replace(following=1.0) for name, course in HABITS.items()}
"""The same, with no role more frequent than usual."""

BOTH = Lessons(
    partial(batches, **HABITS),
    partial(batches, **EVENLY),
    mistakes={
        f"{name}_{kind}": often for name, course in HABITS.items() for kind, often in course.mistakes._asdict().items()
    },
    pieces=r" ?\\boxed\{|(?:, )?\d| \d|\n+ *|[a-dA-D](?=[a-dA-D]*')| ?[A-Za-z]+| ?[^\sA-Za-z\d]+",
    vocabulary=800,
)
