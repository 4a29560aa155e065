"""Recipes: finding, reading, combining with presets and overrides, and checking."""

import copy
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from counterpoint.config import AlgorithmConfig, Config
from counterpoint.errors import ConfigError, unknown
from counterpoint.family import is_own, look_in
from counterpoint.files import decoded, near
from counterpoint.options import Spec, explain, fields_at
from counterpoint.places import located
from counterpoint.presets import preset
from counterpoint.presets.algorithms import ALGORITHMS

_PACKAGE = Path(__file__).parent
_PRESET = "preset"
NO_MEMBERS: Mapping[str, Any] = MappingProxyType({})
_RENAMED = {("algorithm", "anchor"): "old_logprobs"}
"""Section and key as older versions wrote them -> the key now."""
_ALGORITHM = "algorithm"
_DEEPEST = 99
"""More than the parts of any member's key."""
RECIPE_FOLDERS = (Path("recipes"), _PACKAGE / "recipes", _PACKAGE.parent / "recipes")


def load_config(recipe: str | Path, overrides: Sequence[str] = (), members: Mapping[str, Any] = NO_MEMBERS) -> Config:
    """The recipe, completed by the preset it names, with the overrides (`section.key=value`) applied in order.

    `members` are set by their dotted keys before that. `recipe` is a TOML file, a folder with a `run.toml`, or the name
    of a folder in `recipes/`; modules that it names are also searched for in its folder. Files and folders that the
    recipe names are looked for beside it and then in the current directory, those of overrides the other way round;
    their paths are absolute in the result. Raises ConfigError, which names the wrong key or value and what is allowed.
    """
    path = find_recipe(str(recipe))
    look_in(path.parent)
    places = (path.parent.resolve(), Path.cwd())
    table = with_members(located(_read(path), places), members)
    return config_from(located(override_table(table, overrides), places[::-1], required=True))


def with_members(table: Mapping[str, Any], members: Mapping[str, Any]) -> dict[str, Any]:
    """The table in which each dotted key of `members`, such as `algorithm.loss`, has that value."""
    changed = copy.deepcopy(dict(table))
    for key, value in members.items():
        _set(changed, key, value, key)
    return changed


def load_written(path: Path) -> Config:
    """The recipe that a run wrote down, whichever version of this package wrote it. Raises ConfigError."""
    table = _read(path)
    for (section, old), new in _RENAMED.items():
        if old in table.get(section, {}):
            table[section][new] = table[section].pop(old)
    return config_from(table)


