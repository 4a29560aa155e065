"""The KL estimates by name, with a weight."""

from collections.abc import Callable
from functools import partial

from counterpoint.algorithms.kl import Kl, KlTerm, k1, k2, k3

ESTIMATES: dict[str, Callable[..., Kl]] = {"k1": k1, "k2": k2, "k3": k3}


def weighted(estimate: Callable[..., Kl], weight: float) -> KlTerm:
    """The estimate, times a weight."""
    return partial(estimate, weight=weight)
