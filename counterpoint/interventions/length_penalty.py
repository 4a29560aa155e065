"""Roles that pay for replies much longer than those they began with."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Annotated

from pydantic import Field

from counterpoint.algorithms.base import Sample
from counterpoint.interventions.base import Intervention, source_of
from counterpoint.learners.base import Source

LENGTHS_FILE = "lengths.json"


class LengthPenalty(Intervention):
    """A <- A - weights[r] (e - mean e) for the calls of role r, e = max(0, L / (most L_r) - 1).

    L is a reply's length in tokens, L_r the mean length of the role's replies in the first `steps` steps, in which
    nothing is subtracted. The mean of e is over the role's calls in the loss, those of one policy where several play
    it, so that longer replies are pushed down against shorter ones of the same role, and neither the role nor a policy
    as a whole anywhere. Against length takeover (arXiv 2605.24202).
    Replies without signal are not in the loss, unless `algorithm.without_signal = "keep"`, and pay nothing;
    `algorithm.overlong = "soft"` is the penalty near `rollout.max_tokens`, on rewards and for every role alike.
    """

    name = "length_penalty"

    def __init__(
        self,
        *,
        weights: dict[str, Annotated[float, Field(ge=0)]],
        most: Annotated[float, Field(gt=0)] = 1.5,
        steps: Annotated[int, Field(ge=1)] = 5,
    ) -> None:
        self._named = tuple(weights)
        self._weights = {role: weight for role, weight in weights.items() if weight}
        self._most = most
        self._steps = steps
        self._totals: dict[str, tuple[int, int]] = {}
        """Role -> the tokens and the calls of the first steps."""

    def roles(self) -> Collection[str]:
        return self._named

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        if not self._weights:
            return samples
        if step <= self._steps:
            self._count(samples)
            return samples
        means = {role: tokens / calls for role, (tokens, calls) in self._totals.items() if tokens}
        excess = [self._excess(sample, means) for sample in samples]
        middle = _means(samples, excess)
        return [
            sample
            if over is None
            else replace(
                sample,
                advantage=sample.advantage - self._weights[sample.call.key.role] * (over - middle[source_of(sample)]),
            )
            for sample, over in zip(samples, excess, strict=True)
        ]

    def save(self, folder: Path) -> None:
        (folder / LENGTHS_FILE).write_text(json.dumps(self._totals) + "\n", encoding="utf-8")

    def load(self, folder: Path) -> None:
        rows = json.loads((folder / LENGTHS_FILE).read_text(encoding="utf-8"))
        self._totals = {role: (tokens, calls) for role, (tokens, calls) in rows.items()}

    def _count(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            role = sample.call.key.role
            if role in self._weights:
                tokens, calls = self._totals.get(role, (0, 0))
                self._totals[role] = (tokens + sample.tokens, calls + 1)

    def _excess(self, sample: Sample, means: Mapping[str, float]) -> float | None:
        """None for a call that pays nothing whatever its length."""
        mean = means.get(sample.call.key.role)
        if mean is None or not sample.in_loss:
            return None
        return max(0.0, sample.tokens / (self._most * mean) - 1.0)


def _means(samples: Sequence[Sample], excess: Sequence[float | None]) -> dict[Source, float]:
    """Source -> the mean excess of its calls that count."""
    found: dict[Source, list[float]] = {}
    for sample, over in zip(samples, excess, strict=True):
        if over is not None:
            found.setdefault(source_of(sample), []).append(over)
    return {source: fmean(values) for source, values in found.items()}
