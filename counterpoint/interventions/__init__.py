"""Ways to change a step."""

from collections.abc import Callable, Sequence

from counterpoint.config import Spec, check_options
from counterpoint.errors import ConfigError, unknown
from counterpoint.interventions.base import Intervention, Interventions

INTERVENTIONS: dict[str, Callable[..., Intervention]] = {}


def build_interventions(specs: Sequence[Spec]) -> Interventions:
    """The interventions that the recipe names, in its order. Raises ConfigError."""
    members = []
    for spec in specs:
        if spec.name not in INTERVENTIONS:
            raise ConfigError(unknown("intervention", spec.name, INTERVENTIONS))
        make = INTERVENTIONS[spec.name]
        members.append(make(**check_options(f"interventions.{spec.name}", make, spec.options)))
    return Interventions(members)
