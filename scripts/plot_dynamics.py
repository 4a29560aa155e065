#!/usr/bin/env python
"""Draw the role dynamics of runs side by side, one column per run: share, cosines, persistence, amplification.

    python scripts/plot_dynamics.py picture.svg RUN RUN ...

Needs altair and vl-convert-python (in the `dev` extra). The picture is made from the run directories alone.
"""

import re
import sys
from pathlib import Path

import altair as alt
import polars as pl

from counterpoint.run import Run

ROWS = {
    "share": (r"role/([\w-]+)/gradient_share", "share of gradient norm", [0.0, 1.0]),
    "cosine": (r"gradient/[\w-]+/([\w-]+\+[\w-]+)/cosine", "cosine between roles", [-0.5, 0.5]),
    "persistence": (r"gradient/[\w-]+/([\w-]+)/persistence", "persistence", [-0.5, 1.0]),
    "amplification": (r"gradient/[\w-]+/([\w-]+)/amplification", "amplification, slots", [0.0, 3.0]),
    "accuracy": (r"role/([\w-]+)/accuracy", "accuracy of the role, as sampled", [0.0, 1.0]),
}
"""Row -> the metrics it is made of, their title, and what the axis must show at least."""


def values(run: Run, pattern: str) -> pl.DataFrame:
    """(step, who, value) of every metric that fits."""
    rows = [
        (row["step"], found[1], value)
        for row in run.metric_rows()
        for name, value in row.items()
        if (found := re.fullmatch(pattern, name))
    ]
    return pl.DataFrame(rows, schema={"step": pl.Int64, "who": pl.String, "value": pl.Float64}, orient="row")


def panel(run: Run, row: str, colours: alt.Scale) -> alt.Chart | alt.LayerChart:
    pattern, title, span = ROWS[row]
    found = values(run, pattern)
    drawn = found["value"].to_list()
    base = alt.Chart(found).encode(
        x=alt.X("step:Q", title="training step", scale=alt.Scale(domain=[0, run.config.run.steps])),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(domain=[min([span[0], *drawn]), max([span[1], *drawn])])),
        color=alt.Color("who:N", scale=colours, title=None),
    )
    name = f"{run.config.workflow.name}, {run.config.policies.sharing}" if row == next(iter(ROWS)) else ""
    lines = base.mark_line(strokeWidth=1.5) + base.mark_point(size=14, filled=True, opacity=1.0)
    return lines.properties(width=280, height=120, title=name)


def picture(runs: list[Run]) -> alt.VConcatChart:
    """Only rows for which some run has a value."""
    rows = [row for row, (pattern, *_) in ROWS.items() if any(len(values(run, pattern)) for run in runs)]
    names = dict.fromkeys(
        who for run in runs for row in rows for who in values(run, ROWS[row][0])["who"].unique(maintain_order=True)
    )
    colours = alt.Scale(domain=list(names), scheme="tableau10")
    grid = [alt.hconcat(*(panel(run, row, colours) for run in runs)) for row in rows]
    return alt.vconcat(*grid).configure_view(stroke=None).configure_axis(grid=True, gridColor="#eeeeee")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    picture([Run.read(Path(path)) for path in sys.argv[2:]]).save(sys.argv[1])
