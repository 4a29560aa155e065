"""What a team makes of k right answers among n parallel ones, against a majority vote."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoint.errors import counted
from counterpoint.reports import frames
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.lines import quiet_axis
from counterpoint.reports.figures.recorded import Recorded, named
from counterpoint.reports.looks import ROLE_RANGE, SMALLEST

if TYPE_CHECKING:
    import polars as pl

_KINDS = {"base": "base", "peak": "peak", "terminal": "end"}


def agreement(recorded: Recorded) -> Figure | None:
    """How often the team is right where k of n answers are; None unless a role always gives n answers in parallel."""
    for role in _parallel(recorded):
        found = frames.votes(recorded.cell, role)
        if len(found) and found["of"].n_unique() == 1:
            return _of(recorded, role, found)
    return None


def _parallel(recorded: Recorded) -> list[str]:
    """The roles with the same number of answers, at least two, in every test episode."""
    found = frames.series(recorded.cell, r"^eval/test/role/(?P<role>[^/]+)/(?P<number>calls|agreement)$")
    several = []
    for role in recorded.ordered(found.filter(number="agreement")["role"].unique().to_list()):
        calls = set(found.filter(role=role, number="calls")["value"].to_list())
        if len(calls) == 1 and (n := calls.pop()) >= 2 and float(n).is_integer():
            several.append(role)
    return several


def _of(recorded: Recorded, role: str, found: "pl.DataFrame") -> Figure:
    import polars as pl

    n = found["of"][0]
    team = (pl.col("team") * pl.col("episodes")).sum() / pl.col("episodes").sum()
    rows = (
        found.with_columns(kind=pl.col("milestone").replace(_KINDS))
        .group_by("kind", "right")
        .agg(team.alias("value"), pl.col("episodes").sum(), pl.col("majority").first())
        .sort("kind", "right")
    )
    majority = pl.DataFrame(
        [(right, frames.majority_line(right, n)) for right in range(n + 1)],
        schema={"right": int, "value": float},
        orient="row",
    )
    seeds = found["seed"].n_unique()
    over = "one run" if seeds == 1 else f"{seeds} seeds"
    return Figure(
        name=recorded.name(named("agreement", role)),
        title=f"The team's answer by the number of right answers of {role}",
        says=f"How often the team is right where k of {n} answers of {role} are; the grey line is a majority vote."
        f" {_in_words(rows)} Over {counted(int(rows['episodes'].sum()), 'test episode')} of {over}.",
        spec=_spec(n),
        data={"rows": rows, "majority": majority},
    )


def _in_words(rows: "pl.DataFrame") -> str:
    told = []
    for kind in _KINDS.values():
        own = rows.filter(kind=kind)
        if len(own):
            numbers = ", ".join(
                f"{right} → {100 * value:.0f} %" for right, value in own["right", "value"].iter_rows()
            )
            told.append(f"{kind}: {numbers}.")
    return " ".join(told)


@cache
def _spec(n: int) -> Mapping[str, Any]:
    x = {
        "field": "right",
        "type": "quantitative",
        "title": f"right answers, of {n}",
        "scale": {"domain": [0, n], "nice": False, "padding": 14},
        "axis": {"grid": False, "values": list(range(n + 1)), "format": "d", "labelOverlap": True},
    }
    y = {
        "field": "value",
        "type": "quantitative",
        "title": "team right",
        "scale": {"domain": [0, 1], "nice": False},
        "axis": quiet_axis("%"),
    }
    kinds = list(_KINDS.values())
    legend = {"title": None, "orient": "top", "symbolSize": 70}
    who = {"field": "kind", "type": "nominal", "legend": legend}
    marks = {
        "color": {**who, "scale": {"domain": kinds, "range": ROLE_RANGE}},
        "shape": {**who, "scale": {"domain": kinds, "range": ["circle", "triangle-up", "square"]}},
    }
    tooltip = [
        {"field": "kind", "title": "at"},
        {"field": "right"},
        {"field": "value", "format": ".1%"},
        {"field": "episodes"},
    ]
    majority = {"name": "majority"}
    return {
        "data": {"name": "rows"},
        "width": "container",
        "height": 190,
        "layer": [
            {
                "data": majority,
                "mark": {"type": "line", "style": "muted", "strokeDash": [4, 3], "strokeWidth": 1.4},
                "encoding": {"x": x, "y": y},
            },
            {
                "data": majority,
                "transform": [{"filter": f"datum.right === {n}"}],
                "mark": {"type": "text", "style": "muted", "align": "right", "dy": 14, "fontSize": SMALLEST},
                "encoding": {"x": x, "y": y, "text": {"value": "majority vote"}},
            },
            {"mark": {"type": "line", "strokeWidth": 1.6}, "encoding": {"x": x, "y": y, "color": marks["color"]}},
            {
                "mark": {"type": "point", "filled": True, "opacity": 1, "size": 60},
                "encoding": {"x": x, "y": y, **marks, "tooltip": tooltip},
            },
        ],
    }
