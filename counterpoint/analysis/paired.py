"""Two evaluations of the same tasks, compared task by task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from counterpoint.analysis.summary import Interval, difference
from counterpoint.errors import RunError

EXACT = 14
"""So many differences that are not 0 are tried with all signs; more of them with random ones."""
DRAWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One minus other, over the tasks that both have."""

    difference: Interval
    """Of the means, with its paired bootstrap interval over tasks."""
    p_value: float
    """Two-sided, of the hypothesis that it does not matter which is which."""

    def as_dict(self) -> dict[str, Any]:
        return {**self.difference._asdict(), "p_value": self.p_value}


def compare(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> Comparison:
    """The comparison of the outcomes of tasks, each the mean of its values. Raises RunError if none is in both."""
    means = [{task: fmean(values) for task, values in found.items()} for found in (one, other)]
    both = [means[0][task] - means[1][task] for task in means[0] if task in means[1]]
    if not both:
        raise RunError("nothing can be compared: no task was judged in both evaluations")
    return Comparison(difference=difference(*means), p_value=sign_flip(both))


def sign_flip(differences: Sequence[float]) -> float:
    """The part of all ways to give the differences signs in which their sum is at least as far from 0: Fisher's test.

    All of them where at most 14 differences are not 0; else the estimate (b + 1) / (m + 1) from m = 20,000 random ones,
    the same ones every time.
    """
    sizes = np.abs([value for value in differences if value != 0.0])
    observed = abs(sum(differences))
    least = observed - 1e-9 * max(1.0, observed)  # sums that are equal but for rounding are equal
    if len(sizes) <= EXACT:
        bits = np.arange(1 << len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sizes) >= least))
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(DRAWS, len(sizes)))
    extreme = int(np.sum(np.abs(signs @ sizes) >= least))
    return (extreme + 1) / (DRAWS + 1)
