"""Differences between methods, over seeds and tasks: seeds are the unit, and every task is played with every seed.

An interval over tasks alone (`intervals.py`) is one of this run, not of its method: it does not know how much the
next seed would differ. `contrast` estimates both parts of the variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Outcomes = NDArray[np.float64]
"""[seeds, tasks]: the mean outcome of each task with each seed, or a difference of two of them."""
Part = tuple[float, Outcomes]
"""A weight, and the outcomes that it multiplies; all parts have the same tasks, their seeds are independent."""
CONFIDENCE = 0.95
POWER = 0.8


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
    visible: float
    """The smallest true value that would be found different from 0 in 80 % of such studies."""


def contrast(parts: Sequence[Part], confidence: float = CONFIDENCE) -> Estimate:
    """The sum of w_c times the mean of X_c over the parts (w_c, X_c), X_c of shape [K_c, J].

    With MS_S,c and MS_E,c the mean squares of seeds and of the rest of X_c, and u_j the same sum for task j alone:

        S = sum s_c,  s_c = w_c^2 MS_S,c / (K_c J)      E = sum w_c^2 MS_E,c / (K_c J)      T = variance of the u_j
        V = max(S + T/J - E, S, T/J)                    nu = V^2 / (sum s_c^2 / (K_c - 1) + (T/J)^2 / (J - 1))

    and the interval is the value plus or minus t(nu) sqrt(V) (crossed random effects; Satterthwaite 1946). Raises
    ValueError if a part has fewer than 2 seeds, there are fewer than 2 tasks, or the parts have different tasks.
    """
    tasks = parts[0][1].shape[1]
    if tasks < 2 or any(found.shape[0] < 2 or found.shape[1] != tasks for _, found in parts):
        raise ValueError("a contrast needs at least 2 seeds per part and 2 tasks, the same ones in every part")
    value, seeds, rest, spent = 0.0, 0.0, 0.0, 0.0
    by_task = np.zeros(tasks)
    for weight, found in parts:
        count = found.shape[0]
        mean, of_seeds, of_tasks = found.mean(), found.mean(axis=1), found.mean(axis=0)
        own = weight**2 * np.square(of_seeds - mean).sum() / ((count - 1) * count)
        residual = np.square(found - of_seeds[:, None] - of_tasks[None, :] + mean).sum() / ((count - 1) * (tasks - 1))
        value += weight * mean
        by_task += weight * of_tasks
        seeds += own
        spent += own**2 / (count - 1)
        rest += weight**2 * residual / (count * tasks)
    over_tasks = by_task.var(ddof=1) / tasks
    variance = max(seeds + over_tasks - rest, seeds, over_tasks)
    used = spent + over_tasks**2 / (tasks - 1)
    freedom = variance**2 / used if used > 0 else float(min(found.shape[0] for _, found in parts) - 1)
    return estimate(
        float(value),
        float(variance**0.5),
        float(freedom),
        seeds=min(found.shape[0] for _, found in parts),
        tasks=tasks,
        confidence=confidence,
    )


def estimate(
    value: float, error: float, freedom: float, *, seeds: int, tasks: int, confidence: float = CONFIDENCE
) -> Estimate:
    """The t interval of a value with a standard error and its degrees of freedom; without error it has no width."""
    reach = float(student.ppf(0.5 + confidence / 2, freedom)) * error
    p_value = float(2 * student.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    visible = float(student.ppf(0.975, freedom) + student.ppf(POWER, freedom)) * error
    return Estimate(
        value=value,
        low=value - reach,
        high=value + reach,
        error=error,
        freedom=freedom,
        p_value=p_value,
        seeds=seeds,
        tasks=tasks,
        visible=visible,
    )
