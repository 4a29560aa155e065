"""Policies, and the routing from roles to policies."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from counterpoint.config import Config, PolicySettings
from counterpoint.errors import ConfigError, counted, unknown

SHARED_POLICY = "shared"
SHARINGS = ("shared", "isolated", "slots")
RESERVED = ("interventions", "algorithm", "diagnostics", "ahead")
"""Names that a checkpoint uses for other things, so that no policy may have them."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")

Sharing = str | Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A named set of weights: an adapter on a frozen base, or the model of an endpoint."""

    name: str
    roles: tuple[str, ...]
    """The roles for which it generates, in the workflow's order."""


@dataclass(frozen=True, slots=True)
class Routing:
    """The map from roles, or roles and slots, to policies."""

    policy_of: Mapping[str, str | tuple[str, ...]]
    """Role -> its policy, or the policy of each of its slots."""

    def policy_for(self, role: str, slot: int) -> str:
        """The policy that generates for `role` in `slot`. Raises ConfigError if that slot has none."""
        found = self.policy_of[role]
        if isinstance(found, str):
            return found
        if slot >= len(found):
            raise ConfigError(
                f"role {role!r} was called in slot {slot}, but only slots 0 to {len(found) - 1} have a policy: the"
                " workflow's cast must say how many of its calls run side by side"
            )
        return found[slot]

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Every policy once, in the order in which the workflow's roles name them."""
        roles: dict[str, list[str]] = {}
        for role, found in self.policy_of.items():
            for name in dict.fromkeys((found,) if isinstance(found, str) else found):
                roles.setdefault(name, []).append(role)
        return tuple(Policy(name=name, roles=tuple(speakers)) for name, speakers in roles.items())


def routing(sharing: Sharing, slots: Mapping[str, int]) -> Routing:
    """The routing for a value of `policies.sharing`; `slots` gives the number of slots of each role.

    "shared" (one policy for all roles), "isolated" (one policy per role), "slots" (one policy per role and slot, named
    `<role>-<slot>`), or a table that gives every role its policy or a list of policies, one per slot. Raises
    ConfigError if the table leaves a role out, names one that does not exist, or has too few or too many policies for
    its slots, or if the word is not one of the three.
    """
    routes = _routing_by_word(sharing, slots) if isinstance(sharing, str) else _routing_by_table(sharing, slots)
    for policy in routes.policies:
        if not _NAME.fullmatch(policy.name) or policy.name in RESERVED:
            raise ConfigError(
                f"policies.sharing: policy {policy.name!r} is not a valid name; allowed: a letter, then letters,"
                f" digits, - and _, but not {', '.join(RESERVED)}"
            )
    return routes


def settings_of(routes: Routing, config: Config) -> dict[str, PolicySettings]:
    """Policy -> its settings. Raises ConfigError if the recipe has settings for a policy that does not exist."""
    names = [policy.name for policy in routes.policies]
    for name in config.policy:
        if name not in names:
            raise ConfigError("policy: " + unknown("policy", name, names))
    return {name: config.policy_settings(name) for name in names}


def _routing_by_word(sharing: str, slots: Mapping[str, int]) -> Routing:
    match sharing:
        case "shared":
            return Routing(dict.fromkeys(slots, SHARED_POLICY))
        case "isolated":
            return Routing({role: role for role in slots})
        case "slots":
            names = {role: tuple(f"{role}-{slot}" for slot in range(count)) for role, count in slots.items()}
            return Routing({role: role if slots[role] == 1 else members for role, members in names.items()})
        case _:
            raise ConfigError(unknown("policies.sharing", sharing, SHARINGS) + ", or a table of role = policy")


def _routing_by_table(sharing: Mapping[str, str | Sequence[str]], slots: Mapping[str, int]) -> Routing:
    for role in sharing:
        if role not in slots:
            raise ConfigError("policies.sharing: " + unknown("role", role, slots))
    for role, count in slots.items():
        if role not in sharing:
            raise ConfigError(f"policies.sharing names no policy for role {role!r}")
        named = sharing[role]
        if not isinstance(named, str) and len(named) != count:
            raise ConfigError(
                f"policies.sharing.{role} names {len(named)} policies, but the role has {counted(count, 'slot')}"
            )
    table = {role: sharing[role] for role in slots}
    return Routing({role: named if isinstance(named, str) else tuple(named) for role, named in table.items()})
