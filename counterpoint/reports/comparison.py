"""Compared runs as a picture: the differences with their intervals, and the accuracies of every group."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import altair as alt
import polars as pl

from counterpoint.analysis.comparison import Level
from counterpoint.errors import counted
from counterpoint.experiments.collected import MILESTONES
from counterpoint.experiments.compared import Compared, Difference, shown_accuracy
from counterpoint.reports.compared_table import differences_shown, titles

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
_WIDEST = 165
"""Characters of a line of the title."""
_MOST_NOTES = 8


def save_comparison(found: Compared, out: Path) -> None:
    """`out` holds the picture, in the format that its extension names."""
    comparison(found).save(str(out))


def comparison(found: Compared) -> Any:
    """The differences in one panel per amount; with one block also the accuracies.

    As in the table, the differences are those of the team and, with one pair of groups, of the roles.
    """
    panels: list[Any] = []
    shown = differences_shown(found)
    if shown:
        panels.append(alt.hconcat(*(_forest(found, shown, amount) for amount in _AMOUNTS)))
    if len(found.blocks) == 1:
        panels.append(_accuracies(found))
    title = alt.TitleParams(
        _wrapped(found.sentences), subtitle=_wrapped(_notes(found)), anchor="start", fontSize=12, limit=0
    )
    picture = alt.vconcat(*panels).resolve_scale(shape="independent", color="independent")
    return picture.properties(title=title).configure(background="white")


def _notes(found: Compared) -> list[str]:
    """The lines below the verdict: what the intervals are over, and what a reader must know."""
    base = titles(found)
    told = [*([base.difference] if found.team else []), *([base.accuracy] if len(found.blocks) == 1 else [])]
    notes = [f"note: {warning}" for warning in found.warnings]
    left_out = len(notes) - _MOST_NOTES
    return [*told, *notes[:_MOST_NOTES], *([f"and {counted(left_out, 'note')} more"] if left_out > 0 else [])]


def _wrapped(lines: Sequence[str]) -> list[str]:
    """The lines, none wider than the picture."""
    return [part for line in lines for part in wrap(line, _WIDEST, subsequent_indent="    ")]


def marks_of(groups: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Group -> colour and shape: those of `MARKS`, and for all others the next ones that are free."""
    others = [group for group in groups if group not in MARKS]
    count = len(_OTHERS)
    rest = {
        group: (_OTHERS[place % count][0], _OTHERS[(place + place // count) % count][1])
        for place, group in enumerate(others)
    }
    return {group: MARKS.get(group) or rest[group] for group in groups}


def _forest(found: Compared, shown: Sequence[Difference], amount: str) -> Any:
    order = list(dict.fromkeys(_row(one)["of"] for one in shown))
    rows = [_row(one) for one in shown if one.amount == amount]
    schema = {"of": str, "value": float, "low": float, "high": float, "verdict": str}
    margin = 100 * found.margin
    x: dict[str, Any] = {
        "title": f"points; grey: alike within {margin:g}",
        "scale": alt.Scale(domain=_span(found.margin, shown)),
    }
    labels = alt.Axis(labelLimit=700) if amount == "peak" else None
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


def _span(margin: float, shown: Sequence[Difference]) -> list[float]:
    """The ends of the axis, the same for every panel, beyond those of every interval and of the margin."""
    ends = [-margin, margin, *(end for one in shown for end in one.found.shown[1:])]
    beyond = 0.06 * (max(ends) - min(ends)) or 0.01
    return [100 * (min(ends) - beyond), 100 * (max(ends) + beyond)]


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
    legend = alt.Legend(title=None, labelLimit=400, symbolLimit=0)
    base = alt.Chart(pl.DataFrame(rows)).encode(
        x=alt.X("milestone:N", sort=list(MILESTONES), title=None, axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("group:N", sort=groups),
        color=alt.Color(
            "group:N",
            sort=groups,
            legend=legend,
            scale=alt.Scale(domain=groups, range=[marks[one][0] for one in groups]),
        ),
    )
    lines = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", title="accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)), y2="high:Q"
    )
    shapes = alt.Scale(domain=groups, range=[marks[one][1] for one in groups])
    points = base.mark_point(filled=True, size=60, opacity=1.0).encode(
        y="value:Q", shape=alt.Shape("group:N", sort=groups, legend=legend, scale=shapes)
    )
    who = list(dict.fromkeys(one.who for one in levels))
    width = max(190, len(MILESTONES) * len(groups) * 12)
    return (
        (lines + points)
        .properties(width=width, height=180)
        .facet(facet=alt.Facet("who:N", sort=who, title=None), columns=max(1, 800 // width))
    )


def _shown(found: Level) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), shown_accuracy(found), strict=True))
