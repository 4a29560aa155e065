"""Several comparisons at once: adjusted p-values, intervals that hold together, and one test of them all."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, trim_mean

from counterpoint.analysis.contrast import CONFIDENCE, Estimate, at_confidence

EXACT = 14
"""The largest number of differences other than 0 for which every combination of signs is tried."""
DRAWS = 10_000
"""Random combinations of signs that are tried with more."""
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """An estimate as a member of a family of comparisons."""

    estimate: Estimate
    """With the interval of this comparison alone."""
    p_value: float
    """Adjusted after Holm for the family."""
    rejected: bool
    """True if the difference is found in a family that errs anywhere in at most 5 % of studies."""
    low: float
    """With `high`, the simultaneous interval: all those of the family hold their truth in at least 95 % of studies."""
    high: float
    comparisons: int
    """The size of the family."""


def primary(family: Mapping[Key, Estimate], confidence: float = CONFIDENCE) -> dict[Key, Adjusted]:
    """The members of a family of comparisons with Holm's p-values and Bonferroni's simultaneous intervals."""
    estimates = list(family.values())
    p_values = holm([found.p_value for found in estimates])
    wide = simultaneous(estimates, confidence)
    return {
        key: Adjusted(
            estimate=found,
            p_value=p_value,
            rejected=p_value <= 1.0 - confidence,
            low=interval.low,
            high=interval.high,
            comparisons=len(estimates),
        )
        for (key, found), p_value, interval in zip(family.items(), p_values, wide, strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979), in the order given: with them at most 5 % of families err anywhere at 5 %.

    The i-th smallest of m is multiplied by m - i + 1; none is smaller than that of a smaller p-value, none exceeds 1.
    Raises ValueError for a p-value that is missing or not between 0 and 1.
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(value) for value in adjusted]


def false_discoveries(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values (1995), in the order given.

    Of the differences called found at q, a fraction of at most q is expected not to be there. For exploratory families,
    such as roles and their behaviour. Raises ValueError for a p-value that is missing or not between 0 and 1.
    """
    values = _checked(p_values)
    return [float(value) for value in false_discovery_control(values)] if len(values) else []


def simultaneous(estimates: Sequence[Estimate], confidence: float = CONFIDENCE) -> list[Estimate]:
    """The estimates with Bonferroni's intervals: each of m errs in (1 - confidence) / m of studies."""
    return [at_confidence(found, 1.0 - (1.0 - confidence) / len(estimates)) for found in estimates]


def anywhere(differences: Sequence[Sequence[float]]) -> float:
    """The p-value of one test of all cells: that two methods are exchangeable in every one of them.

    `differences` has one sequence per cell: the mean paired difference of each seed. Under that hypothesis the sign of
    every difference is as likely to be the other one (Fisher's sign-flip test). The statistic is the sum over cells of
    the squared mean by the mean square, so that cells with a wide spread do not outweigh the others. Every combination
    of signs is tried if at most 14 differences are not 0; otherwise the result is (b + 1) / (m + 1), with b of
    m = 10,000 random combinations whose statistic is at least as large, the same ones in every call. Raises ValueError
    without a difference, and for one that is missing.
    """
    rows = [np.asarray(cell, dtype=np.float64) for cell in differences if len(cell)]
    if not rows or not all(np.isfinite(cell).all() for cell in rows):
        raise ValueError("a test over cells needs a difference, and none that is missing")
    rows = [cell for cell in rows if cell.any()]
    free = sum(int(np.count_nonzero(cell)) for cell in rows)
    if not free:
        return 1.0
    observed = float(sum(np.abs(cell.sum()) ** 2 / (len(cell) * np.square(cell).sum()) for cell in rows))
    found = _flipped(rows, _signs(free)) >= observed * (1.0 - 1e-9)  # statistics equal except for rounding are equal
    return float(found.mean()) if free <= EXACT else float((found.sum() + 1) / (DRAWS + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The paired differences of two methods over all cells of a study."""

    mean: float
    """The mean of the means of cells."""
    middle: float
    """Their interquartile mean: without the lowest and the highest quarter."""
    better: float
    """The mean over cells of the fraction of seeds with a positive difference; a difference of 0 counts as half."""
    p_value: float
    """That of `anywhere`."""
    cells: int


def overview(differences: Sequence[Sequence[float]]) -> Overview:
    """`differences` has one sequence per cell, the mean paired difference of each seed; raises as `anywhere` does."""
    p_value = anywhere(differences)
    rows = [np.asarray(cell, dtype=np.float64) for cell in differences if len(cell)]
    means = np.array([cell.mean() for cell in rows])
    return Overview(
        mean=float(means.mean()),
        middle=float(trim_mean(means, 0.25)),
        better=float(np.mean([(np.sign(cell).mean() + 1.0) / 2.0 for cell in rows])),
        p_value=p_value,
        cells=len(rows),
    )


def _signs(free: int) -> NDArray[np.float64]:
    """[combinations, free]: all of them, or random ones."""
    if free <= EXACT:
        return (1.0 - 2.0 * (np.arange(1 << free)[:, None] >> np.arange(free) & 1)).astype(np.float64)
    return np.random.default_rng(0).choice((-1.0, 1.0), size=(DRAWS, free))


def _flipped(rows: Sequence[NDArray[np.float64]], signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The statistic of every combination of signs."""
    total, start = np.zeros(len(signs)), 0
    for cell in rows:
        sizes = np.abs(cell[cell != 0.0])
        sums = signs[:, start : start + len(sizes)] @ sizes
        total += sums**2 / (len(cell) * np.square(sizes).sum())
        start += len(sizes)
    return total


def _checked(p_values: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(p_values, dtype=np.float64)
    if not bool(np.all((values >= 0.0) & (values <= 1.0))):
        raise ValueError(f"p-values lie between 0 and 1, which one of {[float(value) for value in values]} does not")
    return values
