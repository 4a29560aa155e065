"""The noncentral t distribution: how probably a test finds an effect of a size in standard errors, and which it finds.

Sizes are noncentralities: a true effect divided by the standard error of its estimate.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, norm
from scipy.stats import t as student

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def chance_to_find(size: float, freedom: float, confidence: float) -> float:
    """P(|t'| > t): the mean of normal probabilities over the quantiles of the estimated error, right to 1e-6.

    `scipy.stats.nct` is NaN at many of the noncentralities that few degrees of freedom need.
    """
    return _chance(size, *_at(freedom, confidence))


@lru_cache(maxsize=4096)
def least_found(freedom: float, confidence: float, wanted: float) -> float:
    """The size that is found with the probability `wanted`, which is above 1 - confidence and below 1."""
    limit, errors = _at(freedom, confidence)
    top = 1.0
    while _chance(top, limit, errors) < wanted:
        top *= 2.0
    return float(brentq(lambda size: _chance(size, limit, errors) - wanted, 0.0, top))


def _at(freedom: float, confidence: float) -> tuple[float, NDArray[np.float64]]:
    """The quantile that |t'| must exceed, and quantiles of the estimated error over the true one."""
    return float(student.ppf(0.5 + confidence / 2, freedom)), np.sqrt(chi2.ppf((_NODES + 1) / 2, freedom) / freedom)


def _chance(size: float, limit: float, errors: NDArray[np.float64]) -> float:
    return float(_WEIGHTS / 2 @ (norm.sf(limit * errors - size) + norm.cdf(-limit * errors - size)))
