"""Accuracy over the steps of a run, and the gradients of its roles or policies; or the accuracy of several runs."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import altair as alt
import polars as pl

from counterpoint.reports.base import is_shared, names, policies, roles, values
from counterpoint.run import Run

SAMPLED, TEST = "training problems, as sampled", "test problems"
_STEP = alt.X("step:Q", title="training step")
_PERCENT = alt.Axis(format="%")
_UNIT = alt.Scale(domain=[0, 1])


def course(runs: Sequence[Run]) -> alt.HConcatChart:
    """One run: accuracy and gradients. Several: the accuracy of the team and of each role, a line per run."""
    return _one(runs[0]) if len(runs) == 1 else _overlaid(runs)


def accuracies(run: Run) -> pl.DataFrame:
    """(step, who, accuracy, where): the team and every role, on training problems and on the test split.

    A role whose accuracy is the team's by definition, such as one that has the last word, is left out.
    """
    rows = []
    for row in run.metric_rows():
        rows.append((row["step"], "team", row.get("episode/score"), SAMPLED))
        rows += [(row["step"], role, row.get(f"role/{role}/accuracy"), SAMPLED) for role in roles(run)]
    for row in run.evaluation_rows():
        if row["split"] == "test":
            rows.append((row["step"], "team", row["accuracy"], TEST))
            rows += [(row["step"], role, _over_tasks(row["roles"].get(role)), TEST) for role in roles(run)]
    schema = {"step": pl.Int64, "who": pl.String, "accuracy": pl.Float64, "where": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row").drop_nulls()
    team = frame.filter(who="team")["accuracy"].to_list()
    same = [role for role in roles(run) if frame.filter(who=role)["accuracy"].to_list() == team]
    return frame.filter(~pl.col("who").is_in(same))


def _over_tasks(outcomes: Mapping[str, Sequence[float]] | None) -> float | None:
    """The mean over tasks, as in tables; None if there is no outcome."""
    return fmean(fmean(values) for values in outcomes.values()) if outcomes else None


def gradients(run: Run) -> tuple[str, str, pl.DataFrame]:
    """A title, the axis's title, and (step, who, value).

    With one policy for all roles, each role's share of its gradient. Otherwise the norm of each policy's gradient:
    policies have losses with denominators of their own, so a share across them would compare nothing.
    """
    if is_shared(run):
        return "who moves the weights", "share of gradient norm", values(run, r"role/([\w-]+)/gradient_share")
    return (
        "gradient of each policy (not to be compared)",
        "gradient norm",
        values(run, r"policy/([\w-]+)/gradient_norm"),
    )


def _one(run: Run) -> alt.HConcatChart:
    order = ["team", *dict.fromkeys([*roles(run), *policies(run)])]
    colour = alt.Color("who:N", sort=order, scale=alt.Scale(domain=order, scheme="tableau10"), title=None)
    is_test = alt.datum.where == TEST
    accuracy = (
        alt.Chart(accuracies(run))
        .mark_line()
        .encode(
            x=_STEP,
            y=alt.Y("accuracy:Q", axis=_PERCENT, scale=_UNIT),
            color=colour,
            opacity=alt.condition(is_test, alt.value(1.0), alt.value(0.35)),
            detail="where:N",
            strokeWidth=alt.condition(is_test, alt.value(3), alt.value(1)),
        )
        .properties(width=380, height=240, title="accuracy (thick: test split; thin: sampled training problems)")
    )
    title, axis, found = gradients(run)
    scale = alt.Y("value:Q", title=axis, axis=_PERCENT, scale=_UNIT) if is_shared(run) else alt.Y("value:Q", title=axis)
    gradient = (
        alt.Chart(found)
        .mark_line(strokeWidth=2)
        .encode(x=_STEP, y=scale, color=colour)
        .properties(width=260, height=240, title=title)
    )
    picture: alt.HConcatChart = (
        alt.hconcat(accuracy, gradient).properties(title=names([run])[0]).configure(background="white")
    )
    return picture


def _overlaid(runs: Sequence[Run]) -> alt.HConcatChart:
    called = names(runs)
    found = pl.concat(
        [
            accuracies(run).filter(where=TEST).with_columns(run=pl.lit(name))
            for name, run in zip(called, runs, strict=True)
        ]
    )
    panels = [
        alt.Chart(found.filter(who=who))
        .mark_line(strokeWidth=2)
        .encode(
            x=_STEP,
            y=alt.Y("accuracy:Q", axis=_PERCENT, scale=_UNIT),
            color=alt.Color("run:N", sort=called, scale=alt.Scale(domain=called, scheme="tableau10"), title=None),
        )
        .properties(width=300, height=240, title=f"{who}, accuracy on the test split")
        for who in found["who"].unique(maintain_order=True)
    ]
    picture: alt.HConcatChart = alt.hconcat(*panels).configure(background="white")
    return picture
