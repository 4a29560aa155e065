"""What is done about log-probabilities that sampler and learner do not agree on.

Shapes: C calls, T tokens. Symbols: w = exp(l_old - mu), mu the sampler's log-probability.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor


class Corrected(NamedTuple):
    weights_CT: Tensor
    """What each token's loss is multiplied by."""
    changed_CT: Tensor
    """1 where a weight was cut or masked, else 0."""


Correction = Callable[[Tensor, Tensor, Tensor], Corrected]
"""(old_CT, sampled_CT, mask_CT) -> weights; no gradient flows through it."""


def uncorrected(old_CT: Tensor, sampled_CT: Tensor, mask_CT: Tensor) -> Corrected:
    """1."""
    return Corrected(torch.ones_like(old_CT), torch.zeros_like(old_CT))


def truncated(
    old_CT: Tensor, sampled_CT: Tensor, mask_CT: Tensor, *, cap: Annotated[float, Field(ge=1)] = 2.0
) -> Corrected:
    """min(w, cap) a token (truncated importance sampling)."""
    ratio_CT = torch.exp((old_CT - sampled_CT).detach())
    return Corrected(ratio_CT.clamp(max=cap), (ratio_CT > cap).float())


def sequence(
    old_CT: Tensor,
    sampled_CT: Tensor,
    mask_CT: Tensor,
    *,
    low: Annotated[float, Field(gt=0, le=1)] = 0.5,
    high: Annotated[float, Field(ge=1)] = 2.0,
) -> Corrected:
    """1 for the tokens of a call whose geometric mean of w lies in [low, high], 0 for those of the others."""
    counts_C1 = mask_CT.sum(dim=1, keepdim=True).clamp(min=1)
    mean_C1 = torch.exp(((old_CT - sampled_CT).detach() * mask_CT).sum(dim=1, keepdim=True) / counts_C1)
    kept_C1 = ((mean_C1 >= low) & (mean_C1 <= high)).float()
    return Corrected(kept_C1.expand_as(old_CT), (1 - kept_C1).expand_as(old_CT))
