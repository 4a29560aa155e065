"""The KL divergence of each role's policy from its base."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from counterpoint.diagnostics.base import Diagnostic, Numbers, Step
from counterpoint.episode import Call, calls_of


class Distance(Diagnostic):
    """KL divergence of a role's policy from its base, in nats per token, on `calls` of its calls, every `every` steps.

    Estimated as k3, the mean of exp(l_base - l) - (l_base - l) - 1 over the sampled tokens: never negative, and with
    little variance while the two are near (Schulman 2020, "Approximating KL divergence"). The calls are evenly spaced
    over those of the step.
    """

    name = "distance"

    def __init__(self, *, calls: Annotated[int, Field(ge=1)] = 16, every: Annotated[int, Field(ge=1)] = 5) -> None:
        self._calls = calls
        self._every = every

    def look(self, step: Step) -> Numbers:
        if step.index % self._every:
            return {}
        sampled = [call for _, call in calls_of(step.groups) if call.completion_ids]
        numbers: Numbers = {}
        for role in dict.fromkeys(call.key.role for call in sampled):
            chosen = spaced([call for call in sampled if call.key.role == role], self._calls)
            numbers[f"role/{role}/distance"] = k3(chosen, step.base_logprobs(chosen))
        return numbers


def spaced(calls: Sequence[Call], count: int) -> list[Call]:
    """At most `count` of the calls, evenly spaced."""
    return [calls[place * len(calls) // count] for place in range(count)] if len(calls) > count else list(calls)


def k3(calls: Sequence[Call], base: Sequence[Sequence[float]]) -> float:
    """Mean over all tokens of exp(l_base - l) - (l_base - l) - 1, with l as the sampler gave it."""
    pairs = zip(calls, base, strict=True)
    apart = np.concatenate([np.asarray(others) - np.asarray(call.logprobs) for call, others in pairs])
    return float(np.mean(np.expm1(apart) - apart))
