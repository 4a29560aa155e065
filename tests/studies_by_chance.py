"""Simulated studies: right and wrong answers over seeds and tasks, and `contrast` over many of them at once."""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from counterpoint.analysis.intervals import Z

TASKS = 256
DIFFICULTY = 1.5
"""Spread of the tasks, on the logit scale."""
OWN = 0.5
"""Spread of what a method can do on a task beyond its difficulty."""
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def answers(source, studies, seeds, spread, difficulty, ability=1.5, samples=1):
    """[studies, seeds, tasks]: the mean of right (1) and wrong (0) answers of one method; seeds differ by `spread`."""
    runs = source.normal(0.0, spread, (studies, seeds, 1))
    own = source.normal(0.0, OWN, (studies, 1, TASKS))
    chance = expit(ability + difficulty + runs + own)
    if samples == 1:
        return (source.random(chance.shape) < chance).astype(float)
    return source.binomial(samples, chance) / samples


def difficulties(source, studies):
    return source.normal(-0.2, DIFFICULTY, (studies, 1, TASKS))


def accuracy(ability, spread):
    """The true accuracy of a method, over seeds and tasks."""
    whole = (DIFFICULTY**2 + OWN**2 + spread**2) ** 0.5
    return float(WEIGHTS @ expit(ability - 0.2 + whole * NODES) / WEIGHTS.sum())


def contrasts(parts):
    """Value, error and freedom of `contrast` for every study, of parts (weight, [studies, seeds, tasks])."""
    tasks = parts[0][1].shape[2]
    value, own, noise, used, by_task = 0.0, 0.0, 0.0, 0.0, 0.0
    for weight, found in parts:
        count = found.shape[1]
        of_tasks, of_seeds, mean = found.mean(axis=1), found.mean(axis=2), found.mean(axis=(1, 2))
        spread = weight**2 * of_seeds.var(axis=1, ddof=1) / count
        rest = found - of_seeds[:, :, None] - of_tasks[:, None, :] + mean[:, None, None]
        value = value + weight * mean
        own, used = own + spread, used + spread**2 / (count - 1)
        noise = noise + weight**2 * np.square(rest).sum(axis=(1, 2)) / ((count - 1) * (tasks - 1) * count * tasks)
        by_task = by_task + weight * of_tasks
    over = by_task.var(axis=1, ddof=1) / tasks
    variance = np.maximum(own + over - noise, np.maximum(own, over))
    return value, np.sqrt(variance), variance**2 / (used + over**2 / (tasks - 1))


def covered(found, truth, confidence=0.95):
    """The fraction of studies whose interval contains the truth."""
    value, error, freedom = found
    return float(np.mean(np.abs(value - truth) <= student.ppf(0.5 + confidence / 2, freedom) * error))


def covered_over_tasks(differences, truth):
    """The same of `paired_interval` over the tasks' means, of differences [studies, seeds, tasks]."""
    low, high = intervals_over_tasks(differences)
    return float(np.mean((low <= truth) & (truth <= high)))


def intervals_over_tasks(differences):
    means = differences.mean(axis=1)
    tasks = means.shape[1]
    centre = means.sum(axis=1) / (tasks + 2)
    spread = (np.square(means).sum(axis=1) + 2.0) / (tasks + 2) - centre**2
    reach = Z * np.sqrt(spread / (tasks + 2))
    return centre - reach, centre + reach


def shift_of(points, spread):
    """How far the ability of 1.5 must move for an accuracy that many points higher."""
    low, high = 0.0, float(logit(0.999))
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if accuracy(1.5 + middle, spread) - accuracy(1.5, spread) > points else (middle, high)
    return low
