"""Roles of a shared policy that do not undo each other."""

from typing import Annotated

from pydantic import Field

from counterpoint.interventions.base import Intervention, Update
from counterpoint.learners.base import Gradient, added


class ProjectConflicts(Intervention):
    """PCGrad (arXiv 2001.06782) on role gradients: where g_r . g_q < 0, g_r <- g_r - weight (g_r . g_q / |g_q|^2) g_q.

    For each role of a policy against every other's own gradient, one after another in the order of their names (PCGrad
    draws the order; with two roles there is only one). What rounding leaves of a gradient that is projected away is
    made exactly zero.
    """

    name = "project_conflicts"

    def __init__(self, *, weight: Annotated[float, Field(ge=0, le=1)] = 1.0) -> None:
        self._weight = weight

    def update(self, update: Update, step: int) -> Update:
        if not self._weight:
            return update
        contributions = dict(update.contributions)
        for source, one in update.contributions.items():
            others = [
                other.gradient
                for them, other in sorted(update.contributions.items())
                if them.policy == source.policy and them != source
            ]
            contributions[source] = one._replace(gradient=self._projected(one.gradient, others))
        return update._replace(contributions=contributions)

    def _projected(self, gradient: Gradient, others: list[Gradient]) -> Gradient:
        for other in others:
            along = gradient.dot(other)
            if along < 0.0:
                gradient = added([gradient, other.scaled(-self._weight * along / other.norm() ** 2)])
        return gradient
