"""Advantage: the reward minus the baseline of a group, divided by its standard deviation or not.

Symbols: R the reward of a call or episode. The group key is always explicit.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Annotated, Literal

from pydantic import Field

from counterpoint.algorithms.base import Baselines, Credit, Sample
from counterpoint.episode import Proposal
from counterpoint.errors import ConfigError

Part = Literal["task", "role", "slot", "turn", "prompt", "proposal"]
Baseline = Literal["mean", "others"]
Scale = Literal["std", "none"]

EPSILON = 1e-6
"""Added to a standard deviation that is a divisor."""
NO_SPREAD = 1e-8
"""A group whose rewards differ by less carries no signal."""


def grouped(
    credits: Sequence[Credit],
    *,
    by: Annotated[list[Part], Field(min_length=1)],
    baseline: Baseline = "mean",
    scale: Scale = "std",
) -> list[Sample]:
    """Compares the calls that agree on every part of `by`.

    mean, std:    A = (R - mean(R)) / (std(R) + 1e-6), std with n - 1
    mean, none:   A = R - mean(R)
    others, none: A = R - mean(R of the others) = n / (n - 1) * (R - mean(R))
    others, std:  A = (R - mean(R of the others)) / (std(R) + 1e-6)
    """
    keys = [_key(credit, by) for credit in credits]
    return _compare(credits, keys, baseline=baseline, scale=scale)


def by_episode(credits: Sequence[Credit], *, baseline: Baseline, scale: Scale) -> list[Sample]:
    """Compares the episodes of a task, each counted once however many calls it has; its calls share its advantage.

    Raises ConfigError if the calls of an episode have different rewards: then episodes cannot be compared.
    """
    first: dict[tuple[str, int], Credit] = {}
    for credit in credits:
        known = first.setdefault((credit.task, credit.rollout), credit)
        if known.reward != credit.reward:
            raise ConfigError(
                f"task {credit.task}, rollout {credit.rollout}: an advantage over episodes needs one reward per"
                f" episode, but {known.call.key} has {known.reward} and {credit.call.key} has {credit.reward};"
                " use an advantage over calls, such as role"
            )
    compared = _compare(list(first.values()), [task for task, _ in first], baseline=baseline, scale=scale)
    found = {(sample.task, sample.rollout): sample for sample in compared}
    samples = [found[credit.task, credit.rollout] for credit in credits]
    return [credit.sample(same.advantage, signal=same.signal) for credit, same in zip(credits, samples, strict=True)]


def grpo(credits: Sequence[Credit]) -> list[Sample]:
    """A = (R - mean(R)) / (std(R) + 1e-6) over the episodes of a task (GRPO, arXiv 2402.03300)."""
    return by_episode(credits, baseline="mean", scale="std")


def dr_grpo(credits: Sequence[Credit]) -> list[Sample]:
    """A = R - mean(R) over the episodes of a task, without a divisor (Dr. GRPO, arXiv 2503.20783)."""
    return by_episode(credits, baseline="mean", scale="none")


def rloo(credits: Sequence[Credit]) -> list[Sample]:
    """A = R - mean(R of the other episodes of the task) (RLOO, arXiv 2402.14740)."""
    return by_episode(credits, baseline="others", scale="none")


def reinforce_pp(credits: Sequence[Credit]) -> list[Sample]:
    """A = R - mean(R) over the episodes of a task, then (A - mean(A)) / (std(A) + 1e-6) over the calls of a policy.

    The second mean and deviation (n - 1) are over all calls with signal that the policy made in the step
    (REINFORCE++ with a baseline, arXiv 2501.03262). A policy for whose calls the second comparison compares nothing has
    no signal. The paper normalizes over tokens; the aggregation `call` keeps the weighted mean at 0 here. Raises
    ConfigError as `by_episode` does.
    """
    samples = dr_grpo(credits)
    found: dict[int, Sample] = {}
    for policy in dict.fromkeys(sample.call.policy for sample in samples):
        mine = [index for index, sample in enumerate(samples) if sample.call.policy == policy and sample.signal]
        values = advantages([samples[index].advantage for index in mine], baseline="mean", scale="std")
        for place, index in enumerate(mine):
            white = values[place] if values else 0.0
            found[index] = replace(samples[index], advantage=white, signal=bool(values), in_loss=bool(values))
    return [found.get(index, sample) for index, sample in enumerate(samples)]


def role(credits: Sequence[Credit]) -> list[Sample]:
    """A = (R - mean(R)) / (std(R) + 1e-6) over the calls of a role on a task (Dr. MAS, arXiv 2602.08847)."""
    return grouped(credits, by=["task", "role"])


def role_slot(credits: Sequence[Credit]) -> list[Sample]:
    """As `role`, over the calls of one slot: parallel calls are not compared with each other (arXiv 2605.24202)."""
    return grouped(credits, by=["task", "role", "slot"])


def role_turn(credits: Sequence[Credit]) -> list[Sample]:
    """As `role`, over the calls of one turn (mmGRPO, arXiv 2508.04660)."""
    return grouped(credits, by=["task", "role", "turn"])


def prompt(credits: Sequence[Credit]) -> list[Sample]:
    """As `role_turn`, over the calls with exactly the same prompt (AT-GRPO, arXiv 2510.11062)."""
    return grouped(credits, by=["task", "role", "turn", "prompt"])


def rae(
    credits: Sequence[Credit], *, baselines: Baselines, decay: Annotated[float, Field(ge=0, lt=1)] = 0.95
) -> list[Sample]:
    """A = R - b_r, then b_r <- decay b_r + (1 - decay) mean(R), b_r of the call's role, at first 0.

    The mean is over the calls of the role in the step, so their order does not matter; the baseline is used before it
    is moved; the paper moves it first, which makes A smaller by the factor `decay` (role-conditioned advantage
    estimation, SPIRAL, arXiv 2506.24119). Every call has signal.
    """
    samples = [credit.sample(credit.reward - baselines.get(credit.call.key.role, 0.0)) for credit in credits]
    for name in dict.fromkeys(credit.call.key.role for credit in credits):
        mean = fmean(credit.reward for credit in credits if credit.call.key.role == name)
        baselines[name] = decay * baselines.get(name, 0.0) + (1 - decay) * mean
    return samples


def hierarchical(credits: Sequence[Credit]) -> list[Sample]:
    """A = R - mean(R) over the calls of a role that followed the same proposal (prime-rl's proposer and solver).

    Calls that followed no proposal are compared with those of their role on the task; a role that proposes need not be
    called in every step.
    """
    return grouped(credits, by=["task", "role", "proposal"], baseline="mean", scale="none")


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
            samples[index] = credits[index].sample(values[place] if values else 0.0, signal=values is not None)
    return [samples[index] for index in range(len(credits))]


def _key(credit: Credit, by: Sequence[Part]) -> tuple[object, ...]:
    call = credit.call
    parts: dict[Part, object] = {
        "task": credit.task,
        "role": call.key.role,
        "slot": call.key.slot,
        "turn": call.key.turn,
        "prompt": call.prompt_ids,
        "proposal": _proposal(credit) if "proposal" in by else None,
    }
    return tuple(parts[part] for part in by)


def _proposal(credit: Credit) -> tuple[tuple[int, ...], str] | None:
    """The tokens and text of the proposal that the call followed; None if it followed none."""
    for other in credit.episode.calls:
        if isinstance(other.claim, Proposal) and credit.call.key in other.claim.followed_by:
            return other.completion_ids, other.text
    return None
