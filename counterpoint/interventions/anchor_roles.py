"""A KL anchor of its own for each role."""

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

from counterpoint.algorithms.kl import Weight
from counterpoint.algorithms.loss import Loss
from counterpoint.interventions._kl import ESTIMATES, weighted
from counterpoint.interventions.base import Intervention


class AnchorRoles(Intervention):
    """Adds weights[r] KL(policy, base) to the loss of role r: the roles that drift are held, the others are not.

    It takes the place of `algorithm.kl` for the roles it names; a weight of 0 is as if they were not. Estimates:
    `counterpoint/algorithms/kl.py`. After intervention I1 of arXiv 2605.24202.
    """

    name = "anchor_roles"

    def __init__(self, *, weights: dict[str, Weight], estimate: Literal["k1", "k2", "k3"] = "k3") -> None:
        self._named = tuple(weights)
        self._anchors = {role: weighted(ESTIMATES[estimate], weight) for role, weight in weights.items() if weight}

    def roles(self) -> Collection[str]:
        return self._named

    def loss(self, loss: Loss) -> Loss:
        return replace(loss, kl_of={**loss.kl_of, **self._anchors}) if self._anchors else loss
