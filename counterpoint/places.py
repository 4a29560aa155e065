"""Files and folders that a recipe names: where they are looked for."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from counterpoint.errors import ConfigError
from counterpoint.models import MICRO_MODELS

_OWN_TASK = ":"


def located(table: Mapping[str, Any], places: Sequence[Path], *, required: bool = False) -> dict[str, Any]:
    """The table of a recipe, in which the relative paths of files and folders are absolute.

    Each is looked for in the `places`, in their order. One that is in none of them stays as it is or, if `required`,
    raises ConfigError, which says where it was looked for. A model need not be a folder, and is never required.
    """
    changed = copy.deepcopy(dict(table))
    for where, holder, key, is_needed in _paths(changed):
        try:
            path = Path(holder[key]).expanduser()
        except RuntimeError:
            raise ConfigError(f"{where} = {holder[key]!r}: this machine has no home folder of that user") from None
        found = next((place / path for place in places if (place / path).exists()), None)
        if found is not None:
            holder[key] = str(found)
        elif required and is_needed:
            looked = "" if path.is_absolute() else f"; looked in {' and in '.join(map(str, dict.fromkeys(places)))}"
            raise ConfigError(f"{where} = {holder[key]!r}: there is no such file or folder{looked}")
    return changed


def _paths(table: dict[str, Any]) -> Iterator[tuple[str, Any, Any, bool]]:
    """Name in messages, table or list, key in it, and whether something must be there, of every path in a recipe."""
    task = table.get("task")
    if isinstance(task, dict):
        for key in ("path", "validation", "test"):
            if _is_path(task, key):
                needed = key == "path" and _OWN_TASK not in str(task.get("name", ""))
                yield f"task.{key}", task, key, needed
        yield from _paths_of_sets(task)
    for where, section in _sections(table):
        if _is_path(section, "adapter"):
            yield f"{where}.adapter", section, "adapter", True
        model = table.get("model") if where == "policies" else section.get("model")
        if isinstance(model, dict) and _is_path(model, "path") and _is_place(model["path"]):
            yield "model.path" if where == "policies" else f"{where}.model.path", model, "path", False


def _paths_of_sets(task: dict[str, Any]) -> Iterator[tuple[str, Any, Any, bool]]:
    """The paths in the tables of a task: copies of known sets, and files and folders in the place of a set."""
    copies, sets = task.get("copies"), task.get("sets")
    if isinstance(copies, dict):
        yield from ((f"task.copies.{name}", copies, name, False) for name in copies if _is_path(copies, name))
    for split, members in sets.items() if isinstance(sets, dict) else ():
        places = enumerate(members) if isinstance(members, list) else [(split, members)]
        for key, member in places:
            if isinstance(member, str) and any(sign in member for sign in "./"):
                yield f"task.sets.{split}", members if isinstance(members, list) else sets, key, False


def _sections(table: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables that hold settings of policies."""
    policies = table.get("policies")
    yield "policies", policies if isinstance(policies, dict) else {}
    own = table.get("policy")
    for name, section in own.items() if isinstance(own, dict) else ():
        if isinstance(section, dict):
            yield f"policy.{name}", section


def _is_path(table: Mapping[str, Any], key: str) -> bool:
    return isinstance(table.get(key), str) and bool(table[key])


def _is_place(model: str) -> bool:
    """True if a model's path is not a shipped name or a file of an installed package."""
    return model not in MICRO_MODELS and not model.startswith("package:")
