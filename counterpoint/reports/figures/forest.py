"""Differences between groups with their intervals: the figure that a paper shows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from counterpoint.analysis.comparison import in_points
from counterpoint.analysis.contrast import CONFIDENCE, at_confidence
from counterpoint.errors import counted
from counterpoint.experiments.compared import Compared, Difference
from counterpoint.reports.compared_table import difference_base, differences_shown, verdict_of
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.groups import SPLIT, labels

if TYPE_CHECKING:
    import polars as pl

AMOUNTS: Mapping[str, str] = {"peak": "at the peak", "kept": "at the end, over the base"}
MARKS: Mapping[str, str] = {AMOUNTS["peak"]: "triangle-up", AMOUNTS["kept"]: "square"}
"""Amount -> its shape: that of the peak and of the end, as in the map."""
MOST = 60
"""Rows of one figure; of more, those with the largest differences."""
_FARTHER = 1.25
"""Brackets are on the axis up to this many times the largest end of a 95 % interval."""
LINE = 14
"""The height of a line of a row's name."""
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


def forest(found: Compared) -> Figure | None:
    """The differences of the team and, with one pair of groups, of the roles; None if nothing is compared."""
    every = differences_shown(found)
    if not every:
        return None
    named = [(one, name) for one, name in zip(every, names_of(every), strict=True)]
    by_name = {name: 100 * one.found.shown[0] for one, name in reversed(named) if one.amount == "peak"}
    order = sorted(dict.fromkeys(name for _, name in named), key=lambda name: -by_name.get(name, 0.0))
    largest = set(sorted(order, key=lambda name: -abs(by_name.get(name, 0.0)))[:MOST])
    order = [name for name in order if name in largest]
    named_rows = labels(order)
    rows = [row(one, named_rows[name]) for one, name in named if name in largest]
    margin = 100 * found.margin
    domain = domain_of(rows, margin)
    return Figure(
        name="differences",
        title=_title(every),
        says=_says(found, every, len(by_name) - len(order)) + about_cut(rows, domain),
        spec=spec(list(named_rows.values()), domain, "points of accuracy", margin),
        data={"rows": frame(rows), "band": band(margin)},
        table=_table(every),
    )


def names_of(every: Sequence[Difference]) -> list[str]:
    """The name of each row: what tells it from the others, of cell, part and pair of groups."""
    parts = [(one.block, one.who, f"{one.found.one} - {one.found.other}") for one in every]
    varies = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    return [", ".join(part for part, is_told in zip(own, varies, strict=True) if is_told) or own[1] for own in parts]


def row(one: Difference, label: str) -> dict[str, Any]:
    """A difference in points, with its interval, the simultaneous one, and the smallest that would be found."""
    found = one.found
    value, low, high = (100 * part for part in found.shown)
    wide: tuple[float | None, float | None] = (None, None)
    if found.estimate is not None and found.over_seeds and found.comparisons > 1:
        simultaneous = at_confidence(found.estimate, 1 - (1 - CONFIDENCE) / found.comparisons)
        wide = 100 * max(-found.bound, simultaneous.low), 100 * min(found.bound, simultaneous.high)
    visible = found.visible
    return {
        "of": label,
        "amount": AMOUNTS[one.amount],
        "value": value,
        "low": low,
        "high": high,
        "wide_low": wide[0],
        "wide_high": wide[1],
        "visible": None if visible is None or visible > found.bound else 100 * visible,
        "verdict": found.verdict,
    }


def _title(every: Sequence[Difference]) -> str:
    pairs = {(one.found.one, one.found.other) for one in every}
    if len(pairs) > 1:
        return "Differences between groups"
    one, other = pairs.pop()
    return f"{one} minus {other}"


def _says(found: Compared, every: Sequence[Difference], left_out: int) -> str:
    ahead: dict[str, int] = {}
    for one in every:
        ahead[verdict_of(one)] = ahead.get(verdict_of(one), 0) + 1
    told = ", ".join(f"{count} {verdict}" for verdict, count in ahead.items())
    several = max(one.found.comparisons for one in every) > 1
    thin = "; the thin lines are simultaneous intervals, for all comparisons together" if several else ""
    rest = f" {counted(left_out, 'further row')}, with smaller differences, are in the table." if left_out else ""
    return (
        f"{_title(every)} in points of accuracy on test tasks: {difference_base(found)}. Of"
        f" {counted(len(every), 'comparison')}: {told}. Filled marks are ahead or alike, hollow ones cannot be told"
        f"{thin}; grey area: alike within {in_points(found.margin)}; grey brackets: the smallest true difference that"
        f" is found in 80 % of such studies.{rest}"
    )


