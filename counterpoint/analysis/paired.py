"""Two evaluations of the same tasks, compared task by task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from counterpoint.analysis.intervals import Interval, difference
from counterpoint.errors import RunError

EXACT = 14
"""The largest number of nonzero differences for which every combination of signs is tried."""
DRAWS = 20_000
"""Random combinations of signs that are tried with more differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The difference of two evaluations, one minus the other, over the tasks that both have."""

    difference: Interval
    """The difference of the means, with its paired interval over tasks."""
    p_value: float
    """Two-sided p-value of the hypothesis that the two evaluations are exchangeable."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values: value, low, high, n and p_value."""
        return {**self.difference._asdict(), "p_value": self.p_value}


def compare(one: Mapping[str, Sequence[float]], other: Mapping[str, Sequence[float]]) -> Comparison:
    """The comparison of two maps from task to outcomes, whose mean counts. Raises RunError if no task is in both."""
    means = [{task: fmean(values) for task, values in found.items()} for found in (one, other)]
    both = [means[0][task] - means[1][task] for task in means[0] if task in means[1]]
    if not both:
        raise RunError("nothing can be compared: no task was judged in both evaluations")
    return Comparison(difference=difference(*means), p_value=sign_flip(both))


def sign_flip(differences: Sequence[float]) -> float:
    """The p-value of Fisher's sign-flip test: the fraction of sign combinations whose sum is at least as far from 0.

    All combinations are tried if at most 14 differences are not 0; otherwise the result is the estimate
    (b + 1) / (m + 1), with b of m = 20,000 random combinations that far from 0, the same ones in every call.
    """
    sizes = np.abs([value for value in differences if value != 0.0])
    observed = abs(sum(differences))
    least = observed - 1e-9 * max(1.0, observed)  # sums that are equal except for rounding are equal
    if len(sizes) <= EXACT:
        bits = np.arange(1 << len(sizes))[:, None] >> np.arange(len(sizes)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sizes) >= least))
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(DRAWS, len(sizes)))
    extreme = int(np.sum(np.abs(signs @ sizes) >= least))
    return (extreme + 1) / (DRAWS + 1)
