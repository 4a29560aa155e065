#!/usr/bin/env python
"""Draw a run: accuracy on training and test problems, and each role's share of the gradient.

    python scripts/plot_run.py RUN picture.svg

Needs altair and vl-convert-python (in the `dev` extra). The picture is made from the run directory alone.
"""

import sys
from pathlib import Path

import altair as alt
import polars as pl

from counterpoint.run import Run


def accuracies(run: Run) -> pl.DataFrame:
    """(step, who, accuracy, where): the team and every role, on training problems and on the test split.

    A role whose accuracy is the team's by definition, such as one that has the last word, is left out.
    """
    rows = []
    for row in run.metric_rows():
        rows.append((row["step"], "team", row.get("episode/score"), "training problems, as sampled"))
        for role in roles(run):
            rows.append((row["step"], role, row.get(f"role/{role}/accuracy"), "training problems, as sampled"))
    for row in run.evaluation_rows():
        if row["split"] == "test":
            rows.append((row["step"], "team", row["accuracy"], "test problems"))
            for role in roles(run):
                rows.append((row["step"], role, row["numbers"].get(f"role/{role}/accuracy"), "test problems"))
    frame = pl.DataFrame(rows, schema=["step", "who", "accuracy", "where"], orient="row").drop_nulls()
    team = frame.filter(who="team")["accuracy"].to_list()
    same = [role for role in roles(run) if frame.filter(who=role)["accuracy"].to_list() == team]
    return frame.filter(~pl.col("who").is_in(same))


def shares(run: Run) -> pl.DataFrame:
    """(step, who, share): each role's part of the sum of gradient norms."""
    rows = [
        (row["step"], role, row[f"role/{role}/gradient_share"])
        for row in run.metric_rows()
        for role in roles(run)
        if f"role/{role}/gradient_share" in row
    ]
    return pl.DataFrame(rows, schema=["step", "who", "share"], orient="row")


def roles(run: Run) -> list[str]:
    return list(run.facts["routing"])


def picture(run: Run) -> alt.HConcatChart:
    order = ["team", *roles(run)]
    levels = accuracies(run)
    colour = alt.Color("who:N", sort=order, scale=alt.Scale(domain=order, scheme="tableau10"), title=None)
    accuracy = (
        alt.Chart(levels)
        .mark_line()
        .encode(
            x=alt.X("step:Q", title="training step"),
            y=alt.Y("accuracy:Q", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            color=colour,
            opacity=alt.condition(alt.datum.where == "test problems", alt.value(1.0), alt.value(0.35)),
            detail="where:N",
            strokeWidth=alt.condition(alt.datum.where == "test problems", alt.value(3), alt.value(1)),
        )
        .properties(width=380, height=240, title="accuracy (thick: test split; thin: sampled training problems)")
    )
    share = (
        alt.Chart(shares(run))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("step:Q", title="training step"),
            y=alt.Y(
                "share:Q", title="share of gradient norm", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])
            ),
            color=colour,
        )
        .properties(width=260, height=240, title="who moves the weights")
    )
    return alt.hconcat(accuracy, share).properties(title=run.config.cell).configure(background="white")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    picture(Run.read(Path(sys.argv[1]))).save(sys.argv[2])
