"""Rows of a data set, read and converted to exercises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import TaskError
from counterpoint.judges.programs.suite import Suite
from counterpoint.tasks.programs.unit_tests import unicode


@dataclass(frozen=True, slots=True, kw_only=True)
class Exercise:
    """A problem as a row tells it."""

    statement: str
    suite: Suite
    starter: str = ""
    """Python to begin with: at least the head of the function."""
    examples: tuple[str, ...] = ()
    """Public tests, each ready to be read."""


def text_in(row: Mapping[str, Any], column: str) -> str:
    """The text in a column. Raises TaskError if there is none, or it is not Unicode."""
    value = row.get(column)
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"column {column!r} is missing, empty or not text")
    return unicode(value)


def texts_in(row: Mapping[str, Any], column: str) -> list[str]:
    """The texts in a column, none if it is missing. Raises TaskError if it holds anything else."""
    value = row.get(column)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TaskError(f"column {column!r} is not a list of texts")
    return [unicode(one) for one in value]


def example(given: str, right: str) -> str:
    """A public test of a program or a function, to be read."""
    return f"Input:\n{given.strip()}\n\nOutput:\n{right.strip()}"
