"""The keys that a study sets in a recipe, as overrides of the command line."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from counterpoint.config import Config
from counterpoint.errors import ConfigError
from counterpoint.options import Spec

_KEY = re.compile(r"[^\s=.]+(\.[^\s=.]+)*")
ALGORITHM = "algorithm"
PRESET = "preset"


def overrides_in(table: Mapping[str, Any], where: str) -> dict[str, str]:
    """Dotted key -> value as an override has it, for every key that a table of a study sets.

    Keys may be dotted (`"run.threads" = 1`) or tables in tables. A member of a family with options is written as its
    name and each of its options, so that the options of one place can be overridden by those of another. Raises
    ConfigError if a key is set twice or is none, or a value cannot be written as TOML.
    """
    found: dict[str, str] = {}
    for key, value in _flat(table, ()):
        if not _KEY.fullmatch(key):
            raise ConfigError(f"{where}: {key!r} is not a key of a recipe: names with dots between, such as run.steps")
        if key in found:
            raise ConfigError(f"{where} sets {key} twice")
        found[key] = text_of(value, f"{where}: {key}")
    return found


def in_order(overrides: Mapping[str, str]) -> tuple[str, ...]:
    """`key=value` for each: presets first, which others override, then a named algorithm, then the others as given."""
    first = {PRESET: 0, ALGORITHM: 1}
    return tuple(f"{key}={overrides[key]}" for key in sorted(overrides, key=lambda key: first.get(key, 2)))


def text_of(value: Any, where: str) -> str:
    """A value as the right side of an override: bare if it reads as the same text, else as TOML in one line.

    Raises ConfigError for what TOML cannot hold.
    """
    if isinstance(value, str) and _reads_as_itself(value):
        return value
    return _inline(value, where)


def _flat(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        path = (*above, *key.split("."))
        kind = _kind(path)
        if not isinstance(value, Mapping) or kind == "value":
            yield _named(path), value
        elif kind == "member" and "name" in value:
            yield _named(path), value["name"]
            yield from _flat({name: one for name, one in value.items() if name != "name"}, path)
        else:
            yield from _flat(value, path)


def _named(path: tuple[str, ...]) -> str:
    """The key of a path; `task.name` is `task`, as both choose the member."""
    if path[-1] == "name" and len(path) > 1 and (path[:-1] == (ALGORITHM,) or _kind(path[:-1]) == "member"):
        path = path[:-1]
    return ".".join(path)


def _kind(path: tuple[str, ...]) -> str:
    """`section` for what has keys of its own, `member` for a member of a family, else `value`."""
    at: Any = Config
    for part in path:
        if get_origin(at) is dict:
            at = get_args(at)[-1]
        elif isinstance(at, type) and issubclass(at, BaseModel) and not issubclass(at, Spec):
            field = at.model_fields.get(part)
            at = None if field is None else field.annotation
        else:
            return "value"
        options = [one for one in get_args(at) if one is not type(None)]
        if type(None) in get_args(at) and len(options) == 1:
            at = options[0]
    if isinstance(at, type) and issubclass(at, Spec):
        return "member"
    holds = get_args(at)[-1] if get_origin(at) is dict else at
    return "section" if isinstance(holds, type) and issubclass(holds, BaseModel) else "value"


def _reads_as_itself(text: str) -> bool:
    """True if an override with this bare value means this text."""
    if not text or text != text.strip() or not text.isprintable():
        return False
    if text[0] in "{[\"'" or text in ("True", "False"):
        return False
    try:
        tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return True
    return False


def _inline(value: Any, where: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            return "[" + ", ".join(_inline(one, where) for one in value) + "]"
        case Mapping():
            return "{" + ", ".join(f"{_key(key)} = {_inline(one, where)}" for key, one in value.items()) + "}"
        case _:
            raise ConfigError(f"{where}: {value!r} is a {type(value).__name__}, which no key of a recipe takes")


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)
