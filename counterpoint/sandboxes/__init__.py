"""Sandboxes, which run untrusted code."""

from counterpoint.family import Family
from counterpoint.options import Spec
from counterpoint.sandboxes.base import Sandbox

SANDBOXES: Family[Sandbox] = Family(
    "sandbox",
    {
        "bubblewrap": "counterpoint.sandboxes.bubblewrap:bubblewrap",
        "fork_server": "counterpoint.sandboxes.fork_server:fork_server",
        "remote": "counterpoint.sandboxes.remote:remote",
    },
)


def build_sandbox(spec: Spec) -> Sandbox:
    """The sandbox that a recipe names, with its options; it is not started. Raises ConfigError."""
    return SANDBOXES.build(spec)
