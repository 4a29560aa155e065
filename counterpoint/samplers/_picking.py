"""Tokens picked from logits: one random number per token from each request's own seed, by inverse transform sampling.

Shapes: C calls, A active calls, T completion tokens, V vocabulary, b blocks of B tokens.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from counterpoint.samplers.base import Request

PROBABILITIES_AT_ONCE = 2**26
"""Probabilities that are computed at once while tokens are chosen, at most."""


def uniforms(requests: Sequence[Request], width: int) -> np.ndarray:
    """A number in [0, 1) for each token (C, width), float64, every row from its request's own seed.

    They are drawn before anything is generated, by a counter-based generator: so a completion depends on its request
    alone, and not on which others are generated beside it.
    """
    rows = [np.random.Generator(np.random.Philox(key=request.seed)).random(width) for request in requests]
    return np.stack(rows)


def picked(logits_AV: Tensor, temperatures_A: Tensor | None, uniforms_A: Tensor) -> tuple[Tensor, Tensor]:
    """The result of `_pick` at these temperatures, or at 1; `logits_AV` may be overwritten.

    It is computed some rows at a time, so that little more than the logits is ever in memory.
    """
    if temperatures_A is not None:
        logits_AV /= temperatures_A[:, None]
    rows = max(1, PROBABILITIES_AT_ONCE // logits_AV.shape[1])
    if len(logits_AV) <= rows:
        return _pick(logits_AV, uniforms_A)
    parts = zip(torch.split(logits_AV, rows), torch.split(uniforms_A, rows), strict=True)
    found = [_pick(logits, uniforms) for logits, uniforms in parts]
    return torch.cat([ids for ids, _ in found]), torch.cat([logprobs for _, logprobs in found])


def _pick(logits_AV: Tensor, uniforms_A: Tensor) -> tuple[Tensor, Tensor]:
    """One token per row by inverse transform sampling, and its log-probability (float32).

    Where logits are no numbers it is any token, with a log-probability that is no number either.

    The token is the first whose running sum of probabilities exceeds uniform * total. The sum up to the token is taken
    by blocks of the vocabulary (b blocks of B tokens), then within one: a running sum over a whole vocabulary would
    take as long as a layer of the model.
    """
    chances_AV = torch.softmax(logits_AV, dim=-1)
    size = math.isqrt(logits_AV.shape[1]) + 1
    sums_Ab = _block_sums(chances_AV, size).double().cumsum(dim=1)
    # A fraction of the sum as it was computed: probabilities in float32 do not sum to exactly 1, and a target above
    # their sum would have no token. In float64, since a float32 sum could not tell unlikely tokens apart.
    target_A = uniforms_A * sums_Ab[:, -1]
    block_A = _first_above(sums_Ab, target_A)
    before_A = pad(sums_Ab, (1, 0)).gather(1, block_A[:, None])[:, 0]
    within_AB = _block(chances_AV, block_A, size).double().cumsum(dim=1)
    ids_A = block_A * size + _first_above(within_AB, target_A - before_A)
    # Among probabilities that are no numbers the search ends beyond the last token.
    ids_A = ids_A.clamp(max=logits_AV.shape[1] - 1)
    return ids_A, chances_AV.gather(1, ids_A[:, None])[:, 0].log()


def _block_sums(chances_AV: Tensor, size: int) -> Tensor:
    """The sum of every block (A, b), of which the last may be shorter."""
    whole = chances_AV.shape[1] // size * size
    sums_Ab = torch.unflatten(chances_AV[:, :whole], 1, (-1, size)).sum(dim=2)
    rest_AB = chances_AV[:, whole:]
    return torch.cat([sums_Ab, rest_AB.sum(dim=1, keepdim=True)], dim=1) if rest_AB.shape[1] else sums_Ab


def _block(chances_AV: Tensor, block_A: Tensor, size: int) -> Tensor:
    """The probabilities (A, B) of one block per row, 0 where there is no token."""
    last = chances_AV.shape[1] - 1
    places_AB = block_A[:, None] * size + torch.arange(size, device=block_A.device)
    return chances_AV.gather(1, places_AB.clamp(max=last)).masked_fill_(places_AB > last, 0.0)


def _first_above(sums_AX: Tensor, target_A: Tensor) -> Tensor:
    """The first place where a running sum exceeds the target. A target beyond the whole sum counts as just below it.

    The target within a block is a difference, whose rounding may take it to the end of the block.
    """
    whole_A = sums_AX[:, -1]
    below_A = torch.minimum(target_A, torch.nextafter(whole_A, torch.zeros_like(whole_A)))
    return torch.searchsorted(sums_AX, below_A[:, None], right=True)[:, 0]
