"""Estimates of KL(policy, base) per token, from tokens that the policy sampled, and the terms they add to the loss.

Shapes: C calls, T tokens. Symbols: l the log-probability under the policy, l_ref under the base (the same model without
its adapter), d = l - l_ref. The estimates are those of http://joschu.net/blog/kl-approx.html.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_EXPONENT = 20.0
"""Bound on an exponent: without it float32 overflows where the base is far more certain than the policy."""
Weight = Annotated[float, Field(ge=0)]


class Kl(NamedTuple):
    value_CT: Tensor
    """The estimate in nats, without gradient."""
    loss_CT: Tensor
    """The weighted term that is added to the loss."""


KlTerm = Callable[["Tensor", "Tensor"], Kl]
"""(logprobs_CT, base_CT) -> the estimate and its weighted term in the loss."""


def none(logprobs_CT: Tensor, base_CT: Tensor) -> Kl:
    """No KL: adds 0."""
    return Kl(logprobs_CT.new_zeros(logprobs_CT.shape), logprobs_CT.new_zeros(logprobs_CT.shape))


def k1(logprobs_CT: Tensor, base_CT: Tensor, *, weight: Weight) -> Kl:
    """Adds weight * stop_gradient(d) * l, a penalty of d on the token's reward; d is unbiased and of either sign.

    As a plain term of the loss, d would have a derivative whose expectation is 0: it would hold nothing.
    """
    value_CT = (logprobs_CT - base_CT).detach()
    return Kl(value_CT, weight * value_CT * logprobs_CT)


def k2(logprobs_CT: Tensor, base_CT: Tensor, *, weight: Weight) -> Kl:
    """Adds weight * d^2 / 2. The estimate is biased and never negative; its expected gradient is that of the KL."""
    value_CT = 0.5 * (logprobs_CT - base_CT) ** 2
    return Kl(value_CT.detach(), weight * value_CT)


def k3(logprobs_CT: Tensor, base_CT: Tensor, *, weight: Weight) -> Kl:
    """Adds weight * (exp(-d) + d - 1). The estimate is unbiased and never negative (GRPO, arXiv 2402.03300).

    Its expected gradient is that of KL(base, policy), the other direction. Where -d is above 20, the exponential goes
    on as the straight line that touches it there.
    """
    difference_CT = logprobs_CT - base_CT
    exponent_CT = (-difference_CT).clamp(max=LARGEST_EXPONENT)
    # Of a bounded exponential alone only d would have a gradient there, which pushes the policy away from its base.
    value_CT = exponent_CT.exp() * (1 - (difference_CT + exponent_CT)) + difference_CT - 1
    return Kl(value_CT.detach(), weight * value_CT)
