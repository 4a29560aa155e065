"""Whose gradient moves the weights: shares of a policy's roles, stacked, and norms of policies, never stacked.

Shares of the roles of one policy add up to 1. Norms of different policies have losses with denominators of their own:
a sum of them means nothing.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.drawn_lines import Subject, drawn
from counterpoint.reports.figures.lines import STEP, colour, framed, quiet_axis
from counterpoint.reports.figures.recorded import Recorded, binned_in_words, listed, named, percent, thinned

if TYPE_CHECKING:
    import polars as pl

_FEW = 3
"""So many steps are bars: an area has no width."""


def gradients(recorded: Recorded) -> Iterator[Figure]:
    """The shares in each policy that several roles move, and the norms unless there is one such policy alone."""
    moved = recorded.gradients.filter(recorded.gradients["share"].is_not_null())
    together = [policy for policy in recorded.ordered(moved["policy"].unique().to_list()) if _roles(moved, policy) > 1]
    for policy in together:
        yield _shares(recorded, moved.filter(policy=policy), policy)
    found = recorded.policies.filter(number="norm")
    if found["policy"].n_unique() > 1 or not together:
        figure = drawn(recorded, found.rename({"policy": "who"}).select("seed", "step", "who", "value"), _NORMS)
        if figure is not None:
            yield figure


_NORMS = Subject(
    name="norms",
    title="Gradient norm of each policy",
    says="The norm of the joint gradient of each policy, before clipping. Each policy's loss has a denominator of its"
    " own: compare a line with itself, not with another.",
    axis="gradient norm",
    least=0.0,
)


def _roles(moved: "pl.DataFrame", policy: str) -> int:
    return moved.filter(policy=policy)["role"].n_unique()


def _shares(recorded: Recorded, own: "pl.DataFrame", policy: str) -> Figure:
    """The mean share of every role at every step; the shares of a step add up to 1."""
    import polars as pl

    found = own.select("seed", "step", pl.col("role").alias("who"), pl.col("share").alias("value"))
    rows = _mean(found)
    shown = recorded.ordered(rows["who"].unique().to_list())
    order = pl.DataFrame({"who": shown, "order": list(range(len(shown)))}, schema={"who": str, "order": int})
    rows = rows.join(order, on="who").sort("step", "order")
    means = {role: percent(_share(rows, role)) for role in shown}
    several = f" of {policy}" if len(recorded.policies["policy"].unique()) > 1 else ""
    seeds = "One run." if found["seed"].n_unique() == 1 else f"Means over {found['seed'].n_unique()} seeds."
    return Figure(
        name=recorded.name(named("shares", policy)),
        title=f"Share of each role in the gradient{several}",
        says=f"The norm of a role's contribution to the gradient of the policy {policy}, as a share of the sum over"
        f" its roles. Over all steps: {listed(means)}. {seeds}{binned_in_words(found)}",
        spec=_stacked(recorded.names, tuple(shown), bars=rows["step"].n_unique() <= _FEW),
        data={"rows": rows},
        table=rows.drop("order"),
    )


def _mean(found: "pl.DataFrame") -> "pl.DataFrame":
    """who, step, value: the mean over the seeds in which the policy has a gradient at the step; absent roles are 0."""
    import polars as pl

    every = thinned(found)
    total = pl.col("value").sum().over("step")
    return every.group_by("who", "step").agg(pl.col("value").sum()).with_columns(pl.col("value") / total)


def _share(rows: "pl.DataFrame", role: str) -> float:
    return float(rows.filter(who=role)["value"].sum()) / max(1, rows["step"].n_unique())


@cache
def _stacked(names: tuple[str, ...], shown: tuple[str, ...], *, bars: bool) -> Mapping[str, Any]:
    y = {
        "field": "value",
        "type": "quantitative",
        "stack": "normalize",
        "title": "share",
        "axis": quiet_axis("%"),
    }
    legend = colour(names, shown, legend=True)
    legend["legend"] = {**legend["legend"], "symbolType": "square", "symbolStrokeWidth": 0}
    encoding = {
        "x": STEP,
        "y": y,
        "color": legend,
        "order": {"field": "order", "type": "ordinal"},
        "tooltip": [{"field": "who", "title": "role"}, {"field": "step"}, {"field": "value", "format": ".1%"}],
    }
    mark: dict[str, Any] = {"type": "area", "opacity": 0.72, "strokeWidth": 0}
    if bars:
        mark = {"type": "bar", "opacity": 0.72, "width": 24}
    return framed([{"mark": mark, "encoding": encoding}])
