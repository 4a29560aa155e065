"""Roles of a shared policy scaled to given shares of its gradient."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field

from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.interventions.base import Intervention, Update
from counterpoint.learners.base import Contribution, Source

Share = Annotated[float, Field(gt=0)]


class Balance(Intervention):
    """g_r <- g_r (c_r)^weight, for the roles of every policy that has several.

    `by = "mass"`: c_r = t_r M / |g_r| with M = sum |g_r|, so that the role's share of the gradient mass becomes t_r and
    the mass stays what it is. t_r are `shares` made to sum to 1 over the roles there are; equal if none are given. `by
    = "calls"`: c_r = t_r / w_r with w_r the role's part of the loss's weights, as if it were called that often. Against
    capture (arXiv 2605.24202); equal mass is gradient normalization as in GradNorm, arXiv 1711.02257, without training.
    """

    name = "balance"

    def __init__(
        self,
        *,
        by: Literal["mass", "calls"] = "mass",
        shares: dict[str, Share] | None = None,
        weight: Annotated[float, Field(ge=0, le=1)] = 1.0,
    ) -> None:
        self._by = by
        self._shares = shares or {}
        self._weight = weight

    def roles(self) -> Collection[str]:
        return self._shares

    def update(self, update: Update, step: int) -> Update:
        if not self._weight:
            return update
        factors: dict[Source, float] = {}
        for policy in dict.fromkeys(source.policy for source in update.contributions):
            mine = {source: one for source, one in update.contributions.items() if source.policy == policy}
            if len(mine) > 1:
                factors |= self._factors(mine)
        return update.with_gradients_times(factors)

    def check(self, config: Config, roles: Collection[str]) -> None:
        """Raises ConfigError if `shares` names a role that does not exist, or leaves one out."""
        super().check(config, roles)
        missing = [role for role in roles if self._shares and role not in self._shares]
        if missing:
            raise ConfigError(f"interventions.balance.shares says nothing of role {missing[0]!r}")

    def _factors(self, mine: dict[Source, Contribution]) -> dict[Source, float]:
        """The factor of each role of one policy that has a gradient."""
        norms = {source: one.gradient.norm() for source, one in mine.items()}
        there = [source for source, norm in norms.items() if norm]
        sizes = {source: norms[source] if self._by == "mass" else mine[source].weight for source in there}
        wanted = {source: self._shares.get(source.role, 1.0) for source in there}
        unit = sum(sizes.values()) / sum(wanted.values()) if there else 0.0
        return {source: (wanted[source] * unit / sizes[source]) ** self._weight for source in there}