def _table(every: Sequence[Difference]) -> "pl.DataFrame":
    import polars as pl

    rows = []
    for one, name in zip(every, names_of(every), strict=True):
        value, low, high = (100 * part for part in one.found.shown)
        visible = one.found.visible
        rows.append(
            {
                "of": name,
                "amount": AMOUNTS[one.amount],
                "points": f"{value:+z.1f}",
                "95 % interval": f"[{low:z.1f}, {high:z.1f}]",
                "verdict": verdict_of(one),
                "p, corrected": "-" if one.p_value is None else f"{one.p_value:.2g}",
                "smallest visible": "-" if visible is None or visible > one.found.bound else f"{100 * visible:.1f}",
                "seeds": min(one.found.seeds),
                "tasks": one.found.tasks,
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def frame(rows: Sequence[Mapping[str, Any]]) -> "pl.DataFrame":
    """The rows of a forest, with all columns even where none has a value."""
    import polars as pl

    numbers = dict.fromkeys(("value", "low", "high", "wide_low", "wide_high", "visible"), pl.Float64)
    return pl.DataFrame(list(rows), schema={"of": pl.String, "amount": pl.String, **numbers, "verdict": pl.String})


def band(margin: float) -> "pl.DataFrame":
    """The area within which differences count as alike, and no difference."""
    import polars as pl

    return pl.DataFrame({"from": [-margin], "to": [margin], "zero": [0.0]})


def domain_of(rows: Sequence[Mapping[str, Any]], margin: float) -> tuple[float, float]:
    """The ends of the axis, beyond every 95 % interval, and every bracket that is not much farther out than those.

    Other brackets and simultaneous intervals, which few seeds make as wide as all accuracies, are cut off.
    """
    ends = [-margin, margin, *(row[end] for row in rows for end in ("low", "high"))]
    farthest = _FARTHER * max(map(abs, ends))
    brackets = [row["visible"] for row in rows if row["visible"] is not None and row["visible"] <= farthest]
    ends += [sign * bracket for bracket in brackets for sign in (1, -1)]
    beyond = 0.06 * (max(ends) - min(ends)) or 1.0
    return min(ends) - beyond, max(ends) + beyond


def about_cut(rows: Sequence[Mapping[str, Any]], domain: tuple[float, float]) -> str:
    """The sentence of a caption about brackets that are farther out than the axis; empty if none is."""
    farthest = max((row["visible"] for row in rows if row["visible"] is not None), default=0.0)
    return " Brackets farther out than the axis are not drawn." if farthest > max(-domain[0], domain[1]) else ""


def spec(
    order: Sequence[str], domain: tuple[float, float], title: str, margin: float, amounts: Mapping[str, str] = MARKS
) -> dict[str, Any]:
    """A row per label, the amounts (with their shapes) one above the other, on one axis of points."""
    high = max((label.count("\n") for label in order), default=0)
    x = {"type": "quantitative", "title": title, "scale": {"domain": list(domain), "nice": False, "zero": False}}
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": {"step": max(16 * len(amounts), 4 + LINE * (1 + high)) + 4, "for": "position"},
        "layer": list(_layers(x, order, margin, amounts)),
    }


def _layers(
    x: Mapping[str, Any], names: Sequence[str], margin: float, amounts: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    axis = {"labelExpr": SPLIT, "labelLimit": 190, "domain": False, "ticks": False}
    y = {"field": "of", "type": "nominal", "sort": list(names), "title": None, "axis": axis}
    offset = {"field": "amount", "type": "nominal", "scale": {"domain": list(amounts)}}
    place = {"y": y, "yOffset": offset}

    def at(name: str) -> dict[str, Any]:
        return {**x, "field": name}

    def ends(low: str, high: str) -> dict[str, Any]:
        return {"x": at(low), "x2": {"field": high}, **place}

    edges = {"data": {"name": "band"}}
    if margin:
        yield {**edges, "mark": {"type": "rect", "style": "band"}, "encoding": {"x": at("from"), "x2": {"field": "to"}}}
    yield {**edges, "mark": {"type": "rule", "style": "muted"}, "encoding": {"x": at("zero")}}
    rows = {"data": {"name": "rows"}}
    yield {**rows, "mark": {"type": "rule", "strokeWidth": 1, "clip": True}, "encoding": ends("wide_low", "wide_high")}
    yield {**rows, "mark": {"type": "rule", "strokeWidth": 3}, "encoding": ends("low", "high")}
    for bracket, sign in (("[", "-"), ("]", "")):
        mark = {"type": "text", "text": bracket, "style": "muted", "fontSize": 12, "clip": True}
        calculated = {"calculate": f"{sign}datum.visible", "as": "edge"}
        known = {"filter": "isValid(datum.visible)"}
        yield {**rows, "transform": [known, calculated], "mark": mark, "encoding": {"x": at("edge"), **place}}
    shapes = {"domain": list(amounts), "range": list(amounts.values())}
    legend = {"orient": "top", "title": None, "columns": 1} if len(amounts) > 1 else None
    shape = {"field": "amount", "type": "nominal", "scale": shapes, "legend": legend}
    mark = {"type": "point", "filled": True, "opacity": 1}
    point = {"x": at("value"), **place, "shape": shape}
    yield {**rows, "mark": {**mark, "size": 72, "style": "ink"}, "encoding": point}
    hollow = {"filter": "datum.verdict === 'cannot tell'"}
    yield {**rows, "transform": [hollow], "mark": {**mark, "size": 26, "style": "background"}, "encoding": point}
