"""Aggregation: the weight of each token in the loss of a policy's whole update.

Symbols: C the calls of the update, L_c the tokens of call c, R the roles in it, n_r the calls of role r.
"""

from collections.abc import Callable, Sequence

from counterpoint.algorithms.base import Sample

Aggregation = Callable[[Sequence[Sample]], list[float]]
"""The samples of one policy's whole update -> the weight of each token of each sample."""


def token(samples: Sequence[Sample]) -> list[float]:
    """Mean over all tokens of the update: every token weighs 1 / (sum of L_c) (DAPO, arXiv 2503.14476)."""
    total = sum(sample.tokens for sample in samples)
    return [1.0 / total for _ in samples]


def call(samples: Sequence[Sample]) -> list[float]:
    """Mean over calls of the mean over their tokens: a token of call c weighs 1 / (C L_c) (arXiv 2605.24202)."""
    return [1.0 / (len(samples) * sample.tokens) for sample in samples]


def constant(samples: Sequence[Sample], *, max_tokens: int) -> list[float]:
    """Mean over calls of the sum over tokens / L_max: every token weighs 1 / (C L_max) (Dr. GRPO, arXiv 2503.20783).

    L_max is `rollout.max_tokens`. The weights of an update sum to its mean length / L_max, not to 1.
    """
    return [1.0 / (len(samples) * max_tokens) for _ in samples]


def balanced(samples: Sequence[Sample], aggregation: Aggregation) -> list[float]:
    """`aggregation` within each role, then the mean over the R roles: a role's weight does not grow with its calls.

    With `call` a token of role r weighs 1 / (R n_r L_c).
    """
    roles: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        roles.setdefault(sample.call.key.role, []).append(index)
    weights: dict[int, float] = {}
    for indices in roles.values():
        within = aggregation([samples[index] for index in indices])
        weights |= {index: weight / len(roles) for index, weight in zip(indices, within, strict=True)}
    return [weights[index] for index in range(len(samples))]


def nominal(samples: Sequence[Sample], aggregation: Aggregation, *, calls: int) -> list[float]:
    """`aggregation`, times C / `calls`: an update of fewer calls has a proportionally smaller gradient."""
    return [weight * len(samples) / calls for weight in aggregation(samples)]
