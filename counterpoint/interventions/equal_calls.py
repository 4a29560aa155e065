"""As many calls of each role in the loss of a shared policy."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from counterpoint.algorithms.base import Sample
from counterpoint.interventions.base import Intervention


class EqualCalls(Intervention):
    """Of each role of a policy, n_r - weight (n_r - n) calls stay in the loss, n the fewest that a role has there.

    Which ones, chance decides, by the step alone. So that with `algorithm.calls_per_update` a role that speaks more
    does not take more optimizer steps, and in a shared policy has no larger part.
    """

    name = "equal_calls"

    def __init__(self, *, weight: Annotated[float, Field(ge=0, le=1)] = 1.0) -> None:
        self._weight = weight

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        if not self._weight:
            return samples
        places: dict[str, dict[str, list[int]]] = {}
        for place, sample in enumerate(samples):
            if sample.in_loss:
                of_policy = places.setdefault(sample.call.policy, {})
                of_policy.setdefault(sample.call.key.role, []).append(place)
        left_out: set[int] = set()
        for policy, roles in places.items():
            fewest = min(map(len, roles.values()))
            for role, mine in roles.items():
                count = round(self._weight * (len(mine) - fewest))
                left_out.update(random.Random(f"{step}/{policy}/{role}").sample(mine, count))
        return [replace(sample, in_loss=False) if place in left_out else sample for place, sample in enumerate(samples)]
