"""Lines over training steps, one per role, policy or run: the mean over seeds and, behind it, least to most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from typing import TYPE_CHECKING, Any

from counterpoint.reports.looks import PALETTES, ROLE_RANGE, SMALLEST, dash

if TYPE_CHECKING:
    import polars as pl

HEIGHT = 190
LABELLED = 4
"""The most lines that have their names at their ends; more have a legend."""
LONGEST = 16
"""The longest name at the end of a line, in characters."""
_LEAST_GAP = 13.0
"""Between two names at the ends of lines, in pixels."""
STEP = {
    "field": "step",
    "type": "quantitative",
    "title": "training step",
    "axis": {
        "grid": False,
        "labelExpr": "datum.value % 1 ? '' : datum.label",
        "format": "d",
        "labelOverlap": True,
        "tickCount": 6,
    },
    "scale": {"nice": False, "zero": False, "padding": 4},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """All that decides the specification of lines: figures with equal ones share it."""

    names: tuple[str, ...]
    """Every name that has a colour, in the order of colours."""
    shown: tuple[str, ...]
    """Those with a line."""
    title: str
    """The title of the axis of values."""
    form: str = ""
    """The format of values, of d3; empty for its own choice."""
    least: float | None = None
    """The end of the axis, if it is fixed."""
    most: float | None = None
    zero: bool = False
    """True for a line at 0, and an axis that has it."""
    logarithmic: bool = False
    banded: bool = False
    """True if rows have `low` and `high`."""
    dotted: bool = False
    """True if each value has a dot: few values, or some far apart."""

    @property
    def labelled(self) -> bool:
        """True if names stand at the ends of lines."""
        return len(self.shown) <= LABELLED and all(len(name) <= LONGEST for name in self.shown)


@cache
def lines(of: Lines) -> Mapping[str, Any]:
    """The specification, whose data are `rows` (who, step, value, low, high) and `ends` (who, step, value, place)."""
    y = {**value_axis(of), "field": "value"}
    tooltip = [{"field": "who", "title": "of"}, {"field": "step"}, {"field": "value", "format": ".4~g"}]
    shared = {"x": STEP, "color": colour(of.names, of.shown, legend=not of.labelled)}
    layers: list[dict[str, Any]] = []
    if of.zero:
        layers.append({"mark": {"type": "rule", "style": "muted"}, "encoding": {"y": {"datum": 0}}})
    if of.banded:
        band = {**shared, "y": {**y, "field": "low"}, "y2": {"field": "high"}}
        layers.append({"mark": {"type": "area", "opacity": 0.16, "line": False}, "encoding": band})
    mark: dict[str, Any] = {"type": "line", "strokeWidth": 2, "strokeCap": "round", "strokeJoin": "round"}
    if of.dotted:
        mark["point"] = {"size": 22, "filled": True, "opacity": 1}
    encoding = {**shared, "y": y, "tooltip": tooltip, **dashes(of.names, of.shown, legend=not of.labelled)}
    layers.append({"mark": mark, "encoding": encoding})
    if of.labelled:
        layers.append(end_labels(y))
    return framed(layers)


def framed(layers: Sequence[Mapping[str, Any]], height: int = HEIGHT) -> dict[str, Any]:
    """The specification of these layers, as wide as its place."""
    return {"data": {"name": "rows"}, "width": "container", "height": height, "layer": list(layers)}


def value_axis(of: Lines) -> dict[str, Any]:
    """The axis of values."""
    scale: dict[str, Any] = {"zero": of.zero}
    if of.logarithmic:
        scale = {"type": "log", "nice": False}
    if of.least is not None:
        scale["domainMin"] = of.least
    if of.most is not None:
        scale["domainMax"] = of.most
    return {"type": "quantitative", "title": of.title, "scale": scale, "axis": quiet_axis(of.form)}


def quiet_axis(form: str = "") -> dict[str, Any]:
    """An axis of values that is but its grid and its labels."""
    axis = {"domain": False, "ticks": False, "tickCount": 5, "labelPadding": 6}
    return {**axis, "format": form} if form else axis


def colour(names: Sequence[str], shown: Sequence[str], *, legend: bool, field: str = "who") -> dict[str, Any]:
    """The colour of a name, the same in every figure of a page."""
    scale = {"domain": list(names), "range": ROLE_RANGE}
    return {"field": field, "type": "nominal", "scale": scale, "legend": legend_of(shown) if legend else None}


def dashes(names: Sequence[str], shown: Sequence[str], *, legend: bool) -> dict[str, Any]:
    """The pattern of lines, if there are more names than colours."""
    if len(names) <= len(PALETTES["light"].roles):
        return {}
    scale = {"domain": list(names), "range": [dash(place) for place in range(len(names))]}
    return {
        "strokeDash": {
            "field": "who",
            "type": "nominal",
            "scale": scale,
            "legend": legend_of(shown) if legend else None,
        }
    }


def legend_of(shown: Sequence[str]) -> dict[str, Any]:
    """The names of lines above a figure, in columns."""
    longest = max(map(len, shown), default=0)
    return {
        "title": None,
        "orient": "top",
        "values": list(shown),
        "columns": 3 if longest <= 10 else 2 if longest <= 18 else 1,
        "symbolType": "stroke",
        "symbolStrokeWidth": 2.5,
        "symbolOpacity": 1,
        "symbolSize": 220,
        "labelLimit": 240,
    }


def end_labels(y: Mapping[str, Any]) -> dict[str, Any]:
    """The names at the ends of lines."""
    return {
        "data": {"name": "ends"},
        "mark": {"type": "text", "align": "left", "dx": 7, "fontSize": SMALLEST},
        "encoding": {"x": STEP, "y": {**y, "field": "place"}, "text": {"field": "who"}},
    }


def ends(rows: "pl.DataFrame", of: Lines) -> "pl.DataFrame":
    """who, step, value, place: the ends of lines, and the heights at which their names do not cover each other.

    `rows` has who, step, value and, where more than lines is drawn, low and high.
    """
    import polars as pl

    last = rows.sort("step").group_by("who", maintain_order=True).last().select("who", "value").sort("value", "who")
    if last.is_empty() or not of.labelled:
        return last.with_columns(step=pl.lit(0), place="value").clear()
    columns = [column for column in ("value", "low", "high") if column in rows.columns]
    values = [value for column in columns for value in rows[column].drop_nulls().to_list()]
    low = min(values) if of.least is None else of.least
    high = max(values) if of.most is None else of.most
    if of.zero:
        low, high = min(low, 0.0), max(high, 0.0)
    places = apart(last["value"].to_list(), low, high, logarithmic=of.logarithmic)
    return last.with_columns(step=pl.lit(rows["step"].max()), place=pl.Series(places, dtype=pl.Float64))


def apart(
    values: Sequence[float], low: float, high: float, *, logarithmic: bool = False, height: int = HEIGHT
) -> list[float]:
    """Ascending values moved as far apart as names need between the ends of an axis."""
    if logarithmic:
        from math import exp

        return [exp(one) for one in apart([log(value) for value in values], log(low), log(high))]
    gap = min(_LEAST_GAP / height, 1.0 / max(1, len(values))) * (high - low)
    placed: list[float] = []
    for value in values:
        placed.append(value if not placed else max(value, placed[-1] + gap))
    over = placed[-1] - high
    if over > 0:
        ceiling = high
        for place in range(len(placed) - 1, -1, -1):
            placed[place] = min(placed[place], ceiling)
            ceiling = placed[place] - gap
    return placed
