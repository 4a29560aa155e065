"""Ways to change a step."""

from collections.abc import Callable, Collection

from counterpoint.config import Config, check_options
from counterpoint.errors import ConfigError, unknown
from counterpoint.interventions.anchor_roles import AnchorRoles
from counterpoint.interventions.balance import Balance
from counterpoint.interventions.base import Intervention, Interventions
from counterpoint.interventions.damp_coherence import DampCoherence
from counterpoint.interventions.entropy_floor import EntropyFloor
from counterpoint.interventions.equal_calls import EqualCalls
from counterpoint.interventions.limit_amplification import LimitAmplification
from counterpoint.interventions.phases import Phases
from counterpoint.interventions.project_conflicts import ProjectConflicts
from counterpoint.interventions.role_rates import RoleRates
from counterpoint.interventions.stop_at_cliff import StopAtCliff

INTERVENTIONS: dict[str, Callable[..., Intervention]] = {
    member.name: member
    for member in (
        AnchorRoles,
        DampCoherence,
        Balance,
        ProjectConflicts,
        LimitAmplification,
        EqualCalls,
        Phases,
        StopAtCliff,
        RoleRates,
        EntropyFloor,
    )
}


def build_interventions(config: Config, roles: Collection[str]) -> Interventions:
    """The interventions that the recipe names, in its order, for a workflow with these roles. Raises ConfigError."""
    members = []
    for spec in config.interventions:
        if spec.name not in INTERVENTIONS:
            raise ConfigError(unknown("intervention", spec.name, INTERVENTIONS))
        make = INTERVENTIONS[spec.name]
        member = make(**check_options(f"interventions.{spec.name}", make, spec.options))
        member.check(config, roles)
        members.append(member)
    return Interventions(members)
