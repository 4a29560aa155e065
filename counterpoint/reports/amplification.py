"""Amplification against the number of parallel calls: a dot per measured step, and what independent noise gives."""

import re
from collections.abc import Sequence

import altair as alt
import polars as pl

from counterpoint.errors import RunError
from counterpoint.run import Run


def amplification(runs: Sequence[Run]) -> alt.LayerChart:
    """For runs of `voting` with different `workflow.votes`. Raises RunError if none of them measured amplification."""
    rows = [row for run in runs for row in amplifications(run)]
    if not rows:
        raise RunError("none of these runs measured the amplification of a role 'generator', as runs of voting do")
    found = pl.DataFrame(rows, schema=["voters", "sharing", "step", "amplification"], orient="row")
    most = max(row[0] for row in rows)
    across = alt.X("voters:Q", title="voters", axis=alt.Axis(values=list(range(1, most + 1)), format="d"))
    up = alt.Y("amplification:Q", title="amplification of the generator, slots")
    bounds = (
        alt.Chart(_bounds(most))
        .mark_line(strokeWidth=1)
        .encode(x=across, y=up, strokeDash=alt.StrokeDash("limit:N", title=None), color=alt.value("#888888"))
    )
    dots = (
        alt.Chart(found)
        .mark_point(size=45, filled=True, opacity=0.7)
        .encode(x=across, y=up, color=alt.Color("sharing:N", title=None))
    )
    chart: alt.LayerChart = bounds + dots
    return chart.properties(width=380, height=260)


def amplifications(run: Run) -> list[tuple[int, str, int, float]]:
    """(voters, sharing, step, amplification); one voter has amplification 1 by definition."""
    votes, sharing = int(run.config.workflow.options.get("votes", 3)), str(run.config.policies.sharing)
    if votes == 1:
        return [(1, sharing, 0, 1.0)]
    return [
        (votes, sharing, row["step"], value)
        for row in run.metric_rows()
        for name, value in row.items()
        if re.fullmatch(r"gradient/[\w-]+/generator/amplification", name)
    ]


def _bounds(most: int) -> pl.DataFrame:
    curve = pl.DataFrame({"voters": [1 + place * (most - 1) / 40 for place in range(41)]})
    return pl.concat(
        [
            curve.with_columns(amplification=pl.col("voters").sqrt(), limit=pl.lit("independent noise, √n")),
            curve.with_columns(amplification=pl.col("voters"), limit=pl.lit("all push alike, n")),
        ]
    )
