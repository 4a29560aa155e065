"""The diagnostics that a recipe names, ready to look."""

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from counterpoint.diagnostics import DIAGNOSTICS
from counterpoint.diagnostics.base import Diagnostic, Diagnostics, Numbers, Step
from counterpoint.errors import ConfigError
from counterpoint.options import Spec


def build_diagnostics(specs: Sequence[Spec]) -> Diagnostics:
    """The diagnostics that the recipe names, each once. Raises ConfigError."""
    for name, count in Counter(spec.name for spec in specs).items():
        if count > 1:
            raise ConfigError(f"diagnostic {name!r} is named {count} times")
    members = [_built(spec) for spec in specs]
    for name, count in Counter(member.name for member in members).items():
        if count > 1:
            raise ConfigError(f"{count} diagnostics have the name {name!r}: give each a `name` of its own")
    return Diagnostics(members)


def _built(spec: Spec) -> Diagnostic:
    where = f"diagnostics.{spec.name}"
    member = DIAGNOSTICS.find(spec.name)
    if inspect.isfunction(member):
        return OneLook(member.__name__, DIAGNOSTICS.bind(spec, where))
    found = DIAGNOSTICS.build(spec, where)
    if not isinstance(found, Diagnostic):
        raise ConfigError(
            f"diagnostic {spec.name!r} is a {type(found).__name__}: it must be a function of a step, or a subclass of"
            " counterpoint.Diagnostic"
        )
    found.name = found.name or type(found).__name__
    if Path(found.name).name != found.name:
        raise ConfigError(f"diagnostic {spec.name!r} has the name {found.name!r}, which must be that of one folder")
    return found


class OneLook(Diagnostic):
    """A diagnostic that is one function, `look(step) -> numbers`, without state."""

    def __init__(self, name: str, look: Callable[[Step], Numbers]) -> None:
        self.name = name
        self._look = look

    @property
    def module(self) -> str:
        return str(getattr(self._look, "func", self._look).__module__)

    def look(self, step: Step) -> Numbers:
        return self._look(step)
