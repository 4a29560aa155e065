#!/usr/bin/env python
"""Draw amplification against the number of parallel calls: one dot per measured step, and what independent noise gives.

    python scripts/plot_amplification.py picture.svg RUN RUN ...

For runs of `voting` with different `workflow.votes`. Needs altair and vl-convert-python (in the `dev` extra).
"""

import re
import sys
from pathlib import Path

import altair as alt
import polars as pl

from counterpoint.run import Run


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


def picture(runs: list[Run]) -> alt.LayerChart:
    rows = [row for run in runs for row in amplifications(run)]
    found = pl.DataFrame(rows, schema=["voters", "sharing", "step", "amplification"], orient="row")
    most = max(row[0] for row in rows)
    curve = pl.DataFrame({"voters": [1 + place * (most - 1) / 40 for place in range(41)]})
    lines = pl.concat(
        [
            curve.with_columns(amplification=pl.col("voters").sqrt(), limit=pl.lit("independent noise, √n")),
            curve.with_columns(amplification=pl.col("voters"), limit=pl.lit("all push alike, n")),
        ]
    )
    across = alt.X("voters:Q", title="voters", axis=alt.Axis(values=list(range(1, most + 1)), format="d"))
    up = alt.Y("amplification:Q", title="amplification of the generator, slots")
    bounds = (
        alt.Chart(lines)
        .mark_line(strokeWidth=1)
        .encode(x=across, y=up, strokeDash=alt.StrokeDash("limit:N", title=None), color=alt.value("#888888"))
    )
    dots = (
        alt.Chart(found)
        .mark_point(size=45, filled=True, opacity=0.7)
        .encode(x=across, y=up, color=alt.Color("sharing:N", title=None))
    )
    return (bounds + dots).properties(width=380, height=260)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    picture([Run.read(Path(path)) for path in sys.argv[2:]]).save(sys.argv[1])
