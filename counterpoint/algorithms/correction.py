"""Correction of the difference between the log-probabilities of sampler and learner, by importance sampling.

Shapes: C calls, T tokens; C1 one value per call. Symbols: w = exp(l_old - mu), mu the sampler's log-probability.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

if TYPE_CHECKING:
    from torch import Tensor


class Corrected(NamedTuple):
    weights_CT: Tensor
    """The factor of each token's loss."""
    changed_CT: Tensor
    """1 where a weight was truncated or masked, else 0."""


Correction = Callable[["Tensor", "Tensor", "Tensor"], Corrected]
"""(old_CT, sampled_CT, mask_CT) -> weights, through which no gradient flows."""


def uncorrected(old_CT: Tensor, sampled_CT: Tensor, mask_CT: Tensor) -> Corrected:
    """Every weight is 1."""
    return Corrected(old_CT.new_ones(old_CT.shape), old_CT.new_zeros(old_CT.shape))


def truncated(
    old_CT: Tensor, sampled_CT: Tensor, mask_CT: Tensor, *, cap: Annotated[float, Field(ge=1)] = 2.0
) -> Corrected:
    """min(w, cap) per token (truncated importance sampling)."""
    ratio_CT = (old_CT - sampled_CT).detach().exp()
    return Corrected(ratio_CT.clamp(max=cap), (ratio_CT > cap).float())


def sequence(
    old_CT: Tensor,
    sampled_CT: Tensor,
    mask_CT: Tensor,
    *,
    low: Annotated[float, Field(gt=0, le=1)] = 0.5,
    high: Annotated[float, Field(ge=1)] = 2.0,
) -> Corrected:
    """1 for the tokens of a call whose geometric mean of w lies in [low, high], else 0 (sequence mask)."""
    counts_C1 = mask_CT.sum(dim=1, keepdim=True).clamp(min=1)
    mean_C1 = (((old_CT - sampled_CT).detach() * mask_CT).sum(dim=1, keepdim=True) / counts_C1).exp()
    kept_C1 = ((mean_C1 >= low) & (mean_C1 <= high)).float()
    return Corrected(kept_C1.expand_as(old_CT), (1 - kept_C1).expand_as(old_CT))
