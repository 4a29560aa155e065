"""What became of tasks between two evaluations: kept right, recovered, spoiled, kept wrong."""

from collections.abc import Mapping
from typing import NamedTuple

CHANGES = ("kept right", "recovered", "spoiled", "kept wrong")


class Changes(NamedTuple):
    """The shares of the tasks, in the order of `CHANGES`; they add up to 1, or are all 0 without a task."""

    shares: tuple[float, float, float, float]
    tasks: int
    """The tasks that both evaluations have."""


def changes(before: Mapping[str, float], after: Mapping[str, float]) -> Changes:
    """The changes between two maps from tasks to mean outcomes, over the tasks that both have.

    For outcomes of 0 and 1 each task has one of the four. Of a mean in between, such as that of several samples, the
    least that must have changed counts: 0.25 before and 0.5 after is 0.25 kept right, 0.25 recovered, 0.5 kept wrong.
    """
    both = [(before[task], after[task]) for task in before if task in after]
    if not both:
        return Changes((0.0, 0.0, 0.0, 0.0), 0)
    kept_right = sum(min(pair) for pair in both) / len(both)
    recovered = sum(max(0.0, new - old) for old, new in both) / len(both)
    spoiled = sum(max(0.0, old - new) for old, new in both) / len(both)
    return Changes((kept_right, recovered, spoiled, sum(1.0 - max(pair) for pair in both) / len(both)), len(both))
