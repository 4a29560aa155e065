"""Amplification against the number of parallel calls: a dot per measured step, and what independent calls give."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoint.reports import frames
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.lines import framed, quiet_axis
from counterpoint.reports.figures.recorded import named
from counterpoint.reports.looks import SHAPES, SHARING_RANGE, SMALLEST
from counterpoint.reports.seen import CellSeen, Seen

if TYPE_CHECKING:
    import polars as pl

_POINTS = 41


def against_calls(cells: Sequence[CellSeen], roles: Sequence[str]) -> Iterator[Figure]:
    """A figure per role whose amplification was measured in some cell.

    A cell in which the role makes one call has amplification 1, by definition.
    """
    import polars as pl

    found = pl.concat([_measured(cell) for cell in cells])
    for role in roles:
        own = found.filter(role=role)
        if own["step"].max():
            yield _of(role, own)


def _measured(cell: CellSeen) -> "pl.DataFrame":
    """role, sharing, n, step, value; of a role with one call, one row at step 0."""
    import polars as pl

    sharing = pl.DataFrame(
        {"seed": [run.record.seed for run in cell.runs], "sharing": [_sharing(run) for run in cell.runs]}
    )
    several = (
        frames.gradients(cell)
        .filter(pl.col("amplification").is_not_null() & (pl.col("coherence") > 0))
        .with_columns(n=(pl.col("amplification") / pl.col("coherence")).round().cast(int), value="amplification")
    )
    calls = frames.series(cell, r"^role/(?P<role>[^/]+)/calls$")
    alone = calls.group_by("seed", "role").agg(pl.col("value").min(), pl.col("value").max().alias("most"))
    alone = alone.filter((pl.col("value") == 1) & (pl.col("most") == 1)).with_columns(n=pl.lit(1), step=pl.lit(0))
    columns = ["role", "sharing", pl.col("n").cast(int), pl.col("step").cast(int), pl.col("value").cast(float)]
    return pl.concat([frame.join(sharing, on="seed").select(columns) for frame in (several, alone)])


def _sharing(run: Seen) -> str:
    return run.record.sharing if run.record.sharing in SHAPES else "another routing"


def _of(role: str, own: "pl.DataFrame") -> Figure:
    import polars as pl

    most = own["n"].max()
    assert isinstance(most, int)
    means = own.group_by("n", "sharing").agg(pl.col("value").mean()).sort("n", "sharing")
    told = "; ".join(f"{n} calls, {sharing}: {value:.2f}" for n, sharing, value in means.iter_rows())
    return Figure(
        name=named("amplification", role),
        title=f"Amplification of {role} by its parallel calls",
        says=f"The norm of the sum of the gradients of n parallel calls, in units of one. Means: {told}.",
        spec=_spec(most),
        data={"rows": own, "bounds": _bounds(most)},
    )


def _bounds(most: int) -> "pl.DataFrame":
    import polars as pl

    places = [1 + place * (most - 1) / (_POINTS - 1) for place in range(_POINTS)]
    curves = {"n": [*places], "√n": [place**0.5 for place in places]}
    return pl.DataFrame(
        [(limit, place, value) for limit, values in curves.items() for place, value in zip(places, values, strict=True)],
        schema={"limit": str, "n": float, "value": float},
        orient="row",
    )


@cache
def _spec(most: int) -> Mapping[str, Any]:
    x = {
        "field": "n",
        "type": "quantitative",
        "title": "parallel calls",
        "scale": {"domain": [1, max(2, most)], "nice": False, "padding": 12},
        "axis": {"grid": False, "values": list(range(1, most + 1)), "format": "d", "labelOverlap": True},
    }
    y = {
        "field": "value",
        "type": "quantitative",
        "title": "amplification, calls",
        "scale": {"domainMin": 0},
        "axis": quiet_axis(),
    }
    domain = list(SHAPES)
    who = {"field": "sharing", "type": "nominal", "legend": {"title": None, "orient": "top", "symbolSize": 60}}
    marks = {
        "color": {**who, "scale": {"domain": domain, "range": SHARING_RANGE}},
        "shape": {**who, "scale": {"domain": domain, "range": list(SHAPES.values())}},
    }
    bounds = {"name": "bounds"}
    tooltip = [{"field": "sharing"}, {"field": "n"}, {"field": "step"}, {"field": "value", "format": ".2f"}]
    return framed(
        [
            {
                "data": bounds,
                "mark": {"type": "line", "style": "muted", "strokeWidth": 1},
                "encoding": {"x": x, "y": y, "detail": {"field": "limit"}},
            },
            {
                "data": bounds,
                "transform": [{"filter": f"datum.n === {most}"}],
                "mark": {"type": "text", "style": "muted", "align": "left", "dx": 16, "fontSize": SMALLEST},
                "encoding": {"x": x, "y": y, "text": {"field": "limit"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 40, "opacity": 0.7},
                "encoding": {"x": x, "y": y, **marks, "tooltip": tooltip},
            },
        ]
    )
