"""Read-only looks at a step."""

from collections.abc import Sequence

from counterpoint.config import Spec
from counterpoint.diagnostics.base import Diagnostic
from counterpoint.diagnostics.behaviour import behaviour
from counterpoint.diagnostics.role_gradients import role_gradients
from counterpoint.errors import ConfigError, unknown

DIAGNOSTICS: dict[str, Diagnostic] = {"behaviour": behaviour, "role_gradients": role_gradients}


def build_diagnostics(specs: Sequence[Spec]) -> list[Diagnostic]:
    """The diagnostics that the recipe names. Raises ConfigError."""
    for spec in specs:
        if spec.name not in DIAGNOSTICS:
            raise ConfigError(unknown("diagnostic", spec.name, DIAGNOSTICS))
        if spec.options:
            raise ConfigError(f"diagnostic {spec.name!r} takes no options; {', '.join(spec.options)} given")
    return [DIAGNOSTICS[spec.name] for spec in specs]
