"""Run code that nobody trusts."""

from collections.abc import Callable

from counterpoint.config import Spec, check_options
from counterpoint.errors import ConfigError, unknown
from counterpoint.sandboxes.base import Sandbox
from counterpoint.sandboxes.fork_server import fork_server

SANDBOXES: dict[str, Callable[..., Sandbox]] = {"fork_server": fork_server}


def build_sandbox(spec: Spec) -> Sandbox:
    """The sandbox that a recipe names, with its options; nothing of it runs yet. Raises ConfigError."""
    if spec.name not in SANDBOXES:
        raise ConfigError(unknown("sandbox", spec.name, SANDBOXES))
    member = SANDBOXES[spec.name]
    return member(**check_options(f"sandbox.{spec.name}", member, spec.options))
