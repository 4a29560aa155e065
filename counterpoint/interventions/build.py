"""The interventions that a recipe names, ready to act."""

from collections.abc import Collection
from pathlib import Path

from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.interventions import INTERVENTIONS
from counterpoint.interventions.base import Intervention, Interventions


def build_interventions(config: Config, roles: Collection[str]) -> Interventions:
    """The interventions that the recipe names, in its order, for a workflow with these roles. Raises ConfigError."""
    members = []
    for spec in config.interventions:
        member = INTERVENTIONS.build(spec, f"interventions.{spec.name}")
        if not isinstance(member, Intervention):
            raise ConfigError(
                f"intervention {spec.name!r} is a {type(member).__name__}: it must be a subclass of"
                " counterpoint.Intervention"
            )
        if Path(member.name).name != member.name:
            raise ConfigError(
                f"intervention {spec.name!r} has the name {member.name!r}, which must be that of one folder"
            )
        member.check(config, roles)
        members.append(member)
    return Interventions(members)
