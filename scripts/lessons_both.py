"""What the models of the laboratory are taught: arithmetic and functions, a step of either at a time, with habits.

Adding comes first, alone: beside functions it was not learned in as many steps.
"""

import random
from collections.abc import Iterator

import lessons_arithmetic
import lessons_synthesis
from transcript import Lessons, Transcript

FUNCTIONS_PART = 0.47
"""This part of the steps teaches functions."""


def batches(seed: int, steps: int) -> Iterator[list[Transcript]]:
    """One list of transcripts a step, all of one role of one task; either task goes through its own course."""
    functions = round(FUNCTIONS_PART * steps)
    courses = {
        "arithmetic": lessons_arithmetic.batches(seed, steps - functions, lessons_arithmetic.HABITS),
        "functions": lessons_synthesis.batches(seed, functions, lessons_synthesis.HABITS),
    }
    first = round(lessons_arithmetic.HABITS.skill * (steps - functions))
    later = ["functions"] * functions + ["arithmetic"] * (steps - functions - first)
    random.Random(seed).shuffle(later)
    for turn in ["arithmetic"] * first + later:
        yield next(courses[turn])


BOTH = Lessons(
    batches,
    mistakes={
        f"{name}_{kind}": often
        for name, course in (("arithmetic", lessons_arithmetic.HABITS), ("functions", lessons_synthesis.HABITS))
        for kind, often in course.mistakes._asdict().items()
    },
    pieces=r" ?\\boxed\{|(?:, )?\d| \d|\n+ *|[a-dA-D](?=[a-dA-D]*')| ?[A-Za-z]+| ?[^\sA-Za-z\d]+",
    vocabulary=800,
)
