"""The change that an adapter makes to log-probabilities, as a sampler makes it and as a learner computes it.

A digest proves which adapter a sampler holds. The change proves that its model generates with it: a sampler that rounds
the adapter away, leaves it out, scales it or uses an older one makes another change.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from counterpoint.adapter import Adapter
from counterpoint.episode import Call

FEWEST_TOKENS = 8
"""Over fewer tokens no correlation is taken."""
ENOUGH_TOKENS = 64
"""Tokens of a policy over which a change is compared, and of one call at most: with the same rounding on both sides
more would not tell more."""
_FLOAT32 = 1e-5
"""Nats by which float32 may round log-probabilities apart: ten times what was measured between merged adapters and
adapters beside their base."""
_CLEAR = 10.0
"""A change is judged if it is this many times as large as the noise; noise alone then lowers a correlation to 0.995."""
LARGE = 0.5
"""The reach of a canary whose log-probabilities are far off those of its base."""
SMALL = 5e-5
"""The reach of an adapter of rank 64 and alpha 32 after its first step at a learning rate of 2e-5."""

Rows = Sequence[Sequence[float]]
"""Log-probabilities: a row per call, a number per completion token."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """The agreement of two changes."""

    correlation: float
    """Pearson's, over tokens; 0 if the sampler's change is the same for every token."""
    share: float
    """The slope of the sampler's change over the learner's: 1 if the sampler makes all of the change, 0 if none."""

    def is_less_than(self, least: float) -> bool:
        """True unless correlation, share and the inverse of the share are at least `least`; true if one is NaN."""
        return not (self.correlation >= least and self.share >= least and self.share * least <= 1.0)


def agreement(
    sampler: Rows, learner: Rows, base: Rows, *, noise: float, sampler_base: Rows | None = None
) -> Spoken | None:
    """The agreement of the sampler's change from `sampler_base`, if given, or from `base`, with the learner's.

    `noise` is the difference (nats, root mean square) that rounding alone makes between sampler and learner. None where
    there is nothing to compare: too few tokens, or a change of the learner's that does not stand out from the noise.
    """
    spoken = _flat(sampler) - _flat(base if sampler_base is None else sampler_base)
    learned = _flat(learner) - _flat(base)
    if len(learned) < FEWEST_TOKENS:
        return None
    spoken, learned = spoken - spoken.mean(), learned - learned.mean()
    if root_mean_square(learned) < _CLEAR * max(noise, _FLOAT32):
        return None
    together = float(np.mean(spoken * learned))
    scale = root_mean_square(spoken) * root_mean_square(learned)
    return Spoken(together / scale if scale else 0.0, together / root_mean_square(learned) ** 2)


def difference(one: Rows, other: Rows) -> float:
    """The root mean square of the differences between two sets of log-probabilities, in nats."""
    return root_mean_square(_flat(one) - _flat(other))


def root_mean_square(values: Any) -> float:
    """The root of the mean of the squares; 0 for no values."""
    return math.sqrt(float(np.mean(np.square(values)))) if len(values) else 0.0


def few(calls: Sequence[Call]) -> list[Call]:
    """The first calls that have enough tokens together, their completions cut to as many, in the learner's order."""
    found, tokens = list[Call](), 0
    for call in calls:
        if tokens < ENOUGH_TOKENS and call.completion_ids:
            kept = slice(ENOUGH_TOKENS)
            found.append(replace(call, completion_ids=call.completion_ids[kept], logprobs=call.logprobs[kept]))
            tokens += len(found[-1].completion_ids)
    return sorted(found, key=lambda call: (*call.prompt_ids, *call.completion_ids))


def canary(adapter: Adapter, reach: float, *, seed: int) -> Adapter:
    """A random adapter with the shapes of `adapter`, on its device.

    It adds about `reach` times the root mean square of a layer's inputs to each of its outputs, which are about as
    large as its inputs.
    """
    import torch  # not above: what describes a run does without it

    source = torch.Generator().manual_seed(seed)
    tensors: dict[str, Any] = {}
    for name, tensor in adapter.tensors.items():
        # Both matrices (R, I) and (O, R) are divided by the root of what they sum over.
        own = torch.randn(tensor.shape, generator=source) / math.sqrt(tensor.shape[1])
        factor = reach / adapter.scale if name.endswith(".lora_B.weight") else 1.0
        tensors[name] = (factor * own).to(tensor.device)
    return replace(adapter, tensors=tensors)


def _flat(rows: Rows) -> Any:
    return np.array([value for row in rows for value in row], dtype=np.float64)