def override_table(table: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The table with every `section.key=value` set in it; `preset=NAME` lets a preset override it.

    Another member of a family, `task=NAME` or `task.name=NAME`, takes the place of the recipe's with all its options,
    and another `algorithm` that of the whole `[algorithm]`; overrides of single options apply to it, in whatever order
    they are given. A table without a `name` changes the keys that it has and leaves the others of its section, or of
    the member that there is, as they are. What is given after a preset overrides it. Raises ConfigError if an override
    is malformed, or there is no such preset.
    """
    changed = copy.deepcopy(dict(table))
    for override in _in_order(overrides):
        key, value = _parsed(override)
        if key == _PRESET:
            changed = _laid_over(changed, preset(value))
        elif _names_algorithm(key, value):
            changed[_ALGORITHM] = value if isinstance(value, Mapping) else {"name": value}
        else:
            _set(changed, key, value, override)
    return changed


def _in_order(overrides: Sequence[str]) -> list[str]:
    """The overrides in the order in which they apply: presets and options as given, each member before its options.

    A member stays behind the presets before it that have its section.
    """
    count, behind = 0, dict[str, int]()  # section -> the last preset that has it
    places: list[tuple[int, int]] = []
    for override in overrides:
        key, value = _parsed(override)
        if key == _PRESET:
            count += 1
            behind |= dict.fromkeys(preset(value), count)
            places.append((count, 0))
        elif _names_member(key, value):
            parts = key.removesuffix(".name").split(".")
            places.append((behind.get(parts[0], 0), len(parts)))
        else:
            places.append((count, _DEEPEST))
    return [one for _, one in sorted(zip(places, overrides, strict=True), key=lambda pair: pair[0])]


def config_from(table: Mapping[str, Any]) -> Config:
    """The recipe in a table, completed by the preset and the algorithm that it names. Raises ConfigError."""
    own = dict(table)
    if _PRESET in own:
        own = _laid_over(preset(own.pop(_PRESET)), own)
    if isinstance(own.get(_ALGORITHM), str):
        own[_ALGORITHM] = {"name": own[_ALGORITHM]}
    if isinstance(own.get(_ALGORITHM), Mapping):
        own[_ALGORITHM] = _on_named_algorithm(own[_ALGORITHM])
    try:
        return Config.model_validate(own)
    except ValidationError as error:
        raise ConfigError(explain(error, Config, beside=[_PRESET])) from None


def brief_toml(config: Config) -> str:
    """The recipe as TOML, without the keys that have their default; it reads as the same recipe.

    The table of a named algorithm is whole: it says which parts the name stands for.
    """
    defaults = Config().model_dump(exclude_none=True)
    table = _differing(config.model_dump(exclude_none=True), defaults)
    if config.algorithm.name:
        table[_ALGORITHM] = config.algorithm.model_dump(exclude_none=True)
    return tomli_w.dumps(table)


def _differing(table: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a table whose values are not the defaults. A member of a family is whole or absent."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        default = defaults.get(key)
        if value == default:
            continue
        if isinstance(value, Mapping) and isinstance(default, Mapping) and (key == _ALGORITHM or "name" not in value):
            found[key] = _differing(value, default)
        else:
            found[key] = value
    return found


def _on_named_algorithm(own: Mapping[str, Any]) -> dict[str, Any]:
    """`[algorithm]`, with missing keys filled in from the named algorithm, if it names one.

    If it has another loss than the named algorithm, the aggregation is that of the other loss's paper. A complete
    table, such as that in a run's config.toml, takes nothing from the named algorithm, so that a resumed run stays the
    same even if the algorithm of that name has changed since.
    """
    name = own.get("name")
    if not isinstance(name, str) or not name:
        return dict(own)
    if set(AlgorithmConfig.model_fields) <= set(own):
        if not is_own(name):
            ALGORITHMS.find(name)
        return dict(own)
    parts = ALGORITHMS.build(Spec(name=name), _ALGORITHM)
    if not isinstance(parts, Mapping):
        raise ConfigError(f"algorithm {name!r} must return a table of keys of [algorithm], not {type(parts).__name__}")
    under = {key: _as_table(value, [_ALGORITHM, key]) for key, value in parts.items()}
    over = {key: _as_table(value, [_ALGORITHM, key]) for key, value in own.items()}
    if "name" in over.get("loss", {}) and over["loss"]["name"] != under.get("loss", {}).get("name"):
        under.pop("aggregation", None)
    return _laid_over(under, over, [_ALGORITHM])


def _as_table(value: Any, path: Sequence[str]) -> Any:
    """A value at a path of the recipe; a bare string that names a member becomes a table with that name."""
    return {"name": value} if isinstance(value, str) and _is_spec(path) else value


def _names_algorithm(key: str, value: Any) -> bool:
    return key in (_ALGORITHM, f"{_ALGORITHM}.name") and not _is_nameless(value)


def _names_member(key: str, value: Any) -> bool:
    """True for `task=NAME` and `task.name=NAME`, of whichever family, and for a table with a name."""
    return _is_spec(key.removesuffix(".name").split(".")) and not _is_nameless(value)


def _is_nameless(value: Any) -> bool:
    """True for a table of keys or options that names no member, so that it is about the one that there is."""
    return isinstance(value, Mapping) and "name" not in value


def find_recipe(name: str) -> Path:
    """The TOML file of a recipe. Raises ConfigError, which lists the names that exist."""
    here = Path(name)
    candidates = [here, here / "run.toml", *(folder / name / "run.toml" for folder in RECIPE_FOLDERS)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    if "=" in name:
        raise ConfigError(f"{name!r} stands where the recipe is expected: counterpoint train RECIPE [KEY=VALUE]...")
    if here.is_dir():
        held = ", ".join(str(one) for one in sorted(here.glob("*.toml")))
        raise ConfigError(f"the folder {name} has no run.toml" + (f"; it has: {held}" if held else ""))
    if here.suffix or here.parent != Path():
        raise ConfigError(f"recipe {name!r}: there is no such file; {near(here)}".rstrip("; "))
    raise ConfigError(unknown("recipe", name, recipes()) + " (or the path of a TOML file)")


def recipes() -> dict[str, Path]:
    """Name -> file of every recipe that can be used by name; one in the current directory hides others of its name."""
    files = {path.parent.name: path for folder in reversed(RECIPE_FOLDERS) for path in folder.glob("*/run.toml")}
    return dict(sorted(files.items()))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(decoded(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # tomllib's error is one too
        raise ConfigError(f"{path} is not TOML: {error}") from error


def _laid_over(table: Mapping[str, Any], upper: Mapping[str, Any], above: Sequence[str] = ()) -> dict[str, Any]:
    """Both tables merged, key by key and recursively; where both have a value, the upper one counts.

    A table with a `name`, which selects a member of a family, replaces the lower table as a whole, because the options
    of one member do not fit another; one without a `name` is laid over a member that the lower one names by a bare
    string, too. `above` is the path of both tables in the recipe.
    """
    both = dict(table)
    for key, value in upper.items():
        path = [*above, key]
        under = _as_table(both.get(key), path)
        if isinstance(under, Mapping) and isinstance(value, Mapping) and "name" not in value:
            both[key] = _laid_over(under, value, path)
        else:
            both[key] = copy.deepcopy(value)
    return both


def override_of(key: str, tables: Sequence[Mapping[str, Any]]) -> str:
    """The override that sets a list of members of families, each with its name and options."""
    rows = (", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in one.items()) for one in tables)
    return f"{key}=[{', '.join(f'{{ {row} }}' for row in rows)}]"


def _parsed(override: str) -> tuple[str, Any]:
    if not isinstance(override, str):
        hint = "; write * before it, to give each on its own" if isinstance(override, list | tuple) else ""
        raise ConfigError(f"an override must be text, section.key=value, not a {type(override).__name__}{hint}")
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"override {override!r} must read section.key=value")
    return key.strip(), _value(text.strip(), override)


def _set(table: dict[str, Any], key: str, value: Any, override: str) -> None:
    *parents, last = key.split(".")
    node = table
    for depth, parent in enumerate(parents):
        if isinstance(node.get(parent), str):
            node[parent] = {"name": node[parent]} if _is_spec(parents[: depth + 1]) else {}
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {parent!r} is not a table")
    if last == "name" and _is_spec(parents) and node.get("name") != value:
        node.clear()
    path = [*parents, last]
    under = _as_table(node.get(last), path)
    is_laid_over = _is_nameless(value) and isinstance(under, Mapping) and bool(fields_at(Config, path))
    node[last] = _laid_over(under, value, path) if is_laid_over else value


def _is_spec(path: Sequence[str]) -> bool:
    """True if the recipe has a table with a `name` at this path, which can be written as a bare string."""
    model: type[BaseModel] = Config
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return False
        model = field.annotation
    return "name" in model.model_fields


def _value(text: str, override: str) -> Any:
    """The value as TOML, or else as text. Raises ConfigError for what is neither: TOML that is broken."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if text[:1] in tuple("{[\"'"):
            reason = str(error).partition(" (at")[0]
            raise ConfigError(
                f"override {override!r}: the value is not TOML: {reason}; in a shell, put the whole override between"
                " single quotes"
            ) from error
        if text in ("True", "False"):
            raise ConfigError(f"override {override!r}: TOML writes {text.lower()}") from error
        return text
