"""The size of a study: its power, the smallest difference that it sees, the seeds and tasks that it needs.

From the variance components of a study that was run, such as a pilot, with the noncentral t distribution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from counterpoint.analysis.contrast import CONFIDENCE, POWER, Part, check, sums_by_task, terms
from counterpoint.analysis.noncentral import chance_to_find, least_found

MOST_SEEDS = 1000
MOST_TASKS = 1_000_000
MOST_POWER = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The variances of one seed and one task of a contrast whose parts all have the same number of seeds."""

    seeds: float
    """Between seeds: the variance of a run's true value."""
    tasks: float
    """Between tasks: the variance of the true sum of a task over methods, such as its true difference."""
    noise: float
    """The rest: of one seed on one task."""
    shares: tuple[float, ...] = (1.0,)
    """The fraction of the variance between seeds that each part has; they add up to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """The size of a study that finds an effect with the power asked for."""

    seeds: int | None
    """The smallest number of seeds, with the tasks that there are; None if no number of seeds is enough."""
    tasks: int | None
    """Where no number of seeds is enough, the number of tasks with which the seeds that there are would be; None if no
    number is. With enough seeds, the tasks that there are."""


def components(parts: Sequence[Part]) -> Components:
    """The variance components of a contrast, by the method of moments; those that come out negative are 0.

    With the terms of `contrast` and K seeds per part, per seed and task: noise = sum w^2 MS_E, seeds = (sum w^2 MS_S -
    noise) / J, tasks = T - noise / K. Raises ValueError as `contrast` does, and for parts with different seeds.
    """
    check(parts, seeds=2)
    counts = {found.shape[0] for _, found in parts}
    if len(counts) > 1:
        raise ValueError(f"power needs parts with the same number of seeds, not {sorted(counts)}")
    count, tasks = parts[0][1].shape
    found = terms(parts)
    noise = sum(found.noise) * count * tasks
    of_seeds = sum(found.seeds) * count
    return Components(
        seeds=max(of_seeds - noise / tasks, 0.0),
        tasks=max(float(sums_by_task(parts).var(ddof=1)) - noise / count, 0.0),
        noise=noise,
        shares=tuple(part * count / of_seeds for part in found.seeds) if of_seeds > 0 else (1.0,),
    )


def error_of(parts: Components, seeds: int, tasks: int) -> tuple[float, float]:
    """The standard error, and the degrees of freedom, that a study of this size is expected to have.

    V = (seeds + noise / J) / K + tasks / J, and Satterthwaite's degrees of freedom with the variances in place of their
    estimates. Raises ValueError for fewer than 2 seeds or tasks.
    """
    if seeds < 2 or tasks < 2:
        raise ValueError(f"a study needs at least 2 seeds and 2 tasks, not {seeds} and {tasks}")
    of_seeds = (parts.seeds + parts.noise / tasks) / seeds
    of_tasks = (parts.tasks + parts.noise / seeds) / tasks
    variance = of_seeds + parts.tasks / tasks
    if variance == 0.0:
        return 0.0, float(seeds - 1)
    used = sum((share * of_seeds) ** 2 for share in parts.shares) / (seeds - 1) + of_tasks**2 / (tasks - 1)
    return float(variance**0.5), float(variance**2 / used)


def power(parts: Components, effect: float, seeds: int, tasks: int, confidence: float = CONFIDENCE) -> float:
    """The probability that a study of this size finds a true effect different from 0.

    P(|t'| > t) for the noncentral t' with the study's degrees of freedom and the noncentrality effect / sqrt(V).
    """
    error, freedom = error_of(parts, seeds, tasks)
    return float(effect != 0.0) if error == 0.0 else chance_to_find(abs(effect) / error, freedom, confidence)


def smallest_visible(
    parts: Components, seeds: int, tasks: int, confidence: float = CONFIDENCE, wanted: float = POWER
) -> float:
    """The smallest true effect that a study of this size finds with the probability `wanted`."""
    _check_wanted(confidence, wanted)
    error, freedom = error_of(parts, seeds, tasks)
    return error * least_found(freedom, confidence, wanted)


def needed(
    parts: Components, effect: float, seeds: int, tasks: int, confidence: float = CONFIDENCE, wanted: float = POWER
) -> Needed:
    """The number of seeds with which a study of these tasks finds an effect with the probability `wanted`.

    Where tasks alone vary too much for any number of seeds, the tasks that a study of `seeds` seeds needs. Raises
    ValueError for an effect of 0, or a probability that is not between the error and 1.
    """
    if not effect or not np.isfinite(effect):
        raise ValueError(f"the effect to be found must be a number other than 0, not {effect}")
    _check_wanted(confidence, wanted)
    enough = _smallest(lambda size: power(parts, effect, size, tasks, confidence) >= wanted, MOST_SEEDS)
    if enough is not None:
        return Needed(seeds=enough, tasks=tasks)
    more = _smallest(lambda size: power(parts, effect, seeds, size, confidence) >= wanted, MOST_TASKS)
    return Needed(seeds=None, tasks=more)


def seeds_together(
    sets: Sequence[tuple[Components, int]], effect: float, confidence: float = CONFIDENCE, wanted: float = POWER
) -> int | None:
    """The smallest number of seeds that finds the sum of independent contrasts with the probability `wanted`.

    `sets` has the components and the number of tasks of each, such as those on different test tasks. Variances add up,
    and the degrees of freedom are Welch's. None if no number of seeds is enough. Raises ValueError as `needed` does.
    """
    if not effect or not np.isfinite(effect):
        raise ValueError(f"the effect to be found must be a number other than 0, not {effect}")
    _check_wanted(confidence, wanted)

    def is_enough(seeds: int) -> bool:
        errors = [(error**2, freedom) for error, freedom in (error_of(one, seeds, tasks) for one, tasks in sets)]
        variance = sum(own for own, _ in errors)
        if variance == 0.0:
            return True
        freedom = variance**2 / sum(own**2 / freedom for own, freedom in errors)
        return chance_to_find(abs(effect) / variance**0.5, freedom, confidence) >= wanted

    return _smallest(is_enough, MOST_SEEDS)


def _check_wanted(confidence: float, wanted: float) -> None:
    if not 1.0 - confidence < wanted <= MOST_POWER:
        raise ValueError(f"the probability of finding it is above {1.0 - confidence:g} and at most 0.999, not {wanted}")


def _smallest(enough: Callable[[int], bool], most: int) -> int | None:
    """The smallest size from 2 to `most` that is enough: sizes are doubled until one is, then halved in between.

    Power falls by up to a point where so many tasks are added that the seeds alone decide the degrees of freedom, so
    the largest size does not tell whether a smaller one is enough.
    """
    low, high = 1, 2
    while not enough(high):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
