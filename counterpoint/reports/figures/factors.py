"""The effects of what a study varies: contrasts over its cells, and the share of each factor in their differences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from counterpoint.analysis.factors import Effect, Share, shares
from counterpoint.errors import RunError, counted
from counterpoint.experiments.collected import Collected
from counterpoint.experiments.compare import cells_of
from counterpoint.experiments.compared import PRIMARY, Compared
from counterpoint.experiments.matrices import Amount
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import AMOUNTS, SCHEMA, about_cut, band, domain_of, frame, spec
from counterpoint.reports.figures.groups import SPLIT, labels

_BAR = 26
"""The height of a bar of a share."""


def factors(found: Compared) -> Figure | None:
    """The main effect of what is compared, and the difference that each other axis makes to it.

    None with one cell, or where no effect has an estimate.
    """
    import polars as pl

    known = list(_known(found.effects))
    if not known:
        return None
    margin = 100 * found.margin
    names = labels(_name(effect) for _, effect in known)
    rows = [_row(amount, effect, names[_name(effect)]) for amount, effect in known]
    domain = domain_of(rows, margin)
    told = [
        {
            "effect": _name(effect),
            "amount": AMOUNTS[amount],
            "points": f"{row['value']:+z.1f}",
            "95 % interval": f"[{row['low']:z.1f}, {row['high']:z.1f}]",
            "cells": len(effect.contexts),
            "left out": len(effect.left_out),
        }
        for (amount, effect), row in zip(known, rows, strict=True)
    ]
    return Figure(
        name="factors",
        title=f"The effect of {found.by}, and of other axes on it",
        says=_says(found, known) + about_cut(rows, domain),
        spec=spec(list(names.values()), domain, "points of accuracy", margin),
        data={"rows": frame(rows), "band": band(margin)},
        table=pl.DataFrame(told, infer_schema_length=None),
    )


def factor_shares(found: Compared, collected: Collected) -> Figure | None:
    """Omega squared of every axis, and of every two together, in the accuracy at the peak; None if it is unknown."""
    import polars as pl

    if len(found.blocks) < 2 or not found.by:
        return None
    cells = cells_of(collected, found, "peak")
    try:
        known = [one for one in shares(cells) if one.freedom]
    except RunError:  # no cell has two seeds, or two runs have the same labels
        return None
    if len(known) < 2:
        return None
    names = labels(" by ".join(one.axes) for one in _sorted(known))
    rows: list[dict[str, Any]] = [
        {"of": names[" by ".join(one.axes)], "share": one.omega_squared} for one in _sorted(known)
    ]
    largest = _sorted(known)[0]
    return Figure(
        name="factor-shares",
        title="The share of each factor in the differences between cells",
        says=(
            f"Omega squared of the accuracy at the peak, over the means of {counted(len(cells), 'group')} in"
            f" {counted(len(found.blocks), 'cell')} with {_seeds(cells)} each: {' by '.join(largest.axes)} has the"
            f" largest, {100 * largest.omega_squared:.0f} %. It describes these cells and has no interval; what is left"
            " to 100 % is higher orders and chance."
        ),
        spec=_bars(list(names.values())),
        data={"rows": pl.DataFrame(rows, schema={"of": pl.String, "share": pl.Float64})},
    )


def _known(effects: Mapping[Amount, Sequence[Effect]]) -> Iterator[tuple[Amount, Effect]]:
    for amount in PRIMARY:
        yield from ((amount, effect) for effect in effects.get(amount, ()) if effect.estimate is not None)


def _row(amount: Amount, effect: Effect, label: str) -> dict[str, Any]:
    assert effect.estimate is not None
    return {
        "of": label,
        "amount": AMOUNTS[amount],
        "value": 100 * effect.estimate.value,
        "low": 100 * effect.estimate.low,
        "high": 100 * effect.estimate.high,
        "wide_low": None,
        "wide_high": None,
        "visible": 100 * effect.estimate.visible if effect.estimate.error > 0 else None,
        "verdict": "ahead" if effect.estimate.low > 0 or effect.estimate.high < 0 else "cannot tell",
    }


def _name(effect: Effect) -> str:
    """`isolated - shared, on average`, or `isolated - shared: rate x3 against x1`."""
    change = effect.changes[0]
    told = f"{change.to} - {change.others}"
    return f"{told}, on average" if len(effect.changes) == 1 else f"{told}: {_against(effect)}"


def _against(effect: Effect) -> str:
    other = effect.changes[1]
    return f"{other.axis} {other.to} against {other.others}"


def _says(found: Compared, known: Sequence[tuple[Amount, Effect]]) -> str:
    estimates = [effect.estimate for _, effect in known if effect.estimate is not None]
    seeds = _span([one.seeds for one in estimates])
    tasks = _span([one.tasks for one in estimates])
    cells = _span([len(effect.contexts) for _, effect in known])
    return (
        "The first row is the mean difference over cells, the others are how much it changes along an axis: from"
        f" {cells} contexts, {seeds} seeds and {tasks} test tasks, with 95 % intervals over seeds and tasks, not"
        " corrected for their number. Hollow marks: the interval holds 0. Grey brackets: the smallest true effect"
        " that is found in 80 % of such studies."
    )


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _seeds(cells: Sequence[Any]) -> str:
    numbers = [len(cell.seeds) for cell in cells]
    return f"{_span(numbers)} {'seed' if numbers and max(numbers) == 1 else 'seeds'}"


def _sorted(known: Sequence[Share]) -> list[Share]:
    return sorted(known, key=lambda one: -one.omega_squared)


def _bars(order: Sequence[str]) -> dict[str, Any]:
    axis = {"labelExpr": SPLIT, "labelLimit": 190, "domain": False, "ticks": False}
    y = {"field": "of", "type": "nominal", "sort": list(order), "title": None, "axis": axis}
    x = {
        "field": "share",
        "type": "quantitative",
        "title": "omega squared",
        "axis": {"format": "%", "tickCount": 5},
        "scale": {"domain": [0, 1]},
    }
    text = {"field": "share", "type": "quantitative", "format": ".0%"}
    return {
        "$schema": SCHEMA,
        "data": {"name": "rows"},
        "width": "container",
        "height": {"step": _BAR},
        "layer": [
            {"mark": {"type": "bar", "style": "muted", "height": 10}, "encoding": {"x": x, "y": y}},
            {"mark": {"type": "text", "align": "left", "dx": 4}, "encoding": {"x": x, "y": y, "text": text}},
        ],
    }
