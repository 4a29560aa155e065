"""Recipes: found by name, read from TOML, laid over a preset, changed by dotted overrides, and checked."""

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from counterpoint.config import Config, Spec, explain
from counterpoint.errors import ConfigError, unknown
from counterpoint.family import look_in
from counterpoint.presets import preset

_PACKAGE = Path(__file__).parent
_PRESET = "preset"
RECIPE_FOLDERS = (Path("recipes"), _PACKAGE / "recipes", _PACKAGE.parent / "recipes")


def load_config(recipe: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The recipe, on the preset that it names, with the overrides (`section.key=value`) applied in their order.

    `recipe` is a TOML file, a folder with a `run.toml`, or the name of a folder in `recipes/`; a module that it names
    is looked for beside it too. Raises ConfigError that names the bad key or value and what is allowed.
    """
    path = find_recipe(str(recipe))
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    look_in(path.parent)
    return config_from(override_table(table, overrides))


def override_table(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The table with every `section.key=value` set in it; `preset=NAME` lays a preset over it.

    Raises ConfigError if an override is malformed, or there is no such preset.
    """
    changed = copy.deepcopy(dict(table))
    for override in overrides:
        key, value = _parsed(override)
        if key == _PRESET:
            changed = _laid_over(changed, preset(value))
        else:
            _set(changed, key, value, override)
    return changed


def config_from(table: Mapping[str, Any]) -> Config:
    """The recipe that a plain table describes: where it names a preset, that is beneath it. Raises ConfigError."""
    own = dict(table)
    if _PRESET in own:
        own = _laid_over(preset(own.pop(_PRESET)), own)
    try:
        return Config.model_validate(own)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, beside=[_PRESET])) from None


def find_recipe(name: str) -> Path:
    """The TOML file that `name` means. Raises ConfigError with the names that exist."""
    here = Path(name)
    candidates = [here, here / "run.toml", *(folder / name / "run.toml" for folder in RECIPE_FOLDERS)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ConfigError(unknown("recipe", name, recipes()) + " (or the path of a TOML file)")


def recipes() -> dict[str, Path]:
    """Name -> file of every recipe that can be named, those of the current directory first."""
    files = {path.parent.name: path for folder in reversed(RECIPE_FOLDERS) for path in folder.glob("*/run.toml")}
    return dict(sorted(files.items()))


def _laid_over(table: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables in one: where both have a key, the upper one's value, but tables are laid over each other.

    A table that names a member of a family takes the place of what is there: options of one are not another's.
    """
    both = dict(table)
    for key, value in upper.items():
        under = both.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping) and "name" not in value:
            both[key] = _laid_over(under, value)
        else:
            both[key] = copy.deepcopy(value)
    return both


def _parsed(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"override {override!r} must read section.key=value")
    return key.strip(), _value(text.strip())


def _set(table: dict[str, Any], key: str, value: Any, override: str) -> None:
    *parents, last = key.split(".")
    node = table
    for depth, parent in enumerate(parents):
        if isinstance(node.get(parent), str):
            node[parent] = {"name": node[parent]} if _is_spec(parents[: depth + 1]) else {}
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is not a table")
    node[last] = value


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
