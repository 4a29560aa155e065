"""How the gradients of the roles of a policy point to each other."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoint.reports import frames
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.drawn_lines import Subject, drawn
from counterpoint.reports.figures.recorded import Recorded, listed
from counterpoint.reports.looks import DIVERGING_RANGE, SMALLEST

if TYPE_CHECKING:
    import polars as pl

MOST_LINES = 3
"""The most pairs that are lines; more are a map."""
_WITH_NUMBERS = 9
"""The most roles of a map whose cells hold their numbers."""
_CELL = 22
_AROUND = 0.1
"""The part of a run's steps that is averaged around its start, its peak and its end."""


def cosines(recorded: Recorded) -> Figure | None:
    """Lines around 0 for up to three pairs, above that a map of roles at start, peak and end; None without a pair."""
    found = frames.cosines(recorded.cell)
    if found.is_empty():
        return None
    pairs = found.select("policy", "one", "other").unique()
    return _lines(recorded, found) if len(pairs) <= MOST_LINES else _map(recorded, found)


_SAYS = (
    "The cosine of the angle between the gradients of two roles of one policy: below 0 they pull its weights in"
    " opposite directions."
)


def _lines(recorded: Recorded, found: "pl.DataFrame") -> Figure | None:
    import polars as pl

    who = pl.format("{} + {}", "one", "other")
    if found["policy"].n_unique() > 1:
        who = pl.format("{} + {} ({})", "one", "other", "policy")
    subject = Subject(
        name="cosines", title="Cosine between roles", says=_SAYS, axis="cosine", words="{:.2f}", zero=True
    )
    pairs = Recorded(cell=recorded.cell, roles=(), compared=())
    return drawn(pairs, found.select("seed", "step", who.alias("who"), "value"), subject)


def _map(recorded: Recorded, found: "pl.DataFrame") -> Figure:
    """Roles against roles: the means around start, peak and end of each seed, over seeds."""
    import polars as pl

    moments = _moments(recorded, found)
    roles = recorded.ordered([*found["one"].to_list(), *found["other"].to_list()])
    place = {role: number for number, role in enumerate(roles)}
    rows = [
        (moment, *sorted((one, other), key=place.__getitem__), value)
        for moment, own in moments.items()
        for one, other, value in own.group_by("one", "other", maintain_order=True)
        .agg(pl.col("value").mean())
        .sort("one", "other")
        .iter_rows()
    ]
    frame = pl.DataFrame(rows, schema={"moment": str, "one": str, "other": str, "value": float}, orient="row")
    means = {moment: f"{own['value'].mean():.2f}" for moment, own in moments.items()}
    return Figure(
        name=recorded.name("cosines"),
        title="Cosines between roles",
        says=f"{_SAYS} Means over all pairs: {listed(means)}. {recorded.seeds} A moment is the mean over a tenth of"
        " the steps.",
        spec=_heat(tuple(roles), tuple(moments)),
        data={"rows": frame.with_columns(row=pl.format("{} · {}", "moment", "other"))},
        table=frame,
    )


def _moments(recorded: Recorded, found: "pl.DataFrame") -> dict[str, "pl.DataFrame"]:
    """start, peak and end -> the numbers of the steps around them; without a peak, start and end."""
    import polars as pl

    parts: dict[str, list[pl.DataFrame]] = {"start": [], "peak": [], "end": []}
    for run in recorded.cell.runs:
        own = found.filter(seed=run.record.seed)
        if own.is_empty():
            continue
        first, last = int(own["step"].min()), int(own["step"].max())  # type: ignore[arg-type]
        reach = max(1, round(_AROUND * (last - first + 1)))
        parts["start"].append(own.filter(pl.col("step") < first + reach))
        parts["end"].append(own.filter(pl.col("step") > last - reach))
        if run.record.peak_step is not None:
            distance = (pl.col("step") - run.record.peak_step).abs()
            parts["peak"].append(own.filter(distance <= max(distance.min(), reach // 2)))  # type: ignore[type-var]
    return {moment: pl.concat(own) for moment, own in parts.items() if own}


@cache
def _heat(roles: tuple[str, ...], moments: tuple[str, ...]) -> Mapping[str, Any]:
    """The specification; below each moment, one row for every role but the first."""
    places = [f"{moment} · {role}" for moment in moments for role in roles[1:]]
    encoding = {
        "x": {
            "field": "one",
            "type": "nominal",
            "title": None,
            "sort": list(roles[:-1]),
            "scale": {"domain": list(roles[:-1]), "paddingInner": 0.04},
            "axis": {"orient": "top", "ticks": False, "domain": False, "labelAngle": -40, "labelLimit": 90},
        },
        "y": {
            "field": "row",
            "type": "nominal",
            "title": None,
            "scale": {"domain": places, "paddingInner": 0.06},
            "axis": {"ticks": False, "domain": False, "labelLimit": 150},
        },
    }
    fill = {
        "field": "value",
        "type": "quantitative",
        "scale": {"domain": [-1, 0, 1], "range": DIVERGING_RANGE},
        "legend": {"title": "cosine", "orient": "bottom", "gradientLength": 140, "values": [-1, 0, 1]},
    }
    tooltip = [{"field": "moment"}, {"field": "one"}, {"field": "other"}, {"field": "value", "format": ".2f"}]
    layers: list[dict[str, Any]] = [
        {"mark": {"type": "rect"}, "encoding": {**encoding, "color": fill, "tooltip": tooltip}}
    ]
    if len(roles) <= _WITH_NUMBERS:
        text = {"type": "text", "fontSize": SMALLEST}
        layers.append({"mark": text, "encoding": {**encoding, "text": {"field": "value", "format": ".2f"}}})
    return {"data": {"name": "rows"}, "width": "container", "height": _CELL * len(places), "layer": layers}
