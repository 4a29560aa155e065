"""The terms of a gradient, and whether they cancel; told from tokens, so that rounding does not decide it.

The gradient of a loss is the sum of c dlog p(token | beginning) over the tokens of its calls, with c the slope of the
loss. Calls that begin alike have equal log p there, so it is zero whatever the model is if the slopes add up to nothing
at every token that follows the same beginning: as for equal replies with advantages 1 and -1. The gradient itself does
not tell: it is 0 or what rounding leaves, as the forward pass happens to order its sums, and one that is small may be
real, as that of a policy which is nearly certain.

Shapes: C calls, T tokens.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch

from counterpoint.algorithms.base import Sample
from counterpoint.episode import Call

EXACT = 4e-6
"""Relative error of a slope where the ratio is exactly 1: that of a few float32 products."""
INEXACT = 1e-4
"""Relative error of a slope with a ratio: the error of log-probabilities, in nats, which depend on what is computed
beside them."""
INEXACT_HALF = 5e-2
"""The same with a base in bfloat16."""
_TOKENS = 2**32
"""More than any vocabulary has."""


class Terms(NamedTuple):
    """The terms of some calls of a policy."""

    calls: tuple[Call, ...] = ()
    slopes: tuple[np.ndarray, ...] = ()
    """Per call the slope at each of its tokens (float64)."""
    errors: tuple[float, ...] = ()
    """Per call the relative error of its slopes."""

    def plus(self, other: Self) -> "Terms":
        """The terms of both."""
        return Terms(self.calls + other.calls, self.slopes + other.slopes, self.errors + other.errors)

    def cancel(self) -> bool:
        """True if the gradient is zero: at no token is the sum of slopes larger than their errors allow.

        Errors are taken as independent: the limit at a token is the root of the sum of the squares of error times
        slope. Slopes that are not finite never cancel.
        """
        if not all(np.isfinite(slopes).all() for slopes in self.slopes):
            return False
        kept = [index for index, slopes in enumerate(self.slopes) if slopes.any()]
        calls, slopes_of = [self.calls[index] for index in kept], [self.slopes[index] for index in kept]
        numbers: dict[tuple[float, tuple[int, ...]], int] = {}
        beginnings_C = np.array(
            [numbers.setdefault((call.temperature, call.prompt_ids), len(numbers)) for call in calls]
        )
        errors_C = np.array([self.errors[index] for index in kept])
        lengths_C = np.array([len(slopes) for slopes in slopes_of])
        for place in range(max(lengths_C, default=0)):
            going = np.flatnonzero(lengths_C > place)
            tokens = np.array([calls[index].completion_ids[place] for index in going])
            _, same = np.unique(beginnings_C[going] * _TOKENS + tokens, return_inverse=True)
            beginnings_C[going] = same
            slopes = np.array([slopes_of[index][place] for index in going])
            limits = np.sqrt(np.bincount(same, np.square(errors_C[going] * slopes)))
            if (np.abs(np.bincount(same, slopes)) > limits).any():
                return False
        return True


def errors_of(samples: Sequence[Sample], dtype: torch.dtype, *, corrected: bool) -> tuple[float, ...]:
    """Per sample the relative error of its slopes; `corrected` if they have the factor of a correction."""
    inexact = INEXACT if torch.finfo(dtype).eps < INEXACT else INEXACT_HALF
    return tuple(EXACT if sample.old is None and not corrected else inexact for sample in samples)
