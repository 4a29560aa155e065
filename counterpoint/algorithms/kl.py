"""Estimates of KL(policy, base) a token, from a token that the policy sampled, and what they add to the loss.

Shapes: C calls, T tokens. Symbols: l under the policy, l_ref under the base (the same model without its adapter), d =
l - l_ref. See http://joschu.net/blog/kl-approx.html for the estimates.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

LARGEST_EXPONENT = 20.0
"""So that no float32 overflows where the base is far more certain than the policy."""
Weight = Annotated[float, Field(ge=0)]


class Kl(NamedTuple):
    value_CT: Tensor
    """The estimate (nats), without gradient."""
    loss_CT: Tensor
    """What is added to the loss."""


Anchor = Callable[[Tensor, Tensor], Kl]
"""(logprobs_CT, base_CT) -> the estimate and its weighted part in the loss."""


def none(logprobs_CT: Tensor, base_CT: Tensor) -> Kl:
    """Nothing is held."""
    return Kl(torch.zeros_like(logprobs_CT), torch.zeros_like(logprobs_CT))


def k1(logprobs_CT: Tensor, base_CT: Tensor, *, weight: Weight) -> Kl:
    """d, unbiased and of either sign, as a penalty on the token's reward: adds weight * stop_gradient(d) * l.

    As a term of the loss its derivative would have the expectation 0 and hold nothing.
    """
    value_CT = (logprobs_CT - base_CT).detach()
    return Kl(value_CT, weight * value_CT * logprobs_CT)


def k2(logprobs_CT: Tensor, base_CT: Tensor, *, weight: Weight) -> Kl:
    """d^2 / 2, biased and never negative, whose derivative d dl has the expectation of the KL's: adds weight * k2."""
    value_CT = 0.5 * (logprobs_CT - base_CT) ** 2
    return Kl(value_CT.detach(), weight * value_CT)


def k3(logprobs_CT: Tensor, base_CT: Tensor, *, weight: Weight) -> Kl:
    """exp(-d) + d - 1, whose value is unbiased and never negative: adds weight * k3.

    Its gradient has the expectation of that of KL(base, policy), the other way round. The exponent is cut at 20.
    """
    difference_CT = logprobs_CT - base_CT
    value_CT = torch.exp((-difference_CT).clamp(max=LARGEST_EXPONENT)) + difference_CT - 1
    return Kl(value_CT.detach(), weight * value_CT)
