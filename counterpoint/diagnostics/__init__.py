"""Read-only looks at a step."""

from collections import Counter
from collections.abc import Callable, Sequence

from counterpoint.config import Spec, check_options
from counterpoint.diagnostics.base import Diagnostic, Diagnostics
from counterpoint.diagnostics.behaviour import Behaviour
from counterpoint.diagnostics.distance import Distance
from counterpoint.diagnostics.persistence import Persistence
from counterpoint.diagnostics.role_gradients import RoleGradients
from counterpoint.errors import ConfigError, unknown

DIAGNOSTICS: dict[str, Callable[..., Diagnostic]] = {
    member.name: member for member in (Behaviour, RoleGradients, Persistence, Distance)
}


def build_diagnostics(specs: Sequence[Spec]) -> Diagnostics:
    """The diagnostics that the recipe names, each once. Raises ConfigError."""
    members = []
    for name, count in Counter(spec.name for spec in specs).items():
        if name not in DIAGNOSTICS:
            raise ConfigError(unknown("diagnostic", name, DIAGNOSTICS))
        if count > 1:
            raise ConfigError(f"diagnostic {name!r} is named {count} times")
    for spec in specs:
        make = DIAGNOSTICS[spec.name]
        members.append(make(**check_options(f"diagnostics.{spec.name}", make, spec.options)))
    return Diagnostics(members)
