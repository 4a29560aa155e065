"""Controls: evaluations on the same tasks with policies exchanged, removed, alone, or from another run.

A control is an ordinary recipe together with the folder of an adapter for each of its policies, or None for the
policy's base. So every workflow that can be trained can be a control.
"""

from collections.abc import Mapping
from pathlib import Path

from counterpoint.adapter import Sources
from counterpoint.config import Config
from counterpoint.errors import ConfigError, unknown
from counterpoint.policy import Routing, routing
from counterpoint.recipe import config_from
from counterpoint.workflows import load_workflow

BASE = "base-of-{role}"
ALONE = ("generator",)
"""The role that a policy has when it answers alone."""


def kept(config: Config, checkpoint: Path) -> Sources:
    """The adapters of the run itself, without a control: every policy as it was saved."""
    return {policy.name: checkpoint / policy.name for policy in routes_of(config).policies}


def swapped(config: Config, checkpoint: Path, one: str, other: str) -> tuple[Config, Sources]:
    """The control in which two roles exchange their policies, so that no policy serves the role it was trained for.

    Raises ConfigError if a role does not exist or has several policies, or if both have the same one.
    """
    routes = routes_of(config)
    mine, theirs = _only_policy(routes, one), _only_policy(routes, other)
    if mine == theirs:
        raise ConfigError(f"roles {one!r} and {other!r} have the same policy {mine!r}: there is nothing to swap")
    changed = with_policies(config, {**_sharing(routes), one: theirs, other: mine}, {})
    return changed, {policy.name: checkpoint / policy.name for policy in routes.policies}


def ablated(config: Config, checkpoint: Path, role: str) -> tuple[Config, Sources]:
    """The control in which one role uses the base of its policy, and the others are unchanged.

    The role gets a new policy with the settings of its own. Raises ConfigError if there is no such role, or its policy
    is that of an endpoint.
    """
    routes = routes_of(config)
    mine = _policies(routes, role)[0]
    if config.policy_settings(mine).endpoint is not None:
        raise ConfigError(f"role {role!r} has the policy of an endpoint: there is no base to replace it")
    name = BASE.format(role=role)
    changed = with_policies(config, {**_sharing(routes), role: name}, {name: mine})
    left = routes_of(changed).policies
    return changed, {policy.name: None if policy.name == name else checkpoint / policy.name for policy in left}


def alone(config: Config, checkpoint: Path, policy: str, samples: int) -> tuple[Config, Sources]:
    """The control in which one policy answers alone, with a majority vote over `samples` answers."""
    workflow: dict[str, object] = {"name": "majority", "samples": samples} if samples > 1 else {"name": "single"}
    changed = with_policies(config, dict.fromkeys(ALONE, policy), {}, workflow=workflow)
    return changed, {policy: checkpoint / policy}


def transferred(config: Config, checkpoint: Path, target: Config) -> tuple[Config, Sources]:
    """The control in which the policies of this run play another run's workflow and task, each in the role of its name.

    Roles that this run does not have use the base in `model`. Raises ConfigError if the two runs share no role.
    """
    here, roles = routes_of(config), load_workflow(target.workflow).roles
    found = {role: _policies(here, role)[0] for role in roles if role in here.policy_of}
    if not found:
        raise ConfigError(f"no role in common: {', '.join(here.policy_of)} here, {', '.join(roles)} there")
    strangers = {role: BASE.format(role=role) for role in roles if role not in found}
    tables = {"workflow": target.workflow.model_dump(), "task": target.task.model_dump()}
    limits = {"rollout": target.rollout.model_dump(), "evaluation": target.evaluation.model_dump()}
    changed = with_policies(config, {**found, **strangers}, {}, **tables, **limits)
    return changed, {
        **{mine: checkpoint / mine for mine in found.values()},
        **dict.fromkeys(strangers.values()),
    }


def policies_of(config: Config) -> dict[str, tuple[str, ...]]:
    """Role -> its policies, each once: several only if its slots have policies of their own."""
    routes = routes_of(config)
    return {role: tuple(dict.fromkeys(_policies(routes, role))) for role in routes.policy_of}


def routes_of(config: Config) -> Routing:
    """The routing of a recipe."""
    return routing(config.policies.sharing, load_workflow(config.workflow).slots)


def with_policies(
    config: Config, sharing: Mapping[str, str | list[str]], like: Mapping[str, str], **tables: dict[str, object]
) -> Config:
    """The recipe with another routing. Policy `p` has the settings of policy `like[p]`, or else its own."""
    table = config.model_dump(exclude_none=True)
    named = {name for found in sharing.values() for name in ([found] if isinstance(found, str) else found)}
    known = table.pop("policy")
    settings = {name: known[like.get(name, name)] for name in sorted(named) if like.get(name, name) in known}
    policies = {**table.pop("policies"), "sharing": dict(sharing), "adapter": ""}
    without_adapters = {name: {**own, "adapter": ""} if "adapter" in own else own for name, own in settings.items()}
    # Interventions act on training alone, and may name roles that this workflow does not have.
    return config_from({**table, "policies": policies, "policy": without_adapters, "interventions": [], **tables})


def _sharing(routes: Routing) -> dict[str, str | list[str]]:
    return {role: [*found] if isinstance(found, tuple) else found for role, found in routes.policy_of.items()}


def _only_policy(routes: Routing, role: str) -> str:
    found = _policies(routes, role)
    if len(found) > 1:
        raise ConfigError(f"role {role!r} has {len(found)} policies, one per slot: it cannot be swapped")
    return found[0]


def _policies(routes: Routing, role: str) -> tuple[str, ...]:
    if role not in routes.policy_of:
        raise ConfigError(unknown("role", role, routes.policy_of))
    found = routes.policy_of[role]
    return (found,) if isinstance(found, str) else found
