"""The table of runs: one line per run from the ends of its files, searched, filtered and sorted."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoint.experiments.states import Found, own_state, recipe_table, state_of
from counterpoint.reports.viewer.scan import Place, refuse_what_is_not_read
from counterpoint.reports.viewer.texts import problem
from counterpoint.run_files import CONFIG, EVALUATIONS, METRICS

STATES = ("running", "finished", "stopped", "interrupted", "failed", "debris", "unreadable")
FILTERS = ("state", "workflow", "task", "model", "sharing", "study")
"""Facts by which the table can be filtered, each with the values that its rows have."""
COLUMNS = ("name", "state", "step", "validation", "best", "pace", "left", "changed")
"""Columns by which the table can be sorted."""
_NO_FACTS = dict.fromkeys((*FILTERS, "seed"), "")
_HEAD = 200
"""Bytes of the beginning of a line in which an evaluation says what it is."""
_NUMBER = rb"-?(?:\d[-+.\deE]*|NaN|Infinity)"
_EVALUATION = re.compile(rb'^\{"step": (\d+), "accuracy": (' + _NUMBER + rb'), "split": "(\w+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A run in the table."""

    place: Place
    state: str
    """One of `STATES`."""
    found: Found
    curve: Sequence[tuple[int, float]] = ()
    """Step and validation accuracy of every evaluation."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Filter -> its value; `seed` too."""
    problem: str = ""
    changed: float = 0.0
    """Time at which its last step was recorded, in seconds since 1970; 0 before the first."""

    @property
    def best(self) -> float | None:
        """The highest validation accuracy so far."""
        return max((accuracy for _, accuracy in self.curve), default=None)

    @property
    def label(self) -> str:
        """The run in a few words."""
        facts = (self.facts.get(name, "") for name in ("workflow", "sharing", "model", "task"))
        return " · ".join(one for one in facts if one)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The rows of the table that somebody wants to see."""

    words: str = ""
    """Rows that contain every word of it, in their name or in what they are."""
    only: Mapping[str, str] = field(default_factory=dict)
    """Filter -> value."""
    sort: str = "name"
    is_descending: bool = False

    def of(self, rows: Iterable[Row]) -> list[Row]:
        """The rows that are wanted, in the order that is wanted; those without a value come last."""
        words = self.words.lower().split()
        kept = [
            row
            for row in rows
            if all(row.facts.get(name, "") == value for name, value in self.only.items())
            and all(word in f"{row.place.name} {row.label} {row.state} {row.problem}".lower() for word in words)
        ]
        told = [row for row in kept if _key(row, self.sort) is not None]
        untold = [row for row in kept if _key(row, self.sort) is None]
        return sorted(told, key=lambda row: _key(row, self.sort), reverse=self.is_descending) + untold


def asked_of(query: Mapping[str, str]) -> Asked:
    """The rows that the parameters of an address ask for; what they name wrongly is left out."""
    sort = query.get("sort", "").removeprefix("-")
    return Asked(
        words=query.get("q", "")[:200],
        only={name: query[name] for name in FILTERS if query.get(name)},
        sort=sort if sort in COLUMNS else "name",
        is_descending=query.get("sort", "").startswith("-"),
    )


def row_of(root: Path, place: Place) -> Row:
    """The run as a line of the table; one that cannot be read says why."""
    try:
        refuse_what_is_not_read(root, place.path)
        found = state_of(place.path) if place.study else _alone(place.path)
        recipe, curve = _recipe(place.path), validation_curve(place.path / EVALUATIONS)
    except Exception as error:  # whatever a damaged file leads to: the other rows are there
        facts = {**_NO_FACTS, "state": "unreadable", "study": place.study}
        return Row(place=place, state="unreadable", found=Found(state="failed"), facts=facts, problem=problem(error))
    is_stopped = found.state == "finished" and found.problem.startswith("stopped")
    state = "stopped" if is_stopped else found.state
    return Row(
        place=place,
        state=state,
        found=found,
        curve=curve,
        facts={**_NO_FACTS, **recipe, "state": state, "study": place.study},
        problem=found.problem or found.warning,
        changed=_changed(place.path / METRICS),
    )


def choices(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Filter -> the values that rows have, if there are at least two."""
    found = {name: sorted({row.facts.get(name, "") for row in rows} - {""}) for name in FILTERS}
    found["state"].sort(key=STATES.index)
    return {name: values for name, values in found.items() if len(values) > 1 or (name == "study" and values)}


def validation_curve(path: Path) -> list[tuple[int, float]]:
    """Step and accuracy of the evaluations of the validation split, from the beginnings of lines alone."""
    try:
        data = path.read_bytes()
    except OSError:
        return []
    found = (_evaluation(line) for line in data.split(b"\n")[:-1])
    return [(step, accuracy) for step, accuracy, split in found if split == "validation" and accuracy == accuracy]


def _evaluation(line: bytes) -> tuple[int, float, str]:
    begins = _EVALUATION.match(line[:_HEAD])
    try:
        if begins:
            return int(begins[1]), float(begins[2]), begins[3].decode()
        row = json.loads(line)
        return int(row["step"]), float(row["accuracy"]), str(row["split"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0, 0.0, ""


def _alone(path: Path) -> Found:
    """The state of a run that no study made: a folder beside it is not a study's."""
    return own_state(path)


def _recipe(path: Path) -> dict[str, str]:
    """The facts in the run's recipe, as texts; empty where it says nothing that can be read."""
    try:
        table = recipe_table((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    sharing = _at(table, "policies", "sharing")
    return {
        "workflow": _text(_at(table, "workflow", "name")),
        "task": _text(_at(table, "task", "name")),
        "model": _text(_at(table, "model", "path")),
        "sharing": sharing if isinstance(sharing, str) else "by a table" if sharing else "",
        "seed": _text(_at(table, "run", "seed")),
    }


def _at(table: Any, *names: str) -> Any:
    for name in names:
        table = table.get(name) if isinstance(table, Mapping) else None
    return table


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _key(row: Row, column: str) -> Any:
    """The key by which a row is sorted; None if it has no such value."""
    found = row.found
    values: dict[str, Any] = {
        "name": _natural(row.place.name),
        "state": STATES.index(row.state) if row.state in STATES else None,
        "step": found.step if found.steps is not None else None,
        "validation": found.validation,
        "best": row.best,
        "pace": found.seconds,
        "left": found.left if row.state == "running" else None,
        "changed": row.changed or None,
    }
    return values[column]


def _natural(text: str) -> list[tuple[int, str]]:
    """A key by which `s2` comes before `s10`."""
    parts = re.split(r"(\d+)", text.lower())
    return [(int(part), "") if part.isdigit() and part.isascii() else (-1, part) for part in parts]
