"""Run code that nobody trusts."""

from collections.abc import Callable

from counterpoint.config import Spec, check_options
from counterpoint.errors import ConfigError, unknown
from counterpoint.sandboxes.base import Sandbox
from counterpoint.sandboxes.bubblewrap import bubblewrap
from counterpoint.sandboxes.fork_server import fork_server
from counterpoint.sandboxes.remote import remote

SANDBOXES: dict[str, Callable[..., Sandbox]] = {
    "bubblewrap": bubblewrap,
    "fork_server": fork_server,
    "remote": remote,
}


def build_sandbox(spec: Spec) -> Sandbox:
    """The sandbox that a recipe names, with its options; nothing of it runs yet. Raises ConfigError."""
    if spec.name not in SANDBOXES:
        raise ConfigError(unknown("sandbox", spec.name, SANDBOXES))
    member = SANDBOXES[spec.name]
    return member(**check_options(f"sandbox.{spec.name}", member, spec.options))
