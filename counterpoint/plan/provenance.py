"""The provenance of a run: command, time, versions, commit and hardware."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

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


def _commit() -> str | None:
    """The commit of the source tree that this package runs from; None if it does not run from one."""
    here = Path(__file__).parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, encoding="utf-8")
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
