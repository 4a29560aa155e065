"""Compared runs as a picture: the differences with their intervals, and the accuracies of every group."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from counterpoint.analysis.comparison import Level
from counterpoint.experiments.collected import MILESTONES
from counterpoint.experiments.compared import Compared, Difference, shown_accuracy
from counterpoint.reports.compared_table import titles

MARKS: Mapping[str, tuple[str, str]] = {"shared": ("#0072b2", "circle"), "isolated": ("#d55e00", "square")}
"""Group -> its colour and shape in every picture (Okabe and Ito's colours, which people who are colour-blind can
tell apart)."""
_OTHERS = (
    ("#009e73", "triangle-up"),
    ("#cc79a7", "diamond"),
    ("#56b4e9", "cross"),
    ("#e69f00", "triangle-down"),
    ("#000000", "triangle-right"),
    ("#666666", "triangle-left"),
)
_AMOUNTS = {"peak": "at the peak", "kept": "at the end, over the base"}
_ROW = 22


def save_comparison(found: Compared, out: Path) -> None:
    """`out` holds the picture, in the format that its extension names."""
    comparison(found).save(str(out))


def comparison(found: Compared) -> Any:
    """The differences of the team and of the roles in one panel per amount; with one block also the accuracies."""
    panels: list[Any] = []
    if found.differences:
        panels.append(alt.hconcat(*(_forest(found, amount) for amount in _AMOUNTS)))
    if len(found.blocks) == 1:
        panels.append(_accuracies(found))
    told = [titles(found).accuracy, *(f"note: {warning}" for warning in found.warnings)]
    title = alt.TitleParams(found.sentences, subtitle=told, anchor="start", fontSize=12, limit=1400)
    picture = alt.vconcat(*panels).resolve_scale(shape="independent", color="independent")
    return picture.properties(title=title).configure(background="white")


def marks_of(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Group -> colour and shape: those of `MARKS`, and for all others the next ones that are free."""
    others = [group for group in groups if group not in MARKS]
    rest = {group: _OTHERS[place % len(_OTHERS)] for place, group in enumerate(others)}
    return {group: MARKS.get(group) or rest[group] for group in groups}


def _forest(found: Compared, amount: str) -> Any:
    order = list(dict.fromkeys(_row(one)["of"] for one in found.differences))
    rows = [_row(one) for one in found.differences if one.amount == amount]
    schema = {"of": str, "value": float, "low": float, "high": float, "verdict": str}
    margin = 100 * found.margin
    x: dict[str, Any] = {"title": f"points; grey: alike within {margin:g}", "scale": alt.Scale(domain=_span(found))}
    labels = alt.Axis(labelLimit=420) if amount == "peak" else None
    y = alt.Y("of:N", sort=order, title=None, axis=labels, scale=alt.Scale(domain=order))
    base = alt.Chart(pl.DataFrame(rows, schema=schema)).encode(y=y)
    edges = pl.DataFrame({"from": [-margin], "to": [margin], "zero": [0.0]})
    band = alt.Chart(edges).mark_rect(color="#e8e8e8").encode(x=alt.X("from:Q", **x), x2="to:Q")
    zero = alt.Chart(edges).mark_rule(color="#888888").encode(x=alt.X("zero:Q", **x))
    whiskers = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **x), x2="high:Q")
    verdicts = alt.Scale(domain=["ahead", "alike", "cannot tell"], range=["diamond", "square", "circle"])
    points = base.mark_point(filled=True, size=70, opacity=1.0, color="#000000").encode(
        x=alt.X("value:Q", **x), shape=alt.Shape("verdict:N", scale=verdicts, title="verdict")
    )
    layers = band + zero + whiskers + points
    return layers.properties(width=330, height=_ROW * max(1, len(order)), title=_AMOUNTS[amount])


def _span(found: Compared) -> list[float]:
    """The least and the largest number of points on the axis, the same for every panel."""
    margin = 150 * found.margin
    ends = [100 * end for one in found.differences for end in one.found.shown[1:]]
    return [min(-margin, *ends), max(margin, *ends)]


def _row(one: Difference) -> dict[str, Any]:
    value, low, high = (100 * part for part in one.found.shown)
    where = f"{one.block}: " if one.block else ""
    label = f"{where}{one.who}, {one.found.one} - {one.found.other} ({one.found.base})"
    return {"of": label, "value": value, "low": low, "high": high, "verdict": one.found.verdict}


def _accuracies(found: Compared) -> Any:
    levels = [*found.levels, *found.controls]
    groups = list(dict.fromkeys(one.group for one in levels))
    marks = marks_of(groups)
    rows = [
        {"who": one.who, "group": one.group, "milestone": milestone, **_shown(getattr(one, milestone))}
        for one in levels
        for milestone in MILESTONES
    ]
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("milestone:N", sort=list(MILESTONES), title=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("group:N", sort=groups),
        color=alt.Color(
            "group:N", sort=groups, title=None, scale=alt.Scale(domain=groups, range=[marks[one][0] for one in groups])
        ),
    )
    lines = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", title="accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)), y2="high:Q"
    )
    shapes = alt.Scale(domain=groups, range=[marks[one][1] for one in groups])
    points = base.mark_point(filled=True, size=60, opacity=1.0).encode(
        y="value:Q", shape=alt.Shape("group:N", sort=groups, title=None, scale=shapes)
    )
    who = list(dict.fromkeys(one.who for one in levels))
    return (
        (lines + points)
        .properties(width=190, height=180)
        .facet(facet=alt.Facet("who:N", sort=who, title=None), columns=4)
    )


def _shown(found: Level) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), shown_accuracy(found), strict=True))
