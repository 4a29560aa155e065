"""Trains multi-agent LLM workflows with reinforcement learning."""

from importlib import import_module
from typing import Any

_NAMES = {
    "Part": "counterpoint.workflows.base",
    "Problem": "counterpoint.task",
    "Role": "counterpoint.workflows.base",
    "Roles": "counterpoint.workflows.base",
    "workflow": "counterpoint.workflows.base",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
