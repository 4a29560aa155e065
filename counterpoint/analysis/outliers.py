"""Runs of a method that are unlike the rest: an interval over seeds assumes that there are none."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation, skew

FEWEST = 5
"""Runs from which one of them can be called unlike the rest."""
LEAST = 0.05
"""The distance from the median from which a run can be: that of a fall."""
SKEWED = 1.0
FAR = 4.0
"""Median absolute deviations, scaled to the standard deviation of a normal distribution."""


def unlike_the_rest(values: Sequence[float], least: float = LEAST) -> int | None:
    """The index of a run that is unlike the rest, of at least 5 runs; None if none is.

    It is the run furthest from the median, if it is more than `least` away and either the runs are skewed
    (|skewness| > 1) or it is more than 4 scaled median absolute deviations away. The t interval then errs more often
    than it says. Among normal runs one is called unlike the rest in 3 % of studies if their spread is 2 points, and in
    15 to 20 % if it is far above `least`.
    """
    if len(values) < FEWEST:
        return None
    runs = np.asarray(values, dtype=np.float64)
    distances = np.abs(runs - np.median(runs))
    furthest = int(distances.argmax())
    if distances[furthest] <= max(least, 1e-9):
        return None
    far = distances[furthest] > FAR * median_abs_deviation(runs, scale="normal")
    return furthest if far or abs(float(skew(runs))) > SKEWED else None


def unlike_warning(runs: NDArray[np.float64], seeds: Sequence[int], of: str = "") -> str:
    """A sentence about the run that is unlike the rest and those nearer to it than to the median; empty without one.

    `runs` has the mean outcome of each seed, of the method `of`, or the differences of two methods.
    """
    which = unlike_the_rest(runs.tolist())
    if which is None:
        return ""
    near = np.abs(runs - runs[which]) < np.abs(runs - np.median(runs))
    several = int(near.sum()) > 1
    who = f"{'run' if of else 'difference'}{'s' if several else ''}{f' of {of}' if of else ''}"
    numbers = " and ".join(str(seed) for seed, is_near in zip(seeds, near, strict=True) if is_near)
    return (
        f"the {who} with seed{'s' if several else ''} {numbers} {'are' if several else 'is'} unlike the rest"
        f" ({_span(runs[near])}, the others {_span(runs[~near])}): the interval assumes that runs of a method vary"
        " alike"
    )


def _span(values: NDArray[np.float64]) -> str:
    low, high = points(values.min()), points(values.max())
    return low if low == high else f"{low} to {high}"


def points(fraction: float) -> str:
    """`4.1`: a difference in points, without a negative zero."""
    return f"{100 * fraction:z.1f}"
