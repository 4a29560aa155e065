"""A learning-rate scale for each role."""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from counterpoint.interventions.base import Intervention, Update


class RoleRates(Intervention):
    """The part of role r in its policy's step is multiplied by rates[r] (`Update.with_steps_times`); the others by 1.

    With a policy of its own that is its learning rate. In a shared policy it is the role's part of what Adam is given,
    and the learning rate in the measure of the roles' gradient norms. A rate of 0 is `phases` with the role frozen.
    """

    name = "role_rates"

    def __init__(self, *, rates: dict[str, Annotated[float, Field(gt=0)]]) -> None:
        self._named = tuple(rates)
        self._rates = {role: rate for role, rate in rates.items() if rate != 1.0}

    def roles(self) -> Collection[str]:
        return self._named

    def update(self, update: Update, step: int) -> Update:
        factors = {source: self._rates[source.role] for source in update.contributions if source.role in self._rates}
        return update.with_steps_times(factors) if factors else update
