"""Accuracy before and after training, on tasks that the base never, sometimes or always solves."""

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from counterpoint.analysis.comparison import Level
from counterpoint.analysis.taught import Change, Lesson
from counterpoint.analysis.tries import still_possible
from counterpoint.errors import counted
from counterpoint.experiments.taught import Taught
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import band, frame, spec
from counterpoint.reports.figures.groups import labels

_MARKS = {"before training": "circle", "after training": "triangle-up"}
_DOMAIN = (-3.0, 103.0)
"""Percent, with room for the marks at the ends."""


def taught_figure(found: Sequence[Taught]) -> Figure | None:
    """A row for each cell and kind of task that has one; None without a row."""
    told = list(_told(found))
    if not told:
        return None
    names = labels(_name(own, one) for own, one, _ in told)
    rows = [row for own, one, change in told for row in _rows(names[_name(own, one)], change)]
    return Figure(
        name="taught",
        title="What training taught",
        says=_says(found, [one for _, one, _ in told]),
        spec=spec(list(names.values()), _DOMAIN, "% of tries that are right", 0.0, _MARKS),
        data={"rows": frame(rows), "band": band(0.0)},
        table=pl.DataFrame([_line(own, one, change) for own, one, change in told], infer_schema_length=None),
    )


def _told(found: Sequence[Taught]) -> Iterator[tuple[Taught, Lesson, Change]]:
    for own in found:
        for one in own.lessons:
            if one.accuracy is not None:
                yield own, one, one.accuracy


def _name(own: Taught, one: Lesson) -> str:
    return f"{own.name} - {one.kind}"


def _rows(label: str, change: Change) -> Iterator[dict[str, Any]]:
    _, low, high = change.gain.shown
    before = change.before.value, change.before.low, change.before.high
    verdict = "cannot tell" if low <= 0.0 <= high else "ahead"
    for amount, shown, told in zip(_MARKS, (before, change.after.shown), ("ahead", verdict), strict=True):
        value, low, high = (100 * part for part in shown)
        ends = {"low": max(0.0, low), "high": min(100.0, high), "wide_low": None, "wide_high": None, "visible": None}
        yield {"of": label, "amount": amount, "value": value, **ends, "verdict": told}


def _says(found: Sequence[Taught], told: Sequence[Lesson]) -> str:
    sorting = min(one.sorting for one in told)
    missing = sum(bool(one.missing) for one in found)
    rest = f" Of {counted(missing, 'cell')} some runs are missing." if missing else ""
    return (
        f"Test tasks by how often the base solves them in {sorting} tries: never, sometimes or always. Its accuracy on"
        " them is from other tries, so that luck in the first is not taken for a gain of training. A task that it never"
        f" solved may still be solved with up to {100 * still_possible(sorting):.1f} % of tries (95 %). Intervals after"
        " training are over seeds and tasks, with one seed over tasks alone, and not corrected for their number. Hollow"
        f" marks: the interval of the difference, paired by task, holds 0.{rest}"
    )


def _line(own: Taught, one: Lesson, change: Change) -> dict[str, Any]:
    assert one.any_right is not None
    return {
        "cell": own.name,
        "the base solves": one.kind,
        "tasks": one.problems,
        "seeds": len(one.seeds),
        "before": f"{100 * change.before.value:.1f}",
        "after": _percent(change.after),
        "points": _percent(change.gain, "+z"),
        f"pass@{one.k} before": f"{100 * one.any_right.before.value:.1f}",
        f"pass@{one.k} after": _percent(one.any_right.after),
        "left out": one.left_out,
    }


def _percent(found: Level, sign: str = "") -> str:
    value, low, high = (100 * part for part in found.shown)
    return f"{value:{sign}.1f} [{low:.1f}, {high:.1f}]"
