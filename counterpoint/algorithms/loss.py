"""The loss of a policy: a value per token, and the weight of each token in the policy's whole update.

Shapes: C calls, T tokens. The weights carry every denominator, computed once per policy over the whole optimizer step,
so a loss over any part of the calls (a role, a micro-batch) is a plain weighted sum, and the parts add up to the whole.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from counterpoint.algorithms.base import Sample

TokenLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logprobs_CT, old_logprobs_CT, advantages_C1) -> loss_CT."""
Aggregation = Callable[[Sequence[Sample]], list[float]]
"""The samples of one policy's whole update -> the weight of each token of each sample."""


class Loss(NamedTuple):
    token_loss: TokenLoss
    aggregation: Aggregation


def reinforce(logprobs_CT: Tensor, old_CT: Tensor, advantages_C1: Tensor) -> Tensor:
    """-A l."""
    return -advantages_C1 * logprobs_CT


def clip(
    logprobs_CT: Tensor,
    old_CT: Tensor,
    advantages_C1: Tensor,
    *,
    low: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    high: Annotated[float, Field(gt=0)] = 0.28,
    dual: Annotated[float, Field(gt=1)] | None = None,
) -> Tensor:
    """L = max(-rho A, -clip(rho, 1 - low, 1 + high) A), rho = exp(l - l_old); PPO 1707.06347, DAPO 2503.14476.

    With `dual`, L = min(L, -dual A) where A < 0.
    """
    ratio_CT = torch.exp(logprobs_CT - old_CT)
    clipped_CT = torch.clamp(ratio_CT, 1 - low, 1 + high)
    loss_CT = torch.maximum(-ratio_CT * advantages_C1, -clipped_CT * advantages_C1)
    if dual is None:
        return loss_CT
    return torch.where(advantages_C1 < 0, torch.minimum(loss_CT, -dual * advantages_C1), loss_CT)


def token(samples: Sequence[Sample]) -> list[float]:
    """Mean over all tokens of the update: every token weighs 1 / (sum of L_c)."""
    total = sum(sample.tokens for sample in samples)
    return [1.0 / total for _ in samples]


def call(samples: Sequence[Sample]) -> list[float]:
    """Mean over calls of the mean over their tokens: a token of call c weighs 1 / (C L_c) (arXiv 2605.24202)."""
    return [1.0 / (len(samples) * sample.tokens) for sample in samples]
