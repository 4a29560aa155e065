"""The provenance of a run: command, time, versions, commit, hardware, and the sources of the user's members."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from counterpoint.config import Config
from counterpoint.family import is_own, source_of
from counterpoint.options import Spec

PACKAGES = ("counterpoint", "torch", "transformers", "peft", "numpy", "polars")


def facts(recipe: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The provenance of a run that begins now, as `run.json` has it."""
    return {
        "recipe": recipe,
        "overrides": list(overrides),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}},
        "commit": _commit(),
        "hardware": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
    }


def sources(config: Config) -> dict[str, tuple[str, str]]:
    """Name -> file and SHA-256, for each member written by the user that the recipe names. Raises ConfigError."""
    named = [name for spec in _specs(config) for name in (spec.name, spec.options.get("read"))]
    return {name: source_of(name) for name in dict.fromkeys(named) if isinstance(name, str) and is_own(name)}


def _specs(section: Any) -> Iterator[Spec]:
    """Every member of a family that is named anywhere in a section."""
    if isinstance(section, Spec):
        yield section
    elif isinstance(section, BaseModel):
        for name in type(section).model_fields:
            yield from _specs(getattr(section, name))
    elif isinstance(section, list):
        for one in section:
            yield from _specs(one)


def _commit() -> str | None:
    """The commit of the source tree that this package runs from; None if it does not run from one."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
