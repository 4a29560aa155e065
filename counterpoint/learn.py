"""The learning part of a training step: trainable policies, old log-probabilities, and totals over its updates."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.config import PolicySettings
from counterpoint.diagnostics.base import Numbers
from counterpoint.errors import ConfigError
from counterpoint.learners.base import Learner, Moved


def trainable(settings: Mapping[str, PolicySettings]) -> list[str]:
    """The policies that are not frozen. Raises ConfigError if all are."""
    found = [policy for policy, own in settings.items() if own.trainable]
    if not found:
        raise ConfigError(f"every policy is frozen, nothing would be trained: {', '.join(settings)}")
    return found


def anchored(learner: Learner, batches: Sequence[Sequence[Sample]], loss: Loss) -> list[list[Sample]]:
    """The mini-batches, with the old log-probabilities of every sample filled in where the loss needs them.

    With a single mini-batch and the learner's own old log-probabilities, the policy has not changed since, so that the
    backward pass computes them anyway: they stay unset.
    """
    if loss.old_logprobs == "sampler":
        return [[replace(sample, old=sample.call.logprobs) for sample in batch] for batch in batches]
    if len(batches) == 1:
        return [list(batch) for batch in batches]
    every = [sample for batch in batches for sample in batch]
    old = iter(learner.logprobs([sample.call for sample in every]))
    return [[replace(sample, old=tuple(next(old))) for sample in batch] for batch in batches]


def together(moves: Sequence[Mapping[str, Moved]]) -> dict[str, Moved]:
    """Policy -> its updates in a step, combined: mean norm, last learning rate, summed change, number of updates."""
    found: dict[str, Moved] = {}
    for policy in dict.fromkeys(policy for moved in moves for policy in moved):
        mine = [moved[policy] for moved in moves if policy in moved]
        found[policy] = Moved(
            norm=fmean(move.norm for move in mine),
            learning_rate=mine[-1].learning_rate,
            change=sum(move.change for move in mine),
            updates=sum(move.updates for move in mine),
        )
    return found


def mean_of(looks: Sequence[Mapping[str, float]]) -> Numbers:
    """The mean of every number over the updates that have it."""
    names = dict.fromkeys(name for look in looks for name in look)
    return {name: fmean(look[name] for look in looks if name in look) for name in names}
