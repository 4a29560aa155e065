"""Chains of integer arithmetic: generated, verifiable, and small enough for the micro models."""

import random
from typing import Annotated

from pydantic import Field

from counterpoint.boxes import last_box
from counterpoint.errors import TaskError
from counterpoint.judges.text import same_number
from counterpoint.task import Problem, Task
from counterpoint.tasks._answers import BOXED_FORMAT
from counterpoint.tasks._splits import Split, problem_id, split_of
from counterpoint.tasks.base import Splits

_TRIES_PER_TASK = 60


def arithmetic(
    *,
    operands: Annotated[int, Field(ge=2, le=8)] = 3,
    low: Annotated[int, Field(ge=0)] = 1,
    high: Annotated[int, Field(ge=1, le=10_000)] = 30,
    operators: Annotated[str, Field(pattern=r"^[-+]{1,2}$")] = "+-",
    train: Annotated[int, Field(ge=1)] = 4096,
    validation: Annotated[int, Field(ge=1)] = 128,
    test: Annotated[int, Field(ge=1)] = 256,
    seed: int = 0,
) -> Splits:
    """Problems such as `What is 7 + 12 - 5?`, read from left to right, no intermediate result below zero.

    The same options give the same tasks. Raises TaskError if the options do not allow that many distinct problems.
    """
    if low > high:
        raise TaskError(f"arithmetic: low={low} is above high={high}")
    options = (operands, low, high, operators)
    return Splits(
        train=_draw("train", train, options, seed),
        validation=_draw("validation", validation, options, seed),
        test=_draw("test", test, options, seed),
    )


def steps_of(text: str) -> list[tuple[int, str, int, int]]:
    """The steps of a problem text: (left, operator, right, result), from left to right."""
    terms = text.removeprefix("What is ").removesuffix("?").split()
    value = int(terms[0])
    steps = []
    for operator, term in zip(terms[1::2], terms[2::2], strict=True):
        result = value + int(term) if operator == "+" else value - int(term)
        steps.append((value, operator, int(term), result))
        value = result
    return steps


def _draw(split: Split, count: int, options: tuple[int, int, int, str], seed: int) -> tuple[Task, ...]:
    source = random.Random(f"arithmetic/{seed}/{split}/{options}")
    tasks: dict[str, Task] = {}
    for _ in range(count * _TRIES_PER_TASK):
        if len(tasks) == count:
            return tuple(tasks.values())
        text = _problem_text(source, *options)
        if split_of(text) == split and text not in tasks and min(step[3] for step in steps_of(text)) >= 0:
            tasks[text] = _task(text)
    raise TaskError(f"arithmetic: {count} distinct {split} problems were asked for, these options give {len(tasks)}")


def _problem_text(source: random.Random, operands: int, low: int, high: int, operators: str) -> str:
    terms = [str(source.randint(low, high))]
    for _ in range(operands - 1):
        terms += [source.choice(operators), str(source.randint(low, high))]
    return f"What is {' '.join(terms)}?"


def _task(text: str) -> Task:
    problem = Problem(id=problem_id("arithmetic", text), text=text, answer_format=BOXED_FORMAT, extract=last_box)
    return Task(problem=problem, key=str(steps_of(text)[-1][3]), judge=same_number)
