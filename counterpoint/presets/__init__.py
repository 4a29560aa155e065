"""Presets: what a recipe says about a real model, for recipes to stand on. Each is a TOML file beside this one."""

import tomllib
from pathlib import Path
from typing import Any

from counterpoint.errors import ConfigError, unknown

_HERE = Path(__file__).parent
PRESETS = tuple(sorted(file.stem for file in _HERE.glob("*.toml")))


def preset(name: object) -> dict[str, Any]:
    """The tables of a preset. Raises ConfigError with the names that exist if it is not one of them."""
    if name not in PRESETS:
        raise ConfigError(unknown("preset", str(name), PRESETS))
    return tomllib.loads(preset_text(str(name)))


def preset_text(name: str) -> str:
    """The TOML file of a preset that exists."""
    return (_HERE / f"{name}.toml").read_text(encoding="utf-8")
