"""The third act of a training step: what is trained, what the ratio is taken to, what the updates of a step come to."""

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
    """The mini-batches, their samples with the log-probabilities that the ratio is taken to.

    With one update and the learner's own these are those of the update itself, and need no computation.
    """
    if loss.old_logprobs == "sampler":
        return [[replace(sample, old=sample.call.logprobs) for sample in batch] for batch in batches]
    if len(batches) == 1:
        return [list(batch) for batch in batches]
    every = [sample for batch in batches for sample in batch]
    old = iter(learner.logprobs([sample.call for sample in every]))
    return [[replace(sample, old=tuple(next(old))) for sample in batch] for batch in batches]


def together(moves: Sequence[Mapping[str, Moved]]) -> dict[str, Moved]:
    """What the updates of a step did to each policy that moved: mean norm, last rate, length of the path, how many."""
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
    """Every number, averaged over the updates that have it."""
    names = dict.fromkeys(name for look in looks for name in look)
    return {name: fmean(look[name] for look in looks if name in look) for name in names}
