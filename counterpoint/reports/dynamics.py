"""The role dynamics of runs side by side, one column per run: gradients, accuracy and the shape of replies."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from counterpoint.reports.base import is_shared, names, values
from counterpoint.run import Run

ROWS: Mapping[str, tuple[str, str, tuple[float, float]]] = {
    "share": (r"role/([\w-]+)/gradient_share", "share of gradient norm", (0.0, 1.0)),
    "cosine": (r"gradient/[\w-]+/([\w-]+\+[\w-]+)/cosine", "cosine between roles", (-0.5, 0.5)),
    "persistence": (r"gradient/[\w-]+/([\w-]+)/persistence", "persistence", (-0.5, 1.0)),
    "amplification": (r"gradient/[\w-]+/([\w-]+)/amplification", "amplification, slots", (0.0, 3.0)),
    "accuracy": (r"role/([\w-]+)/accuracy", "accuracy of the role, as sampled", (0.0, 1.0)),
    "terse": (r"role/([\w-]+)/terse", "terse replies", (0.0, 1.0)),
    "code": (r"role/([\w-]+)/form_code", "verdicts with code", (0.0, 1.0)),
}
"""Row -> the metrics it is made of, their title, and what the axis must show at least."""


def dynamics(runs: Sequence[Run]) -> alt.VConcatChart:
    """One row per kind of metric for which some run has a value."""
    rows = [row for row in ROWS if any(len(_found(run, row)) for run in runs)]
    who = dict.fromkeys(
        one for run in runs for row in rows for one in _found(run, row)["who"].unique(maintain_order=True)
    )
    colours = alt.Scale(domain=list(who), scheme="tableau10")
    titles = names(runs)
    grid = [
        alt.hconcat(
            *(
                _panel(run, row, colours, title if row == rows[0] else "")
                for run, title in zip(runs, titles, strict=True)
            )
        )
        for row in rows
    ]
    picture: alt.VConcatChart = alt.vconcat(*grid).configure_view(stroke=None)
    gridded: alt.VConcatChart = picture.configure_axis(grid=True, gridColor="#eeeeee")
    return gridded


def _found(run: Run, row: str) -> pl.DataFrame:
    """The values of a row; no shares where roles have different policies, whose gradients do not compare."""
    found = values(run, ROWS[row][0])
    return found if row != "share" or is_shared(run) else found.clear()


def _panel(run: Run, row: str, colours: alt.Scale, name: str) -> alt.LayerChart:
    _, title, span = ROWS[row]
    found = _found(run, row)
    drawn = found["value"].to_list()
    base = alt.Chart(found).encode(
        x=alt.X("step:Q", title="training step", scale=alt.Scale(domain=[0, run.config.run.steps])),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(domain=[min([span[0], *drawn]), max([span[1], *drawn])])),
        color=alt.Color("who:N", scale=colours, title=None),
    )
    lines: alt.LayerChart = base.mark_line(strokeWidth=1.5) + base.mark_point(size=14, filled=True, opacity=1.0)
    return lines.properties(width=280, height=120, title=name)
