"""How far parallel calls of a role push its policy the same way, and how long a role keeps its direction."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.drawn_lines import Subject, drawn
from counterpoint.reports.figures.lines import STEP, colour, framed, quiet_axis
from counterpoint.reports.figures.recorded import Recorded, listed
from counterpoint.reports.looks import SMALLEST

if TYPE_CHECKING:
    import polars as pl


def amplification(recorded: Recorded) -> Figure | None:
    """A dot per measured step and seed, the lines n and √n, and the chance level; None where it was not measured."""
    import polars as pl

    found = recorded.gradients.filter(pl.col("amplification").is_not_null())
    if found.is_empty():
        return None
    rows = found.select("seed", "step", who=_who(found), value=pl.col("amplification"))
    chance = (
        found.filter(pl.col("amplification_by_chance").is_not_null())
        .group_by("step", who=_who(found))
        .agg(value=pl.col("amplification_by_chance").mean())
        .select("who", "step", "value")
        .sort("who", "step")
    )
    slots = _slots(found)
    shown = recorded.ordered(rows["who"].unique().to_list())
    means = {who: f"{rows.filter(who=who)['value'].mean():.2f}" for who in shown}
    by_chance = {who: f"{own['value'].mean():.2f}" for who in shown if len(own := chance.filter(who=who))}
    levels = f" Chance level as measured: {listed(by_chance)}." if by_chance else ""
    return Figure(
        name=recorded.name("amplification"),
        title="Amplification by parallel calls",
        says="The norm of the sum of the gradients of a role's parallel calls, in units of one call: n if n calls"
        f" push alike, √n if they are independent. Means: {listed(means)}; n is"
        f" {', '.join(str(n) for n in slots) or 'not known'}.{levels} {recorded.seeds}",
        spec=_dots(tuple(dict.fromkeys([*recorded.names, *shown])), tuple(shown)),
        data={"rows": rows, "chance": chance, "limits": _limits(slots)},
    )


def _who(found: "pl.DataFrame") -> "pl.Expr":
    """The role, with its policy where it has several."""
    import polars as pl

    several = found.group_by("role").agg(pl.col("policy").n_unique().alias("n"))["n"].max() != 1
    return pl.format("{} ({})", "role", "policy") if several else pl.col("role")


def _slots(found: "pl.DataFrame") -> list[int]:
    """The numbers of parallel calls, from amplification = n × coherence."""
    import polars as pl

    known = found.filter(pl.col("coherence") > 0)
    return sorted({round(one) for one in (known["amplification"] / known["coherence"]).to_list()})


def _limits(slots: list[int]) -> "pl.DataFrame":
    import polars as pl

    rows = [(float(n), f"n = {n}") for n in slots]
    rows += [(n**0.5, f"√{n}") for n in slots if n > 1]
    return pl.DataFrame(rows, schema={"value": float, "words": str}, orient="row")


@cache
def _dots(names: tuple[str, ...], shown: tuple[str, ...]) -> Mapping[str, Any]:
    y = {
        "field": "value",
        "type": "quantitative",
        "title": "amplification, calls",
        "scale": {"domainMin": 0},
        "axis": quiet_axis(),
    }
    limits = {"name": "limits"}
    legend = colour(names, shown, legend=True)
    legend["legend"] = {**legend["legend"], "symbolType": "circle", "symbolSize": 60, "symbolStrokeWidth": 0}
    tooltip = [
        {"field": "who", "title": "role"},
        {"field": "seed"},
        {"field": "step"},
        {"field": "value", "format": ".2f"},
    ]
    chance = {"type": "line", "strokeWidth": 1.2, "strokeDash": [2, 3]}
    return framed(
        [
            {"data": limits, "mark": {"type": "rule", "style": "muted", "opacity": 0.7}, "encoding": {"y": y}},
            {
                "data": limits,
                "mark": {
                    "type": "text",
                    "style": "muted",
                    "align": "left",
                    "dx": 7,
                    "fontSize": SMALLEST,
                    "x": {"expr": "width"},
                },
                "encoding": {"y": y, "text": {"field": "words"}},
            },
            {"data": {"name": "chance"}, "mark": chance, "encoding": {"x": STEP, "y": y, "color": legend}},
            {
                "mark": {"type": "point", "filled": True, "size": 34, "opacity": 0.75},
                "encoding": {"x": STEP, "y": y, "color": legend, "tooltip": tooltip},
            },
        ]
    )


def persistence(recorded: Recorded) -> Figure | None:
    """The cosine of each role's gradient with its own moving average; None where it was not measured."""
    import polars as pl

    found = recorded.gradients.filter(pl.col("persistence").is_not_null())
    if found.is_empty():
        return None
    subject = Subject(
        name="persistence",
        title="Persistence of each role's direction",
        says="The cosine of a role's gradient with the moving average of its earlier ones: near 1 it drifts in one"
        " direction, near 0 steps have nothing in common.",
        axis="persistence",
        words="{:.2f}",
        zero=True,
    )
    return drawn(recorded, found.select("seed", "step", who=_who(found), value=pl.col("persistence")), subject)
