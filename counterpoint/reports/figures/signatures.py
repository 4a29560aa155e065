"""The failure signatures of a study: how many runs of each cell show each of them."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from counterpoint.errors import counted
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import SCHEMA
from counterpoint.reports.figures.groups import SPLIT, labels
from counterpoint.reports.seen import CellSeen

_STEP = 24
"""The height of a cell's row."""


def signatures(cells: Sequence[CellSeen]) -> Figure | None:
    """Cells with the number of runs that show a signature; None if no finished run shows any."""
    counts = signature_counts(cells)
    if counts.is_empty():
        return None
    names = list(dict.fromkeys(counts.sort("signature")["signature"]))
    runs = sum(len(cell.finished) for cell in cells)
    most = counts.group_by("signature").agg(pl.col("runs").sum()).sort("runs", "signature", descending=[True, False])
    told = ", ".join(f"{name} {count}" for name, count in most.head(4).iter_rows())
    cell_labels = labels(counts["cell"])
    rows = counts.filter(pl.col("runs") > 0).with_columns(
        pl.col("cell").replace_strict(cell_labels, return_dtype=pl.String),
        (pl.col("runs") / pl.col("of")).alias("share"),
        (pl.col("runs").cast(pl.String) + "/" + pl.col("of").cast(pl.String)).alias("count"),
    )
    order = list(cell_labels.values())
    return Figure(
        name="signatures",
        title="Failure signatures",
        says=(
            f"The number of finished runs of each cell that show a signature, of all its seeds: {counted(runs, 'run')} in"
            f" {counted(len(order), 'cell')}. Most often: {told}. These are counts of runs, without intervals; a cell that"
            " is empty shows none."
        ),
        spec=_spec(order, names),
        data={"rows": rows},
        table=signature_table(counts),
    )


def signature_counts(cells: Sequence[CellSeen]) -> pl.DataFrame:
    """cell, signature, runs (with the signature), of (finished runs): for every signature that any run shows."""
    known = [(cell, [{one.split(": ", 1)[0] for one in run.record.signatures} for run in cell.finished]) for cell in cells]
    names = sorted({name for _, found in known for own in found for name in own})
    rows = [
        (cell.name, name, sum(name in own for own in found), len(found)) for cell, found in known if found for name in names
    ]
    schema = {"cell": pl.String, "signature": pl.String, "runs": pl.Int64, "of": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def signature_table(counts: pl.DataFrame) -> pl.DataFrame:
    """A row per cell and a column per signature with the number of runs, empty where there is none."""
    some = counts.with_columns(pl.when(pl.col("runs") > 0).then(pl.col("runs").cast(pl.String)).otherwise(pl.lit("")))
    wide = some.pivot("signature", index=["cell", "of"], values="runs", maintain_order=True)
    return wide.rename({"of": "runs"})


def _spec(order: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    upright = {"labelExpr": SPLIT, "labelLimit": 190, "domain": False, "ticks": False}
    y = {"field": "cell", "type": "nominal", "title": None, "scale": {"domain": list(order), "padding": 0.06}, "axis": upright}
    slanted = {"orient": "top", "labelAngle": -40, "labelLimit": 170, "labelAlign": "left", "domain": False}
    x = {"field": "signature", "type": "nominal", "title": None, "scale": {"domain": list(names), "padding": 0.02}}
    x["axis"] = {**slanted, "ticks": False, "labelBaseline": "bottom"}
    opacity = {
        "field": "share",
        "type": "quantitative",
        "legend": None,
        "scale": {"domain": [0, 1], "range": [0.04, 0.45]},
    }
    high = max(name.count("\n") for name in order)
    return {
        "$schema": SCHEMA,
        "data": {"name": "rows"},
        "width": "container",
        "height": {"step": _STEP + 14 * high},
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": {"type": "rect", "style": "ink"}, "encoding": {"opacity": opacity}},
            {"mark": {"type": "text"}, "encoding": {"text": {"field": "count"}}},
        ],
    }
