"""Figures of runs before a fall: the marks of each run on its steps, and diagnostics beside runs that held."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from counterpoint.errors import counted
from counterpoint.experiments.groups import printable
from counterpoint.reports.before_falls import WINDOW, Difference, aligned, differences, marks
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import SCHEMA
from counterpoint.reports.figures.groups import SPLIT, labels
from counterpoint.reports.looks import GROUP_RANGE, SHAPES
from counterpoint.reports.seen import Gathered

MOST = 40
"""Runs of one figure: those that fell, then the first of those that held."""
SPANS = ("amplification", "persistence", "capture")
"""Marks that last, each on a line of its own."""
MOMENTS: Mapping[str, str] = {
    "warning": "diamond",
    "peak": "triangle-up",
    "onset": "cross",
    "stopped": "square",
    "end": "stroke",
}
"""Marks of one step -> their shape."""
_ROW = 30
_WIDTH, _HEIGHT = 270, 110
"""The size of the panel of a diagnostic."""
_SIDES = ("fell", "held")


def fall_marks(gathered: Gathered) -> Figure | None:
    """A strip per run, those that fell first; None unless a run fell."""
    found = marks(gathered)
    runs = found.select("cell", "run", "seed", "fell", "steps").unique(maintain_order=True)
    falls = runs.filter(fell="fell").height
    if not falls:
        return None
    ordered = runs.sort(pl.col("fell") != "fell", maintain_order=True)
    drawn = ordered.head(MOST)
    names = labels(_name(*row) for row in drawn.select("run", "fell").iter_rows())
    by_run = {row[0]: names[_name(*row)] for row in drawn.select("run", "fell").iter_rows()}
    rows = found.filter(pl.col("run").is_in(list(by_run))).with_columns(
        pl.col("run").replace_strict(by_run, return_dtype=pl.String).alias("of"),
        pl.col("where").map_elements(printable, return_dtype=pl.String),
    )
    left_out = runs.height - drawn.height
    more = f" {counted(left_out, 'further run')} are not drawn." if left_out else ""
    return Figure(
        name="fall-marks",
        title="What happened in each run, step by step",
        says=(
            f"{counted(falls, 'run')} that fell, of {counted(runs.height, 'finished run')}, above the others. Bars: the"
            " steps in which parallel calls pushed alike (amplification), in one direction (persistence), and in which"
            f" one role captured the shared policy. The onset is the first evaluation of the fall. One row is one run:"
            f" there are no intervals.{more}"
        ),
        spec=_strips(list(names.values()), set(rows["kind"])),
        data={"rows": rows.select("of", "kind", "where", "step", "until")},
        table=found.select("cell", "run", "seed", "fell", "kind", "where", "step", "until"),
    )


def fall_diagnostics(gathered: Gathered) -> Figure | None:
    """The mean of each diagnostic at each step from the onset, beside runs that held at the same steps.

    None where no fall can be compared with a run of the same workflow, sharing and labels that held.
    """
    found = aligned(gathered)
    if found.is_empty():
        return None
    names = list(dict.fromkeys(found["diagnostic"]))
    before = differences(gathered)
    rows = pl.concat(
        [
            found.select("diagnostic", "offset", pl.lit(side).alias("side"), pl.col(side).alias("value"))
            for side in _SIDES
        ]
    )
    return Figure(
        name="fall-diagnostics",
        title="Diagnostics before a fall, beside runs that held",
        says=(
            f"Means over runs at each step from the onset of the fall: {_counts(found)}. The lines have no intervals;"
            f" the test is over runs, of the {WINDOW} steps up to the last evaluation before the fall."
            f" {_different(before)}"
        ),
        spec=_panels(names),
        data={"rows": rows.filter(pl.col("value").is_not_null())},
        table=_table(before) if before else None,
    )


def _name(run: str, fell: str | None) -> str:
    return f"{run}, {fell or 'cannot tell'}"


def _counts(found: pl.DataFrame) -> str:
    falls, holds = (int(found[name].max() or 0) for name in ("falls", "holds"))  # type: ignore[arg-type]
    return f"up to {counted(falls, 'run')} that fell and {holds} that held, of the same workflow, sharing and labels"


def _different(before: Sequence[Difference]) -> str:
    """The diagnostics with a verdict."""
    if not before:
        return "No run has an evaluation between its start and its fall: there is nothing to test."
    if all(one.p_value is None for one in before):
        return "None could be tested: two runs of one cell must have fallen, and two of one held."
    told = [f"{one.diagnostic} ({one.verdict})" for one in before if one.verdict != "cannot tell"]
    after = "after Holm's correction for all diagnostics"
    return f"Different before falls, {after}: {', '.join(told)}." if told else f"None can be told to differ, {after}."


def _table(before: Sequence[Difference]) -> pl.DataFrame:
    rows = []
    for one in before:
        value = one.found
        known = value.low is not None and value.high is not None
        rows.append(
            {
                "diagnostic": one.diagnostic,
                "before a fall": f"{value.fell:.3g}",
                "held": f"{value.held:.3g}",
                "difference": f"{value.value:+.3g}",
                "95 % interval": f"[{value.low:.3g}, {value.high:.3g}]" if known else "-",
                "p, corrected": "-" if one.p_value is None else f"{one.p_value:.2g}",
                "before falls it is": one.verdict,
                "falls": value.falls,
                "held, runs": value.holds,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _strips(order: Sequence[str], kinds: set[str]) -> dict[str, Any]:
    spans = [kind for kind in SPANS if kind in kinds]
    moments = [kind for kind in MOMENTS if kind in kinds]
    axis = {"labelExpr": SPLIT, "labelLimit": 190, "domain": False, "ticks": False, "grid": True}
    y = {"field": "of", "type": "nominal", "sort": list(order), "title": None, "axis": axis}
    x: dict[str, Any] = {"type": "quantitative", "title": "training step", "axis": {"tickMinStep": 1, "grid": False}}
    hue = {"domain": [*SHAPES, *SPANS], "range": GROUP_RANGE}
    legend: dict[str, Any] = {"title": None, "orient": "top"}
    tells = {"tooltip": [{"field": name} for name in ("kind", "where", "step", "until")]}
    bars: dict[str, Any] = {
        "transform": [{"filter": {"field": "kind", "oneOf": list(SPANS)}}],
        "mark": {"type": "bar", "height": 5},
        "encoding": {
            "x": {**x, "field": "step"},
            "x2": {"field": "until"},
            "yOffset": {"field": "kind", "type": "nominal", "scale": {"domain": list(SPANS)}},
            "color": {
                "field": "kind",
                "type": "nominal",
                "scale": hue,
                "legend": {**legend, "columns": 1, "values": spans},
            },
            **tells,
        },
    }
    shapes = {"domain": list(MOMENTS), "range": list(MOMENTS.values())}
    point: dict[str, Any] = {"type": "point", "size": 64, "opacity": 1, "strokeWidth": 1.6, "style": "ink"}
    points: dict[str, Any] = {
        "transform": [{"filter": {"field": "kind", "oneOf": list(MOMENTS)}}],
        "mark": point,
        "encoding": {
            "x": {**x, "field": "step"},
            "shape": {
                "field": "kind",
                "type": "nominal",
                "scale": shapes,
                "legend": {**legend, "columns": 2, "values": moments},
            },
            **tells,
        },
    }
    high = max(label.count("\n") for label in order)
    return {
        "$schema": SCHEMA,
        "data": {"name": "rows"},
        "width": "container",
        "height": {"step": max(_ROW, 14 * (1 + high) + 4), "for": "position"},
        "encoding": {"y": y},
        "layer": [*([bars] if spans else []), points],
    }


def _panels(names: Sequence[str]) -> dict[str, Any]:
    x = {"field": "offset", "type": "quantitative", "title": "steps from the onset", "axis": {"grid": False}}
    y = {"field": "value", "type": "quantitative", "title": None, "axis": {"tickCount": 4}, "scale": {"zero": False}}
    styles = {"held": [5, 3], "fell": [1, 0]}
    dash = {"domain": list(styles), "range": list(styles.values())}
    hue = {"domain": list(styles), "range": GROUP_RANGE}
    lines = {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {
            "x": x,
            "y": y,
            "strokeDash": {
                "field": "side",
                "type": "nominal",
                "scale": dash,
                "legend": {"title": None, "orient": "top"},
            },
            "color": {"field": "side", "type": "nominal", "scale": hue, "legend": {"title": None, "orient": "top"}},
        },
    }
    onset = {"mark": {"type": "rule", "style": "muted", "strokeDash": [2, 2]}, "encoding": {"x": {"datum": 0}}}
    facet = {"field": "diagnostic", "type": "nominal", "title": None, "sort": list(names)}
    return {
        "$schema": SCHEMA,
        "data": {"name": "rows"},
        "facet": {**facet, "header": {"labelAnchor": "start", "labelFontWeight": "bold"}},
        "columns": 2,
        "spacing": 18,
        "spec": {"width": _WIDTH, "height": _HEIGHT, "layer": [onset, lines]},
        "resolve": {"scale": {"y": "independent", "x": "shared"}},
    }
