"""The warning of a terminal accuracy cliff while a run is in progress, paired over its validation tasks."""

import math
from collections.abc import Sequence
from statistics import fmean

from counterpoint.analysis.falls import CLIFF_DROP
from counterpoint.analysis.intervals import PerTask

WINDOW = 3
"""Consecutive evaluations whose mean is compared."""
ERRORS = 2.3
"""Standard errors by which one of the first `MEANS` means must be below the best one."""
MEANS = 29
GROWTH = 5.0
"""The growth of the square of these standard errors with the logarithm of the number of means, beyond `MEANS`. The best
of more means is higher by chance, and more of them can be below it: with 2.3 for all, one healthy run in ten is warned
of among 51 evaluations and one in three among 101. With this growth it is one in thirteen, and of falls by ten points
more than nine in ten are still seen."""
ROW = 5
"""Consecutive means that must be that far below after which a warning is given. The best of many means is high by
chance: three in a row would warn of more than one healthy run in ten where no two evaluations sample alike."""


def cliff_warning(evaluations: Sequence[PerTask]) -> bool:
    """True if validation accuracy looks like the beginning of a cliff.

    `evaluations` holds the mean outcome of every task, from 0 to 1, in the order of the evaluations.

    m_k(t) = mean of the outcomes of task t in evaluations k-2, k-1 and k; the best b is the evaluation whose mean of
    m_b over tasks is highest so far, the first of equal ones. Evaluation k is below it if the mean of m_b - m_k over
    tasks is at least 5 points and more than `errors_below` standard errors (`in_standard_errors`). True if each of the
    last five evaluations is below the best. Tasks and seeds are the same in every evaluation of a run; pairing takes
    what they have in common out of the error.
    """
    smoothed = [_mean_of(evaluations[end - WINDOW : end]) for end in range(WINDOW, len(evaluations) + 1)]
    if len(smoothed) <= ROW or not all(smoothed):
        return False
    accuracy = [fmean(means.values()) for means in smoothed]
    last = range(len(smoothed) - ROW, len(smoothed))
    return all(
        _is_below(smoothed[accuracy.index(max(accuracy[: end + 1]))], smoothed[end], errors_below(end + 1))
        for end in last
    )


def errors_below(means: int) -> float:
    """The standard errors by which the last of so many means must be below the best: sqrt(2.3^2 + 5 ln(means / 29)).

    Of at most 29 means it is 2.3.
    """
    return math.sqrt(ERRORS**2 + GROWTH * math.log(max(1.0, means / MEANS)))


def in_standard_errors(differences: Sequence[float]) -> float:
    """The mean of at least one difference from -1 to 1, one per task, in its standard errors.

    One task is added, half of it with the difference 1 and half with -1, so that the error of few tasks that are all
    alike is not 0: n differences with the sum S and the sum of squares Q have c = S / (n + 1) and the standard error
    sqrt(((Q + 1) / (n + 1) - c^2) / (n + 1)); the result is their ratio.
    """
    count = len(differences) + 1
    centre = sum(differences) / count
    variance = (sum(value**2 for value in differences) + 1.0) / count - centre**2
    return float(centre / (variance / count) ** 0.5)


def _mean_of(evaluations: Sequence[PerTask]) -> dict[str, float]:
    """Task -> the mean over those of the evaluations that judged it."""
    tasks = dict.fromkeys(task for one in evaluations for task in one)
    return {task: fmean(one[task] for one in evaluations if task in one) for task in tasks}


def _is_below(best: PerTask, last: PerTask, errors: float) -> bool:
    falls = [best[task] - last[task] for task in best if task in last]
    return bool(falls) and fmean(falls) >= CLIFF_DROP and in_standard_errors(falls) > errors
