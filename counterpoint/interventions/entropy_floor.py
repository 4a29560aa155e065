"""Roles that are paid for surprise when they have too little of it."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Annotated

from pydantic import Field

from counterpoint.algorithms.base import Sample
from counterpoint.interventions.base import Intervention, source_of
from counterpoint.learners.base import Source


class EntropyFloor(Intervention):
    """A <- A + weight (h - mean h) for the calls of a role whose mean h is below `floor`.

    h is a call's mean of -log-probability over its tokens (nats), whose mean over calls estimates the role's entropy.
    The bonus is that of maximum-entropy reinforcement learning (arXiv 1702.08165) on whole calls, centred, so that it
    prefers the unlikelier calls of the role and pushes it nowhere on average. Everything is over the calls in the loss:
    of a role that has collapsed there are none, unless `algorithm.without_signal = "keep"`. A role that several
    policies play is several roles here: the entropy of one says nothing about another's.
    """

    name = "entropy_floor"

    def __init__(
        self, *, floor: Annotated[float, Field(gt=0)] = 0.05, weight: Annotated[float, Field(ge=0)] = 0.1
    ) -> None:
        self._floor = floor
        self._weight = weight

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        if not self._weight:
            return samples
        low = {source: mean for source, mean in surprises(samples).items() if mean < self._floor}
        return [
            replace(sample, advantage=sample.advantage + self._weight * (surprise(sample) - low[source_of(sample)]))
            if sample.in_loss and source_of(sample) in low
            else sample
            for sample in samples
        ]


def surprise(sample: Sample) -> float:
    """Mean of -log-probability over its tokens (nats)."""
    return -fmean(sample.call.logprobs)


def surprises(samples: Sequence[Sample]) -> dict[Source, float]:
    """Source -> mean surprise of its calls in the loss, where it has any."""
    found: dict[Source, list[float]] = {}
    for sample in samples:
        if sample.in_loss:
            found.setdefault(source_of(sample), []).append(surprise(sample))
    return {source: fmean(values) for source, values in found.items()}
