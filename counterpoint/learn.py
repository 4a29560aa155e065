"""The learning part of a training step: trainable policies, old log-probabilities, and totals over its updates.

A number of a step with several updates is formed from totals over them: `docs/metrics.md` has the rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.config import PolicySettings
from counterpoint.errors import ConfigError
from counterpoint.learners.base import Contribution, Contributions, Gradient, Learner, Moved, added, settled


def trainable(settings: Mapping[str, PolicySettings]) -> list[str]:
    """The policies that are not frozen. Raises ConfigError if all are."""
    found = [policy for policy, own in settings.items() if own.trainable]
    if not found:
        raise ConfigError(f"every policy is frozen, nothing would be trained: {', '.join(settings)}")
    return found


def in_turn(samples: Sequence[Sample], settings: Mapping[str, PolicySettings], step: int) -> list[Sample]:
    """The samples of step `step`; those of policies that are not due in it are not in the loss."""
    return [
        sample if settings[sample.call.policy].update.due(step) else replace(sample, in_loss=False)
        for sample in samples
    ]


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


@dataclass(frozen=True, slots=True)
class Total:
    """The contributions of a training step, added over its updates, from which every ratio is then formed.

    A mean of shares or cosines over updates would leave out the updates in which a role is missing. With one update
    everything is what the learner returned. It holds one gradient per (policy, role), and per slot where slots are kept
    apart, however many updates there are.
    """

    contributions: Contributions = field(default_factory=dict)
    """Gradients (`settled`), weights and losses are sums; facts are means weighted as in the loss."""
    updates: Mapping[str, int] = field(default_factory=dict)
    """Policy -> the updates in which it had samples in the loss."""
    norms: Mapping[str, float] = field(default_factory=dict)
    """Policy -> the norm of its joint gradient, summed over the updates."""

    def plus(self, update: Contributions) -> "Total":
        """The total with one more update in it."""
        policies = dict.fromkeys(source.policy for source in update)
        joint = {policy: added(_gradients(update, policy)).norm() for policy in policies}
        sums = {source: _plus(self.contributions.get(source), one) for source, one in update.items()}
        return Total(
            {**self.contributions, **sums},
            {**self.updates, **{policy: self.updates.get(policy, 0) + 1 for policy in joint}},
            {**self.norms, **{policy: self.norms.get(policy, 0.0) + norm for policy, norm in joint.items()}},
        )


def _gradients(contributions: Contributions, policy: str) -> list[Gradient]:
    return [one.gradient for source, one in contributions.items() if source.policy == policy]


def _plus(sofar: Contribution | None, one: Contribution) -> Contribution:
    """Both together."""
    if sofar is None:
        return one
    weight, mass = sofar.weight + one.weight, sofar.mass + one.mass
    return Contribution(
        gradient=settled(sofar.gradient.plus(one.gradient), mass),
        weight=weight,
        loss=sofar.loss + one.loss,
        facts={
            name: (sofar.facts[name] * sofar.weight + fact * one.weight) / weight
            for name, fact in one.facts.items()
            if name in sofar.facts
        },
        slots={slot: added(_with_slot(slot, sofar, one)) for slot in sorted({*sofar.slots, *one.slots})},
        norms=mass,
    )


def _with_slot(slot: int, *parts: Contribution) -> list[Gradient]:
    return [part.slots[slot] for part in parts if slot in part.slots]
