"""A number of runs that fell beside that of runs that held, at the same steps of training."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from counterpoint.analysis.intervals import CONFIDENCE

Kind = TypeVar("Kind", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The mean of runs that fell minus that of runs that held."""

    fell: float
    held: float
    """The mean of those that held, each kind of run weighted by its number of falls; `fell` is that of the others."""
    low: float | None
    """With `high`, the 95 % interval of the difference; None where the spread between runs of one kind is unknown."""
    high: float | None
    p_value: float | None
    falls: int
    holds: int
    kinds: int
    """The kinds of runs of which some fell and some held."""

    @property
    def value(self) -> float:
        """The difference."""
        return self.fell - self.held


def beside(fell: Mapping[Kind, Sequence[float]], held: Mapping[Kind, Sequence[float]]) -> Beside | None:
    """The difference within kinds of runs (such as one workflow and sharing); None if no kind has runs of both sorts.

    Every run is one value. Kind k counts with its part w_k of the falls: the difference is Σ w_k (mean of those that
    fell minus mean of those that held). Its variance is s² Σ w_k²/n_k of the falls plus the same of those that held,
    where s² is the variance within kinds, pooled; the degrees of freedom are Welch's and Satterthwaite's.
    """
    kinds = [kind for kind in fell if fell[kind] and held.get(kind)]
    if not kinds:
        return None
    falls = sum(len(fell[kind]) for kind in kinds)
    weights = np.array([len(fell[kind]) / falls for kind in kinds])
    sides = [[np.asarray(side[kind], dtype=float) for kind in kinds] for side in (fell, held)]
    means = [float(weights @ [values.mean() for values in side]) for side in sides]
    parts = [_error(side, weights) for side in sides]
    low = high = p_value = None
    if all(freedom for _, freedom in parts) and (variance := sum(part for part, _ in parts)) > 0.0:
        from scipy.stats import t as student

        freedom = variance**2 / sum(part**2 / freedom for part, freedom in parts)
        value, error = means[0] - means[1], variance**0.5
        reach = float(student.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
        low, high, p_value = value - reach, value + reach, float(2 * student.sf(abs(value) / error, freedom))
    return Beside(
        fell=means[0],
        held=means[1],
        low=low,
        high=high,
        p_value=p_value,
        falls=falls,
        holds=sum(len(held[kind]) for kind in kinds),
        kinds=len(kinds),
    )


def _error(side: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]) -> tuple[float, int]:
    """The variance of the weighted mean, and its degrees of freedom; 0 of these if no kind has two runs."""
    freedom = sum(len(values) - 1 for values in side)
    if not freedom:
        return 0.0, 0
    pooled = sum(float(np.square(values - values.mean()).sum()) for values in side) / freedom
    return pooled * sum(weight**2 / len(values) for weight, values in zip(weights, side, strict=True)), freedom
