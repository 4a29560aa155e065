"""Advantage: reward minus a baseline over a group, perhaps over its spread. The group key is an explicit choice."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Annotated, Literal

from pydantic import Field

from counterpoint.algorithms.base import Credit, Sample

Part = Literal["task", "role", "slot", "turn", "prompt"]
Baseline = Literal["mean", "others"]
Scale = Literal["std", "none"]

EPSILON = 1e-6
"""Added to a standard deviation before dividing by it."""
NO_SPREAD = 1e-8
"""A group whose rewards differ by less carries no signal."""


def grouped(
    credits: Sequence[Credit],
    *,
    by: Annotated[list[Part], Field(min_length=1)],
    baseline: Baseline = "mean",
    scale: Scale = "std",
) -> list[Sample]:
    """Compare calls that agree on every part of `by`.

    mean, std:    A = (R - mean(R)) / (std(R) + 1e-6), std with n - 1
    mean, none:   A = R - mean(R)
    others, none: A = R - mean(R of the others) = n / (n - 1) * (R - mean(R))
    """
    keys = [_key(credit, by) for credit in credits]
    return _compare(credits, keys, baseline=baseline, scale=scale)


def by_episode(credits: Sequence[Credit], *, baseline: Baseline, scale: Scale) -> list[Sample]:
    """Compare the episodes of a task, each counted once however many calls it made; its calls share its advantage.

    Raises ValueError if the calls of an episode have different rewards: then episodes cannot be compared.
    """
    first: dict[tuple[str, int], Credit] = {}
    for credit in credits:
        known = first.setdefault((credit.task, credit.rollout), credit)
        if known.reward != credit.reward:
            raise ValueError(
                f"task {credit.task}, rollout {credit.rollout}: an advantage over episodes needs one reward an episode,"
                f" but {known.call.key} has {known.reward} and {credit.call.key} has {credit.reward}"
            )
    compared = _compare(list(first.values()), [task for task, _ in first], baseline=baseline, scale=scale)
    verdict = {(sample.task, sample.rollout): sample for sample in compared}
    return [
        _sample(credit, verdict[credit.task, credit.rollout].advantage, verdict[credit.task, credit.rollout].signal)
        for credit in credits
    ]


grpo = partial(by_episode, baseline="mean", scale="std")
"""GRPO over episodes (arXiv 2402.03300)."""
dr_grpo = partial(by_episode, baseline="mean", scale="none")
"""Without the division by the spread (arXiv 2503.20783)."""
rloo = partial(by_episode, baseline="others", scale="none")
"""Leave-one-out (arXiv 2402.14740)."""
role = partial(grouped, by=["task", "role"], baseline="mean", scale="std")
"""Moments over the calls of a role (Dr. MAS, arXiv 2602.08847)."""
role_slot = partial(grouped, by=["task", "role", "slot"], baseline="mean", scale="std")
"""Each parallel call of a role against its like (arXiv 2605.24202 for math voting; mmGRPO, 2508.04660)."""


def advantages(rewards: Sequence[float], *, baseline: Baseline, scale: Scale) -> list[float] | None:
    """The advantage of each reward of one group; None if the group carries no signal."""
    if len(rewards) < 2 or max(rewards) - min(rewards) < NO_SPREAD:
        return None
    mean = fmean(rewards)
    correction = len(rewards) / (len(rewards) - 1) if baseline == "others" else 1.0
    spread = stdev(rewards) + EPSILON if scale == "std" else 1.0
    return [correction * (reward - mean) / spread for reward in rewards]


def _compare(credits: Sequence[Credit], keys: Sequence[object], *, baseline: Baseline, scale: Scale) -> list[Sample]:
    members: dict[object, list[int]] = {}
    for index, key in enumerate(keys):
        members.setdefault(key, []).append(index)
    samples: dict[int, Sample] = {}
    for indices in members.values():
        values = advantages([credits[index].reward for index in indices], baseline=baseline, scale=scale)
        for place, index in enumerate(indices):
            samples[index] = _sample(credits[index], values[place] if values else 0.0, values is not None)
    return [samples[index] for index in range(len(credits))]


def _key(credit: Credit, by: Sequence[Part]) -> tuple[object, ...]:
    call = credit.call
    parts: dict[Part, object] = {
        "task": credit.task,
        "role": call.key.role,
        "slot": call.key.slot,
        "turn": call.key.turn,
        "prompt": call.prompt_ids,
    }
    return tuple(parts[part] for part in by)


def _sample(credit: Credit, advantage: float, signal: bool) -> Sample:
    return Sample(
        task=credit.task,
        rollout=credit.rollout,
        call=credit.call,
        reward=credit.reward,
        advantage=advantage,
        signal=signal,
    )
