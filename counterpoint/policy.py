"""Which weights a role speaks with."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import ConfigError, unknown

SHARED_POLICY = "shared"
SHARINGS = ("shared", "isolated")
RESERVED = ("interventions",)
"""Names that stand beside the policies in a checkpoint."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named set of trainable weights: an adapter on a frozen base."""

    name: str
    roles: tuple[str, ...]
    """The roles that speak with it, in the workflow's order."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The map from roles to policies."""

    policy_of: Mapping[str, str]

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Every policy once, in the order in which the workflow's roles name them."""
        names = dict.fromkeys(self.policy_of.values())
        return tuple(
            Policy(name=name, roles=tuple(role for role, policy in self.policy_of.items() if policy == name))
            for name in names
        )


def routing(sharing: str | Mapping[str, str], roles: tuple[str, ...]) -> Routing:
    """The routing that `sharing` means for these roles: "shared", "isolated", or a table that names every role.

    Raises ConfigError if the table leaves a role out, names one that does not exist, or the word is neither.
    """
    if isinstance(sharing, str):
        if sharing not in SHARINGS:
            raise ConfigError(unknown("policies.sharing", sharing, SHARINGS) + ", or a table of role = policy")
        return Routing({role: SHARED_POLICY if sharing == "shared" else role for role in roles})
    for role in sharing:
        if role not in roles:
            raise ConfigError("policies.sharing: " + unknown("role", role, roles))
    for role in roles:
        if role not in sharing:
            raise ConfigError(f"policies.sharing names no policy for role {role!r}")
    for policy in sharing.values():
        if not _NAME.fullmatch(policy) or policy in RESERVED:
            raise ConfigError(
                f"policies.sharing: policy {policy!r} must be letters, digits, - and _, a letter first, and not"
                f" {', '.join(RESERVED)}"
            )
    return Routing({role: sharing[role] for role in roles})


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The weights of a policy at a version, as values that nobody changes."""

    policy: str
    version: int
    scale: float
    """The adapter adds scale * B A to the base weight."""
    tensors: Mapping[str, Any]
    """PEFT's names (`base_model.model.<module>.lora_A.weight`) -> torch tensors."""


def digest(named: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over names and raw values, in the order of the names: equal if and only if the weights are."""
    sha = hashlib.sha256()
    for name, raw in sorted(named):
        sha.update(name.encode() + b"\0" + raw)
    return sha.hexdigest()
