"""Roles that are trained in some steps only, whatever their policy is."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from counterpoint.algorithms.base import Sample
from counterpoint.config import Config, UpdateConfig
from counterpoint.errors import ConfigError
from counterpoint.interventions.base import Intervention


class Phases(Intervention):
    """The calls of a role are in the loss in the steps that `roles` gives it, and those of `frozen` roles never.

    `roles` is a table of role = {period, start, steps} as in [policy.NAME.update]; a role that is not in it is trained
    in every step. With a shared policy the weights still move, for the other roles' sake.
    """

    name = "phases"

    def __init__(self, *, roles: dict[str, UpdateConfig] | None = None, frozen: list[str] | None = None) -> None:
        self._roles = roles or {}
        self._frozen = frozenset(frozen or ())

    def roles(self) -> Collection[str]:
        return {*self._roles, *self._frozen}

    def samples(self, samples: Sequence[Sample], step: int) -> Sequence[Sample]:
        if not self._roles and not self._frozen:
            return samples
        return [
            sample if self._trains(sample.call.key.role, step) else replace(sample, in_loss=False) for sample in samples
        ]

    def check(self, config: Config, roles: Collection[str]) -> None:
        """Raises ConfigError if it names a role that does not exist, or freezes all there are."""
        super().check(config, roles)
        if self._frozen.issuperset(roles):
            raise ConfigError("interventions.phases.frozen names every role: nothing would be trained")

    def _trains(self, role: str, step: int) -> bool:
        return role not in self._frozen and (role not in self._roles or self._roles[role].due(step))
