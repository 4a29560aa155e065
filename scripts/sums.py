"""Sums, step by step: in several orders, and with the mistakes that are made on the way."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from counterpoint.task import Task
from counterpoint.tasks.arithmetic import steps_of


class Line(NamedTuple):
    """A step as it was written down."""

    left: int
    operator: str
    right: int
    result: int

    @property
    def true_result(self) -> int:
        return self.left + self.right if self.operator == "+" else self.left - self.right

    @property
    def holds(self) -> bool:
        return self.result == self.true_result

    @property
    def forgotten(self) -> int:
        """What is missing, or too much, where the carry is forgotten; 0 if there is none."""
        if self.operator == "+":
            return -10 if self.left % 10 + self.right % 10 >= 10 else 0
        return 10 if self.left % 10 < self.right % 10 else 0

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.result}"


Terms = Sequence[tuple[str, int]]
"""What is added or subtracted, in order; the first is always added."""


def terms_of(task: Task) -> Terms:
    steps = steps_of(task.problem.text)
    return [("+", steps[0][0]), *((operator, right) for _, operator, right, _ in steps)]


def from_left(terms: Terms) -> Terms:
    return terms


def add_first(terms: Terms) -> Terms:
    return [term for term in terms if term[0] == "+"] + [term for term in terms if term[0] == "-"]


def largest_first(terms: Terms) -> Terms:
    return add_first(sorted(terms, key=lambda term: -term[1]))


ORDERS: dict[str, Callable[[Terms], Terms]] = {
    "From left to right.": from_left,
    "Add first, then subtract.": add_first,
    "Largest numbers first.": largest_first,
}


def slip(line: Line, source: random.Random, often: float) -> int:
    """By how much a result is wrong because its carry was forgotten."""
    return line.forgotten if often and line.forgotten and source.random() < often else 0


def worked(terms: Terms, source: random.Random, wrong: float, carry: float) -> list[Line]:
    """Step after step, with a wrong result as often as `wrong` says, and a forgotten carry as often as `carry` does."""
    value, lines = terms[0][1], []
    for operator, right in terms[1:]:
        line = Line(value, operator, right, value + right if operator == "+" else value - right)
        by = source.choice((-10, -2, -1, 1, 2, 10)) if source.random() < wrong else slip(line, source, carry)
        lines.append(line._replace(result=line.result + by))
        value = lines[-1].result
    return lines
