"""Confidence intervals of accuracies and of their paired differences, over tasks; `docs/metrics.md` states them."""

from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean
from typing import NamedTuple

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)

PerTask = Mapping[str, float]
"""Task id -> a value."""


class Interval(NamedTuple):
    """A mean over tasks with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """The number of tasks."""


def interval(values: Sequence[float]) -> Interval:
    """The mean of at least one value from 0 to 1, one per task, with Wilson's score interval.

    For tasks that are right or wrong it is Wilson's interval of a proportion (1927), which has a width at 0 and 1 too:
    0 of 10 tasks gives [0, 0.278]. Values in between, such as partial rewards or the mean of several samples of a task,
    vary less than right and wrong ones with the same mean, by a factor d; then it is Wilson's interval for n / d tasks.
    To estimate d, z²/2 tasks of value 0 and z²/2 of value 1 are added, so that it is never 0; for values that are all 0
    or 1 it is exactly 1. Tasks are the unit: samples of one task are not independent. A bootstrap is no substitute: it
    has no width at 0 and 1, and with 64 tasks at an accuracy of 0.97 its interval holds the truth in 85 % of cases.
    """
    count, mean = len(values), fmean(values)
    added = count + Z**2
    centre = (sum(values) + Z**2 / 2) / added
    spread = (sum(value**2 for value in values) + Z**2 / 2) / added - centre**2
    tasks = count * centre * (1.0 - centre) / spread
    shrunk = (mean + Z**2 / (2 * tasks)) / (1 + Z**2 / tasks)
    reach = Z / (1 + Z**2 / tasks) * (mean * (1.0 - mean) / tasks + Z**2 / (4 * tasks**2)) ** 0.5
    return Interval(mean, max(0.0, min(mean, shrunk - reach)), min(1.0, max(mean, shrunk + reach)), count)


def paired_interval(differences: Sequence[float]) -> Interval:
    """The mean of at least one difference from -1 to 1, one per task, with the interval of Bonett and Price (2012).

    It is the normal interval after adding a task with the difference 1 and one with -1: n tasks that are answered
    alike by both do not prove that the next one will be. Without any difference, 10 tasks give [-0.23, 0.23].
    """
    count, mean = len(differences), fmean(differences)
    centre = sum(differences) / (count + 2)
    spread = (sum(value**2 for value in differences) + 2.0) / (count + 2) - centre**2
    reach = Z * (spread / (count + 2)) ** 0.5
    return Interval(mean, max(-1.0, min(mean, centre - reach)), min(1.0, max(mean, centre + reach)), count)


def difference(after: PerTask, before: PerTask) -> Interval:
    """The mean of after - before over the tasks that both have, at least one, with the paired interval."""
    return paired_interval([after[task] - before[task] for task in after if task in before])
