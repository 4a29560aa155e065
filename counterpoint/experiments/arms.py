"""The arms of a race: ways to share policies among the roles of one workflow, each as a recipe with overrides."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.analysis.racing import MOST_ARMS
from counterpoint.config import Config
from counterpoint.errors import ConfigError, counted, unknown
from counterpoint.experiments.overrides import text_of
from counterpoint.policy import SHARINGS, Routing, routing, settings_of
from counterpoint.workflows import load_workflow

SHARING = "policies.sharing"
DEFAULT = ("shared", "isolated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to share policies."""

    name: str
    """shared, isolated or slots; table, table-2 and so on for the tables."""
    override: str
    """`policies.sharing=...`, as on the command line."""
    policies: int
    """The policies that it trains and serves: what it costs in memory, adapters and requests."""


def arms_of(config: Config, asked: str | None) -> tuple[Arm, ...]:
    """The arms that are raced, cheapest first: those asked for, or shared, isolated and the recipe's own table.

    `asked` is a list separated by commas: shared, isolated, slots, tables in braces. Raises ConfigError for one that
    does not exist, does not fit the workflow or trains nothing, for two that are the same, for one alone, and for more
    than 4.
    """
    slots = load_workflow(config.workflow).slots
    own = config.policies.sharing
    table = [] if isinstance(own, str) else [text_of(own, SHARING)]
    texts = [*DEFAULT, *table] if asked is None else _split(asked)
    routes: dict[str, Routing] = {}
    for text in texts:
        name = text if text in SHARINGS else _table_name(routes)
        if name in routes:
            raise ConfigError(f"--arms names {text} twice")
        routes[name] = _routing(name, text, slots, config)
    if asked is None:
        routes = _distinct(routes, slots)
    _refuse(routes, slots)
    arms = [
        Arm(name=name, override=f"{SHARING}={text}", policies=len(routes[name].policies))
        for name, text in zip(_names(texts), texts, strict=True)
        if name in routes
    ]
    return tuple(sorted(arms, key=lambda arm: arm.policies))


def _names(texts: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for text in texts:
        found[text if text in SHARINGS else _table_name(found)] = None
    return list(found)


def _table_name(taken: Mapping[str, object]) -> str:
    count = sum(name.startswith("table") for name in taken) + 1
    return "table" if count == 1 else f"table-{count}"


def _split(asked: str) -> list[str]:
    """The parts between commas, those within braces and brackets left whole."""
    parts, depth = [""], 0
    for sign in asked:
        depth += (sign in "{[") - (sign in "}]")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def _routing(name: str, text: str, slots: Mapping[str, int], config: Config) -> Routing:
    """The routing of an arm. Raises ConfigError, with the arm's name, if it does not fit or trains nothing."""
    if name == "slots" and all(count == 1 for count in slots.values()):
        raise ConfigError("--arms slots: no role of this workflow has parallel calls, so it is the same as isolated")
    try:
        routes = routing(_value(text), slots)
        own = config.model_copy(update={"policies": config.policies.model_copy(update={"sharing": _value(text)})})
        settings = settings_of(routes, own)
    except ConfigError as error:
        raise ConfigError(f"arm {name}: {error}") from None
    if not any(one.trainable for one in settings.values()):
        raise ConfigError(
            f"arm {name}: none of its policies is trained ({', '.join(settings)}), so nothing is compared"
        )
    return routes


def _value(text: str) -> Any:
    if not text.startswith("{"):
        if text not in SHARINGS:
            raise ConfigError("--arms: " + unknown("arm", text, SHARINGS) + ', or a table such as {solver="a"}')
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{text} is not a table in TOML: {str(error).partition(' (at')[0]}") from None


def _distinct(routes: Mapping[str, Routing], slots: Mapping[str, int]) -> dict[str, Routing]:
    """The arms without those that share as an earlier one does."""
    kept: dict[str, Routing] = {}
    for name, one in routes.items():
        if all(_parts(one, slots) != _parts(other, slots) for other in kept.values()):
            kept[name] = one
    return kept


def _refuse(routes: Mapping[str, Routing], slots: Mapping[str, int]) -> None:
    names = list(routes)
    for place, name in enumerate(names):
        for other in names[:place]:
            if _parts(routes[name], slots) == _parts(routes[other], slots):
                raise ConfigError(f"arms {other} and {name} are the same: in both, the same calls share a policy")
    if len(names) < 2:
        lone = f"the workflow has one role, {next(iter(slots))}: shared and isolated are the same" * (len(slots) == 1)
        raise ConfigError(f"advice compares at least 2 arms: {lone or 'there is ' + ', '.join(names)}")
    if len(names) > MOST_ARMS:
        raise ConfigError(f"advice compares at most {MOST_ARMS} arms, not {counted(len(names), 'arm')}")


def _parts(routes: Routing, slots: Mapping[str, int]) -> frozenset[frozenset[tuple[str, int]]]:
    """The groups of calls, each a role and slot, that share a policy."""
    groups: dict[str, set[tuple[str, int]]] = {}
    for role, count in slots.items():
        for slot in range(count):
            groups.setdefault(routes.policy_for(role, slot), set()).add((role, slot))
    return frozenset(frozenset(group) for group in groups.values())
