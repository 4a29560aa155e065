"""Labels of runs that no study made: the keys of their recipes in which they differ, by short names."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from counterpoint.run import Run

SHORT: Mapping[str, str] = {
    "policies.sharing": "sharing",
    "workflow.name": "workflow",
    "task.name": "task",
    "model.path": "scale",
    "policies.learning_rate": "rate",
}
"""Key -> the name of its axis, for those that have one of their own."""
_NOT_THE_METHOD = (
    "run.seed",
    "run.threads",
    "run.save_every",
    "run.patience",
    "model.device",
    "model.date",
    "diagnostics",
    "signatures",
    "track",
)
"""Keys that change nothing that is learned, or that differ between the seeds of a method."""
_TASK_PATH = "task.path"
_ABSENT = "-"
_SOURCE = "source of "
_LONGEST = 40


def labels_of(runs: Sequence[Run]) -> list[dict[str, str]]:
    """For each run, axis -> label: the keys in which these runs differ, other than seed, threads and the like.

    A key of a member of a family (`workflow.votes`) that only follows from another member (`workflow.name`) is no axis
    of its own. The user's own modules whose texts differ between runs are axes too.
    """
    tables = [_table(run) for run in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    differing = [key for key in keys if len({_plain(table.get(key)) for table in tables}) > 1]
    if _TASK_PATH in differing and len({json.dumps(run.facts.get("tasks"), sort_keys=True) for run in runs}) == 1:
        differing.remove(_TASK_PATH)
    kept = [key for key in differing if not _follows(key, differing, tables)]
    names = _short(kept)
    told = {key: _distinct(key, [table.get(key) for table in tables]) for key in kept}
    return [{names[key]: told[key][_plain(table.get(key))] for key in kept} for table in tables]


def _table(run: Run) -> dict[str, Any]:
    """Dotted key -> value of the run's recipe, and the digest of each module that the user wrote."""
    found = _flat(run.config.model_dump(exclude_none=True))
    for key in _NOT_THE_METHOD:
        found.pop(key, None)
    sources = run.facts.get("sources", {})
    return {**found, **{f"{_SOURCE}{module}": facts["sha256"][:8] for module, facts in sources.items()}}


def _flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping) and name != "policies.sharing":
            found.update(_flat(value, f"{name}."))
        else:
            found[name] = value
    return found


def _follows(key: str, differing: Sequence[str], tables: Sequence[Mapping[str, Any]]) -> bool:
    """True if a key says nothing that the name of its member does not say."""
    if key.startswith(_SOURCE):
        return len({table[key] for table in tables if key in table}) == 1
    parts = key.split(".")
    for depth in range(1, len(parts)):
        name = ".".join([*parts[:depth], "name"])
        if name != key and name in differing:
            values: dict[str, set[str]] = {}
            for table in tables:
                values.setdefault(_plain(table.get(name)), set()).add(_plain(table.get(key)))
            if all(len(found) == 1 for found in values.values()):
                return True
    return False


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Key -> its short name; the key itself where two would have the same."""
    short = {
        key: SHORT.get(key) or (key if key.startswith(_SOURCE) else key.removesuffix(".name").rpartition(".")[2])
        for key in keys
    }
    names = list(short.values())
    return {key: name if names.count(name) == 1 else key for key, name in short.items()}


def _distinct(key: str, values: Sequence[Any]) -> dict[str, str]:
    """Value as JSON -> its label; values whose labels would be equal have a digest behind them."""
    labels = {_plain(value): _label(key, value) for value in values}
    short = list(labels.values())
    return {
        plain: label if short.count(label) == 1 else f"{label} ({sha256(plain.encode()).hexdigest()[:4]})"
        for plain, label in labels.items()
    }


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _label(key: str, value: Any) -> str:
    if value is None:
        return _ABSENT
    if key == "model.path":
        return Path(str(value)).name.removesuffix(".gguf")
    if isinstance(value, list):
        return "+".join(one["name"] if isinstance(one, dict) and "name" in one else str(one) for one in value) or "none"
    if isinstance(value, bool | dict):
        return _plain(value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value) or "none"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
