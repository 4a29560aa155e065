"""Differences between methods, over seeds and tasks: seeds are the unit, and every task is played with every seed.

An interval over tasks alone (`intervals.py`) is one of this run, not of its method: it does not know how much the
next seed would differ. `contrast` estimates both parts of the variance; `over_tasks` is what one seed allows. The
formulas, with their simulated error rates, are in `docs/statistics.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from counterpoint.analysis.intervals import Interval, paired_interval
from counterpoint.analysis.noncentral import least_found

Outcomes = NDArray[np.float64]
"""[seeds, tasks]: the mean outcome of each task with each seed, or a difference of two of them."""
Part = tuple[float, Outcomes]
"""A weight, and the outcomes that it multiplies; all parts have the same tasks, their seeds are independent."""
CONFIDENCE = 0.95
POWER = 0.8
ROUNDING = 1e-12
"""A standard error below this multiple of the largest outcome is rounding, and is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A weighted sum of mean accuracies over seeds and tasks, with its t interval."""

    value: float
    low: float
    high: float
    error: float
    """The standard error."""
    freedom: float
    """Satterthwaite's degrees of freedom."""
    p_value: float
    """Two-sided, of the hypothesis that the true value is 0."""
    seeds: int
    """The seeds of the part that has fewest."""
    tasks: int

    @property
    def visible(self) -> float:
        """The smallest true value that is found different from 0, at 95 %, in 80 % of such studies."""
        return visible_at(self, CONFIDENCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The mean squares of a contrast, weighted: its variance is made of them."""

    value: float
    seeds: tuple[float, ...]
    """w² MS_S / (K J) of each part: the variance of its mean over seeds, noise included."""
    noise: tuple[float, ...]
    """w² MS_E / (K J) of each part: the share of the noise in that variance, and in that of the tasks."""
    tasks: float
    """T / J: the variance of the mean over tasks, noise included."""


def contrast(parts: Sequence[Part], confidence: float = CONFIDENCE) -> Estimate:
    """The sum of w_c times the mean of X_c over the parts (w_c, X_c), X_c of shape [K_c, J].

    With MS_S,c and MS_E,c the mean squares of seeds and of the rest of X_c, and u_j the same sum for task j alone:

        S = sum s_c,  s_c = w_c^2 MS_S,c / (K_c J)      E = sum w_c^2 MS_E,c / (K_c J)      T = variance of the u_j
        V = max(S + T/J - E, S, T/J)                    nu = V^2 / (sum s_c^2 / (K_c - 1) + (T/J)^2 / (J - 1))

    and the interval is the value plus or minus t(nu) sqrt(V) (crossed random effects; Satterthwaite 1946). It needs
    at least 2 seeds per part and 2 tasks; with one seed, `over_tasks` gives the interval that there is. Raises
    ValueError for fewer, for no part, for parts with different numbers of tasks, and for an outcome that is missing.
    """
    found = terms(parts)
    seeds = sum(found.seeds)
    variance = max(seeds + found.tasks - sum(found.noise), seeds, found.tasks)
    counts = [values.shape[0] for _, values in parts]
    tasks = parts[0][1].shape[1]
    largest = max(abs(weight) * float(np.abs(values).max()) for weight, values in parts)
    error = float(variance**0.5)
    if error <= ROUNDING * largest:
        return estimate(found.value, 0.0, float(min(counts) - 1), seeds=min(counts), tasks=tasks, confidence=confidence)
    used = sum(own**2 / (count - 1) for own, count in zip(found.seeds, counts, strict=True))
    freedom = variance**2 / (used + found.tasks**2 / (tasks - 1))
    return estimate(found.value, error, float(freedom), seeds=min(counts), tasks=tasks, confidence=confidence)


def terms(parts: Sequence[Part]) -> Terms:
    """The terms of the variance of a contrast; raises ValueError as `contrast` does."""
    check(parts, seeds=2)
    value, seeds, noise = 0.0, [], []
    for weight, found in parts:
        count, tasks = found.shape
        mean, of_seeds, of_tasks = found.mean(), found.mean(axis=1), found.mean(axis=0)
        seeds.append(float(weight**2 * np.square(of_seeds - mean).sum() / ((count - 1) * count)))
        residual = np.square(found - of_seeds[:, None] - of_tasks[None, :] + mean).sum() / ((count - 1) * (tasks - 1))
        noise.append(float(weight**2 * residual / (count * tasks)))
        value += float(weight * mean)
    by_task = sums_by_task(parts)
    return Terms(
        value=value, seeds=tuple(seeds), noise=tuple(noise), tasks=float(by_task.var(ddof=1) / by_task.shape[0])
    )


def sums_by_task(parts: Sequence[Part]) -> NDArray[np.float64]:
    """[tasks]: the weighted sum of the parts' means over seeds, for each task alone."""
    return np.asarray(sum(weight * found.mean(axis=0) for weight, found in parts), dtype=np.float64)


def check(parts: Sequence[Part], seeds: int, tasks: int = 2) -> None:
    """Raises ValueError unless there are parts, of that many seeds and tasks at least, with finite outcomes."""
    if not parts:
        raise ValueError("a contrast needs at least one part")
    for weight, found in parts:
        if found.ndim != 2 or found.shape[0] < seeds or found.shape[1] < tasks:
            raise ValueError(
                f"a contrast needs an array [seeds, tasks] of at least {seeds} by {tasks} per part, not "
                f"{list(found.shape)}"
            )
        if found.shape[1] != parts[0][1].shape[1]:
            raise ValueError(
                f"a contrast needs the same tasks in every part, not {parts[0][1].shape[1]} and {found.shape[1]}"
            )
        if not np.isfinite(weight):
            raise ValueError(f"the weight of a part must be a finite number, not {weight}")
        if missing := int(np.count_nonzero(~np.isfinite(found))):
            raise ValueError(
                f"{missing} of {found.size} outcomes are missing or not finite: leave their tasks out of every part"
            )


def over_tasks(parts: Sequence[Part]) -> Interval:
    """The same sum with the paired interval over tasks alone: of these runs, not of their methods.

    It is the only interval that one seed allows, and says nothing about the next seed. The sums of a task lie between
    -1 and 1, as differences of accuracies do, or between -2 and 2, as differences of gains can. Raises ValueError as
    `contrast` does, except for one seed or one task, and for a sum further from 0.
    """
    check(parts, seeds=1, tasks=1)
    sums = sums_by_task(parts)
    furthest = float(np.abs(sums).max())
    if furthest > 2.0 + ROUNDING:
        raise ValueError(f"an interval over tasks alone is one of accuracies: a task has the sum {furthest:g}")
    bound = 1.0 if furthest <= 1.0 + ROUNDING else 2.0
    found = paired_interval([float(value) for value in sums / bound])
    return Interval(bound * found.value, bound * found.low, bound * found.high, found.n)


def estimate(
    value: float, error: float, freedom: float, *, seeds: int, tasks: int, confidence: float = CONFIDENCE
) -> Estimate:
    """The t interval of a value with a standard error and its degrees of freedom; without error it has no width."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"the confidence of an interval is between 0 and 1, not {confidence}")
    reach = float(student.ppf(0.5 + confidence / 2, freedom)) * error
    p_value = float(2 * student.sf(abs(value) / error, freedom)) if error > 0 else float(abs(value) <= ROUNDING)
    return Estimate(
        value=value,
        low=value - reach,
        high=value + reach,
        error=error,
        freedom=freedom,
        p_value=p_value,
        seeds=seeds,
        tasks=tasks,
    )


def at_confidence(found: Estimate, confidence: float) -> Estimate:
    """The same estimate with the interval of another confidence."""
    reach = float(student.ppf(0.5 + confidence / 2, found.freedom)) * found.error
    return replace(found, low=found.value - reach, high=found.value + reach)


def visible_at(found: Estimate, confidence: float) -> float:
    """The smallest true value that is found different from 0 at this confidence in 80 % of such studies.

    The error times the noncentrality at which P(|t'| > t) is 0.8.
    """
    return least_found(found.freedom, confidence, POWER) * found.error if found.error > 0 else 0.0


def strictest(comparisons: int) -> float:
    """The confidence of one of so many comparisons where Holm's correction is strictest."""
    return 1.0 - (1.0 - CONFIDENCE) / comparisons


def weighted_sum(
    estimates: Sequence[Estimate], weights: Sequence[float] | None = None, confidence: float = CONFIDENCE
) -> Estimate:
    """The sum, weighted if there are weights, of independent estimates: those of families of tasks, for example.

    Values and variances add up, V = sum w_i^2 V_i, and nu = V^2 / sum((w_i^2 V_i)^2 / nu_i) (Welch 1947). The tasks are
    those of all estimates, the seeds those of the one with fewest. Raises ValueError without an estimate, or with
    another number of weights.
    """
    if not estimates:
        raise ValueError("a sum of estimates needs at least one")
    factors = [1.0] * len(estimates) if weights is None else list(weights)
    if len(factors) != len(estimates):
        raise ValueError(f"there are {len(factors)} weights for {len(estimates)} estimates")
    variances = [(weight * found.error) ** 2 for weight, found in zip(factors, estimates, strict=True)]
    used = sum(part**2 / found.freedom for part, found in zip(variances, estimates, strict=True))
    return estimate(
        sum(weight * found.value for weight, found in zip(factors, estimates, strict=True)),
        sum(variances) ** 0.5,
        sum(variances) ** 2 / used if used > 0 else min(found.freedom for found in estimates),
        seeds=min(found.seeds for found in estimates),
        tasks=sum(found.tasks for found in estimates),
        confidence=confidence,
    )
