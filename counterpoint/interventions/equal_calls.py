"""As many calls of each role in the loss."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from counterpoint.algorithms.base import Sample
from counterpoint.interventions.base import Intervention


class EqualCalls(Intervention):
    """n_r - weight (n_r - n) calls of each role stay in the loss, with n the smallest number n_r of any role.

    They are drawn at random, with a seed from the step. So a role with more calls has no larger part in a shared
    policy, and with `algorithm.calls_per_update` takes no more optimizer steps with a policy of its own.
    """

    name = "equal_calls"

    def __init__(self, *, weight: Annotated[float, Field(ge=0, le=1)] = 1.0) -> None:
        self._weight = weight

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        if not self._weight:
            return samples
        places: dict[str, list[int]] = {}
        for place, sample in enumerate(samples):
            if sample.in_loss:
                places.setdefault(sample.call.key.role, []).append(place)
        fewest = min(map(len, places.values()), default=0)
        left_out: set[int] = set()
        for role, mine in places.items():
            count = round(self._weight * (len(mine) - fewest))
            left_out.update(random.Random(f"{step}/{role}").sample(mine, count))
        return [replace(sample, in_loss=False) if place in left_out else sample for place, sample in enumerate(samples)]
