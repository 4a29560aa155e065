"""The lengths of each role's replies over training."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from counterpoint.reports import frames
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.drawn_lines import FEW
from counterpoint.reports.figures.lines import STEP, Lines, colour, dashes, end_labels, ends, framed, value_axis
from counterpoint.reports.figures.recorded import Recorded, binned_in_words, listed, thinned

if TYPE_CHECKING:
    import polars as pl

QUARTILES = ("tokens_low", "tokens_median", "tokens_high")
MOST_RIBBONS = 4
"""The most roles whose ribbons can be told apart; of more, only the medians are drawn."""
_WIDE = 12.0


def lengths(recorded: Recorded) -> Figure | None:
    """The median, the quartiles and the 95th percentile of each role's replies; None where they were not recorded."""
    import polars as pl

    found = frames.lengths(recorded.cell).filter(pl.col("tokens_median").is_not_null())
    if found.is_empty():
        return None
    rows = _over_seeds(found)
    shown = recorded.ordered(rows["who"].unique().to_list())
    of = Lines(
        names=tuple(dict.fromkeys([*recorded.names, *shown])),
        shown=tuple(shown),
        title="tokens of a reply",
        least=None if _is_wide(rows) else 0.0,
        logarithmic=_is_wide(rows),
        dotted=rows["step"].n_unique() <= FEW,
    )
    ribbons = len(shown) <= MOST_RIBBONS
    drawn = "Bands reach from the lower to the upper quartile, the dotted line is the 95th percentile." if ribbons else ""
    seeds = "One run." if found["seed"].n_unique() == 1 else f"Means over {found['seed'].n_unique()} seeds."
    last = {who: _at_the_end(rows.filter(who=who)) for who in shown}
    labelled = rows.select("who", "step", value="tokens_median")
    return Figure(
        name=recorded.name("lengths"),
        title="Length of replies",
        says=f"The median length of each role's replies in training. {drawn} In the last step (quartiles in brackets):"
        f" {listed(last)}. {seeds}{binned_in_words(found.rename({'role': 'who'}))}",
        spec=_ribbons(of, ribbons=ribbons),
        data={"rows": rows, "ends": ends(labelled, of)},
    )


def _over_seeds(found: "pl.DataFrame") -> "pl.DataFrame":
    """who, step, and the mean over seeds of every number, null where no seed has it."""
    import polars as pl

    long = (
        found.rename({"role": "who"})
        .select("seed", "step", "who", *QUARTILES, "tokens_p95")
        .unpivot(index=["seed", "step", "who"], variable_name="number", value_name="value")
        .drop_nulls("value")
    )
    means = thinned(long, "number").group_by("who", "step", "number").agg(pl.col("value").mean())
    columns = [pl.col("value").filter(pl.col("number") == name).first().alias(name) for name in (*QUARTILES, "tokens_p95")]
    return means.group_by("who", "step").agg(columns).sort("who", "step")


def _is_wide(rows: "pl.DataFrame") -> bool:
    """True if lengths differ so much that short ones would lie on the axis."""
    least = rows["tokens_low"].min()
    typical = [value for who in rows["who"].unique().to_list() if (value := rows.filter(who=who)["tokens_median"].max())]
    if not isinstance(least, float) or least < 1.0 or not typical:
        return False
    return bool(max(typical) / min(typical) > _WIDE)  # type: ignore[operator, type-var]


def _at_the_end(own: "pl.DataFrame") -> str:
    low, median, high = (own[name][-1] for name in QUARTILES)
    return f"{median:.0f}" if low is None or high is None else f"{median:.0f} [{low:.0f}, {high:.0f}]"


@cache
def _ribbons(of: Lines, *, ribbons: bool) -> Mapping[str, Any]:
    y = value_axis(of)
    shared = {"x": STEP, "color": colour(of.names, of.shown, legend=not of.labelled)}
    tooltip = [{"field": "who", "title": "role"}, {"field": "step"}]
    tooltip += [{"field": name, "format": ".4~g"} for name in (*QUARTILES, "tokens_p95")]
    layers: list[dict[str, Any]] = []
    if ribbons:
        band = {**shared, "y": {**y, "field": "tokens_low"}, "y2": {"field": "tokens_high"}}
        dotted = {"type": "line", "strokeWidth": 1.2, "strokeDash": [1, 3], "strokeCap": "round"}
        layers += [
            {"mark": {"type": "area", "opacity": 0.2, "line": False}, "encoding": band},
            {"mark": dotted, "encoding": {**shared, "y": {**y, "field": "tokens_p95"}}},
        ]
    mark: dict[str, Any] = {"type": "line", "strokeWidth": 2}
    if of.dotted:
        mark["point"] = {"size": 22, "filled": True, "opacity": 1}
    patterns = dashes(of.names, of.shown, legend=not of.labelled)
    layers.append(
        {
            "mark": mark,
            "encoding": {**shared, "y": {**y, "field": "tokens_median"}, "tooltip": tooltip, **patterns},
        }
    )
    if of.labelled:
        layers.append(end_labels(y))
    return framed(layers)
