"""The rewards of an environment as one score in [0, 1] with named parts."""

import math
from collections.abc import Mapping

from counterpoint.task import Score, not_judged


def total(
    rewards: Mapping[str, tuple[float, float] | None],
    metrics: Mapping[str, float | None],
    span: tuple[float, float] | None,
) -> Score:
    """The score of a reply, from (value, weight) of every reward; every reward and metric is one of its parts.

    Without `span` it is the mean of the rewards, each counted with its weight, which must be in [0, 1] where the weight
    is not 0. With it, it is their weighted sum, of which `span` says what is 0 and what is 1. A reply is not judged if
    a reward was not computed, or a number is not finite or out of its range.
    """
    for name, one in rewards.items():
        if one is None or not all(map(math.isfinite, one)):
            return not_judged(f"gave no finite number as reward {name!r}")
    known = {name: one for name, one in rewards.items() if one is not None}
    parts = {
        **{name: value for name, value in metrics.items() if value is not None and math.isfinite(value)},
        **{name: value for name, (value, _) in known.items()},
    }
    found = _spanned(known, span) if span is not None else _mean(known)
    return not_judged(found) if isinstance(found, str) else Score(reward=found, parts=parts)


def _mean(rewards: Mapping[str, tuple[float, float]]) -> float | str:
    """The weighted mean, or the reason why there is none."""
    counted = {name: one for name, one in rewards.items() if one[1] != 0}
    for name, (value, weight) in counted.items():
        if weight < 0:
            return f"gave reward {name!r} with the negative weight {weight:g}: say with task.range what is 0 and 1"
        if not 0 <= value <= 1:
            return f"gave reward {name!r} = {value:g}, outside [0, 1]: say with task.range what is 0 and 1"
    whole = sum(weight for _, weight in counted.values())
    if not counted:
        return "gave no reward with a weight"
    return min(1.0, sum(value * weight for value, weight in counted.values()) / whole)


def _spanned(rewards: Mapping[str, tuple[float, float]], span: tuple[float, float]) -> float | str:
    low, high = span
    found = sum(value * weight for value, weight in rewards.values())
    if not low <= found <= high:
        return f"gave {found:g} in all, outside task.range = [{low:g}, {high:g}]"
    return (found - low) / (high - low)
