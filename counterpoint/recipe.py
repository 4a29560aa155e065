"""Recipes: found by name, read from TOML, changed by dotted overrides, and checked."""

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from counterpoint.config import Config, Spec, explain
from counterpoint.errors import ConfigError, unknown

_PACKAGE = Path(__file__).parent
RECIPE_FOLDERS = (Path("recipes"), _PACKAGE / "recipes", _PACKAGE.parent / "recipes")


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The recipe with the overrides (`section.key=value`) applied.

    `recipe` is a TOML file, a folder with a `run.toml`, or the name of a folder in `recipes/`.
    Raises ConfigError that names the bad key or value and what is allowed.
    """
    path = find_recipe(str(recipe))
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return config_from(override_table(table, overrides))


def override_table(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The table with every `section.key=value` set in it. Raises ConfigError if one is malformed."""
    changed = copy.deepcopy(dict(table))
    for override in overrides:
        _set(changed, override)
    return changed


def config_from(table: Mapping[str, Any]) -> Config:
    """The recipe that a plain table describes. Raises ConfigError."""
    try:
        return Config.model_validate(dict(table))
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from None


def find_recipe(name: str) -> Path:
    """The TOML file that `name` means. Raises ConfigError with the names that exist."""
    here = Path(name)
    candidates = [here, here / "run.toml", *(folder / name / "run.toml" for folder in RECIPE_FOLDERS)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = {path.parent.name for folder in RECIPE_FOLDERS for path in folder.glob("*/run.toml")}
    raise ConfigError(unknown("recipe", name, known) + " (or the path of a TOML file)")


def _set(table: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"override {override!r} must read section.key=value")
    *parents, last = key.strip().split(".")
    node = table
    for depth, parent in enumerate(parents):
        if isinstance(node.get(parent), str):
            node[parent] = {"name": node[parent]} if _is_spec(parents[: depth + 1]) else {}
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is not a table")
    node[last] = _value(text.strip())


def _is_spec(path: Sequence[str]) -> bool:
    """Whether the recipe has a member of a family at this place."""
    model: type[BaseModel] = Config
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return False
        model = field.annotation
    return model is Spec


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
