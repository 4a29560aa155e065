"""What becomes of right and wrong: of tasks between base, peak and end, and of first answers in an episode."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoint.analysis.changes import CHANGES
from counterpoint.reports import frames
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.recorded import Recorded, counting, percent
from counterpoint.reports.looks import CHANGE_RANGE, SMALLEST
from counterpoint.reports.seen import CellSeen

if TYPE_CHECKING:
    import polars as pl

BETWEEN = ("base → peak", "peak → end")
_ROW = 34
_LEAST_TEXT = 0.07
"""The smallest share whose number fits into its part of a bar."""
_NAMES = {"base": "base", "peak": "peak", "terminal": "end"}


def transitions(recorded: Recorded) -> Figure | None:
    """Tasks kept right, recovered, spoiled and kept wrong from base to peak and to the end; None before a run ends."""
    import polars as pl

    found = frames.transitions(_counted(recorded.cell))
    if found.is_empty():
        return None
    named = pl.format(
        "{} → {}", *(pl.col(column).replace(_NAMES) for column in ("before", "after"))
    )
    rows = _bars(found.with_columns(row=named).filter(pl.col("row").is_in(BETWEEN)), BETWEEN)
    return Figure(
        name=recorded.name("transitions"),
        title="Test problems that became right or wrong",
        says=f"{_in_words(rows, BETWEEN)} Of problems with several episodes, the least part that must have changed."
        f" {_seeds(found)}",
        spec=_stacked(BETWEEN),
        data={"rows": rows},
        table=rows.select("row", "change", "share"),
    )


def first_answers(recorded: Recorded) -> Figure | None:
    """What the team made of the first answer of an episode at base, peak and end; None where it was not recorded."""
    import polars as pl

    found = frames.first_to_team(_counted(recorded.cell))
    if found.is_empty() or found.filter(pl.col("change").is_in(["recovered", "spoiled"]))["share"].sum() == 0.0:
        return None
    order = [_NAMES[one] for one in _NAMES if one in set(found["milestone"].to_list())]
    rows = _bars(found.with_columns(row=pl.col("milestone").replace(_NAMES)), order)
    return Figure(
        name=recorded.name("first-answers"),
        title="From the first answer to the team's",
        says="Test episodes by their first answer and the team's: recovered if only the team's is right, spoiled if"
        f" only the first is. {_in_words(rows, order)} {_seeds(found)}",
        spec=_stacked(tuple(order)),
        data={"rows": rows},
        table=rows.select("row", "change", "share"),
    )


def _counted(cell: CellSeen) -> CellSeen:
    """The cell with the finished runs whose end counts."""
    return CellSeen(name=cell.name, labels=cell.labels, runs=counting(cell), control=cell.control)


def _bars(found: "pl.DataFrame", order: Sequence[str]) -> "pl.DataFrame":
    """row, change, share, start, end, middle, words: the parts of every bar, with means over seeds."""
    import polars as pl

    means = found.group_by("row", "change").agg(pl.col("share").mean())
    rows = []
    for row in order:
        own = dict(means.filter(row=row)["change", "share"].iter_rows())
        start = 0.0
        for change in CHANGES:
            share = own.get(change, 0.0)
            words = f"{100 * share:.0f} %" if share >= _LEAST_TEXT else ""
            rows.append((row, change, share, start, start + share, start + share / 2, words))
            start += share
    numbers = ("share", "start", "end", "middle")
    schema = {"row": str, "change": str, **dict.fromkeys(numbers, float), "words": str}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _in_words(rows: "pl.DataFrame", order: Sequence[str]) -> str:
    told = []
    for row in order:
        own = dict(rows.filter(row=row)["change", "share"].iter_rows())
        told.append(f"{row}: {', '.join(f'{percent(own[change])} {change}' for change in CHANGES)}.")
    return " ".join(told)


def _seeds(found: "pl.DataFrame") -> str:
    count = found["seed"].n_unique()
    return "One run." if count == 1 else f"Means over {count} seeds."


@cache
def _stacked(order: tuple[str, ...]) -> Mapping[str, Any]:
    y = {
        "field": "row",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(order), "paddingInner": 0.3},
        "axis": {"ticks": False, "domain": False, "labelPadding": 8},
    }
    axis = {"format": "%", "tickCount": 5, "grid": False}
    x = {"field": "start", "type": "quantitative", "title": None, "axis": axis, "scale": {"domain": [0, 1], "nice": False}}
    colours = {
        "field": "change",
        "type": "nominal",
        "scale": {"domain": list(CHANGES), "range": CHANGE_RANGE},
        "legend": {"title": None, "orient": "top", "symbolType": "square", "columns": 2, "symbolStrokeWidth": 0},
    }
    tooltip = [{"field": "row", "title": "from"}, {"field": "change"}, {"field": "share", "format": ".1%"}]
    bars = {"type": "bar", "strokeWidth": 0}
    return {
        "data": {"name": "rows"},
        "width": "container",
        "height": _ROW * len(order),
        "layer": [
            {"mark": bars, "encoding": {"x": x, "x2": {"field": "end"}, "y": y, "color": colours, "tooltip": tooltip}},
            {
                "mark": {"type": "text", "fontSize": SMALLEST},
                "encoding": {"x": {**x, "field": "middle"}, "y": y, "text": {"field": "words"}},
            },
        ],
    }
