"""Falls: how many runs of each group fell, and when."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from counterpoint.analysis.falls import Rate, bracket, rate
from counterpoint.analysis.survival import Duration, Survival, duration, kaplan_meier, logrank
from counterpoint.errors import counted
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.compared import Compared
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import SCHEMA
from counterpoint.reports.figures.groups import SPLIT, colour, dashes, labels, ordered, shape
from counterpoint.reports.figures.lines import LABELLED, legend_of

EVERY = "all cells"
MOST = 24
"""Cells of one figure; of more, those in which most runs fell."""
MOST_AREAS = 3
"""Groups whose intervals can be told apart as areas."""
_HEIGHT = 220
_GAP = 0.08
"""Between two names at the ends of curves, as a share of the height."""
_STEP = 18
"""The height of the row of a group."""


def fall_rates(found: Compared) -> Figure | None:
    """The rate of falls of each group over all cells, and in the cells in which a run fell; None without a run."""
    import polars as pl

    groups = _groups(found)
    total = {name: _sum([one.rate for one in found.falls if one.group == name]) for name in groups}
    if not any(one.told for one in total.values()):
        return None
    several = len(found.blocks) > 1
    where = EVERY if several else "runs"
    rows = [(where, name, one) for name, one in total.items()]
    fallen = {
        block.name: sum(one.rate.fell for one in found.falls if one.block == block.name) for block in found.blocks
    }
    some = [name for name, count in fallen.items() if count] if several else []
    drawn = sorted(some, key=lambda name: -fallen[name])[:MOST]
    rows += [(name, one.group, one.rate) for name in some if name in drawn for one in found.falls if one.block == name]
    cells = labels(cell for cell, _, _ in rows)
    return Figure(
        name="falls",
        title="Runs that fell",
        says=_says(found, total, len(some) - len(drawn)),
        spec=_rate_spec(list(cells.values()), groups),
        data={"rows": pl.DataFrame([_row(cells[cell], group, one) for cell, group, one in rows], schema=_ROWS)},
        table=pl.DataFrame(
            [
                {
                    "cell": cell,
                    "group": group,
                    "fell": one.fell,
                    "fell or held": one.told,
                    "cannot tell": one.cannot_tell,
                    "did not finish": one.missing,
                    "95 % interval of the rate": bracket(one.low, one.high),
                }
                for cell, group, one in rows
            ],
            infer_schema_length=None,
        ),
    )


def survival(found: Compared) -> Figure | None:
    """The share of runs that has not fallen, step by step, for each group; None unless a run fell."""
    import polars as pl

    durations = {name: _durations(found, name) for name in _groups(found)}
    durations = {name: own for name, own in durations.items() if own}
    known = {name: kaplan_meier(own) for name, own in durations.items()}
    if not any(one.falls for one in known.values()):
        return None
    rows = [row for name, one in known.items() for row in _steps(name, one)]
    ends = list(_ends(rows, list(known))) if len(known) <= LABELLED else []
    held = [
        {"group": name, "step": one.step, "surviving": _at(known[name], one.step)}
        for name, own in durations.items()
        for one in sorted(set(own))
        if not one.fell
    ]
    schema = {"group": pl.String, "step": pl.Int64, "surviving": pl.Float64}
    return Figure(
        name="survival",
        title="Runs that have not fallen",
        says=_when(durations, known),
        spec=_survival_spec(list(known), max(row["step"] for row in rows)),
        data={
            "rows": pl.DataFrame(rows, schema={**schema, "low": pl.Float64, "high": pl.Float64, "at_risk": pl.Int64}),
            "held": pl.DataFrame(held, schema=schema),
            "ends": pl.DataFrame(ends, schema=schema),
        },
    )


_ROWS: Mapping[str, Any] = {"cell": str, "group": str, "rate": float, "low": float, "high": float, "count": str}


def _groups(found: Compared) -> list[str]:
    return list(dict.fromkeys(group.name for block in found.blocks for group in block.groups))


def _sum(rates: Sequence[Rate]) -> Rate:
    return rate(
        sum(one.fell for one in rates),
        sum(one.told for one in rates),
        cannot_tell=sum(one.cannot_tell for one in rates),
        missing=sum(one.missing for one in rates),
    )


def _row(cell: str, group: str, one: Rate) -> dict[str, Any]:
    """The rate is that of the runs of which it can be told; without one there is none."""
    value = one.fell / one.told if one.told else None
    count = f"{one.fell}/{one.told}" if one.runs else "no run"
    return {"cell": cell, "group": group, "rate": value, "low": one.low, "high": one.high, "count": count}


def _says(found: Compared, total: Mapping[str, Rate], left_out: int) -> str:
    told = "; ".join(f"{name}: {one.words}" for name, one in total.items() if one.runs)
    paired = ""
    if found.paired_falls is not None:
        other, one = (group.name for group in next(one for one in found.blocks if len(one.groups) == 2).groups)
        paired = f" Pairs of the same cell and seed: {found.paired_falls.words(one, other)}."
    several = len(found.blocks) > 1
    where = ", over all cells and in those in which a run fell" if several else ""
    rest = f" {counted(left_out, 'further cell')} with falls are not drawn." if left_out else ""
    return (
        f"Rate of falls{where}, with Wilson's 95 % intervals over runs; a run of which it cannot be told counts as"
        f" fallen at the upper end and as held at the lower. {told}.{paired}{rest}"
    )


def _durations(found: Compared, group: str) -> list[Duration]:
    runs = [run for block in found.blocks for own in block.groups if own.name == group for run in own.runs]
    known = [_duration(run) for run in runs]
    return [one for one in known if one is not None]


def _duration(run: RunRecord) -> Duration | None:
    if run.fell == "fell" and run.onset is None:
        return None
    return duration(run.fell, run.onset, run.terminal_steps[-1] if run.terminal_steps else run.steps)


def _steps(group: str, one: Survival) -> Iterator[dict[str, Any]]:
    yield {"group": group, "step": 0, "surviving": 1.0, "low": 1.0, "high": 1.0, "at_risk": one.runs}
    for step, value, low, high, at_risk in zip(one.steps, one.surviving, one.low, one.high, one.at_risk, strict=True):
        yield {"group": group, "step": step, "surviving": value, "low": low, "high": high, "at_risk": at_risk}


def _at(one: Survival, step: int) -> float:
    return next((value for at, value in reversed(list(zip(one.steps, one.surviving, strict=True))) if at <= step), 1.0)


def _ends(rows: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The places of the names of the curves, none so near to another that they overlap."""
    last = {row["group"]: row["surviving"] for row in rows}
    step = max(row["step"] for row in rows)
    above = 1.0 + _GAP
    for below, group in zip(range(len(groups) - 1, -1, -1), sorted(groups, key=lambda name: -last[name]), strict=True):
        above = max(min(last[group], above - _GAP), below * _GAP)
        yield {"group": group, "step": step, "surviving": above}


def _when(durations: Mapping[str, Sequence[Duration]], known: Mapping[str, Survival]) -> str:
    told = []
    for name, one in known.items():
        half = f", half of them by step {one.median}" if one.median is not None else ""
        told.append(f"{name}: {one.falls} of {counted(one.runs, 'run')} fell{half}")
    test = ""
    if len(durations) == 2:
        first, second = durations.values()
        test = f" The two curves differ with p = {logrank(first, second).p_value:.2g} (log-rank test over runs)."
    places = "as areas" if len(known) <= MOST_AREAS else "in the table"
    return (
        "The share of runs that has not fallen, by the step at which the fall began (Kaplan and Meier), with 95 %"
        f" intervals over runs {places}; a tick is a run that ended without a fall. {'; '.join(told)}.{test} Runs of"
        " which it cannot be told are left out."
    )


def _rate_spec(cells: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    axis = {"labelExpr": SPLIT, "labelLimit": 190, "domain": False, "ticks": False}
    y = {"field": "cell", "type": "nominal", "sort": list(cells), "title": None, "axis": axis}
    place = {"y": y, "yOffset": {"field": "group", "type": "nominal", "scale": {"domain": list(groups)}}}
    x = {"type": "quantitative", "title": "runs that fell", "scale": {"domain": [0, 1.32]}}
    x["axis"] = {"format": "%", "values": [0, 0.25, 0.5, 0.75, 1]}
    hue = {"color": colour(groups)}
    text = {"calculate": "datum.group + '  ' + datum.count", "as": "told"}
    point = {"type": "point", "filled": True, "size": 56, "opacity": 1}
    ends = {"x": {**x, "field": "low"}, "x2": {"field": "high"}, **place, **hue}
    label = {"x": {**x, "field": "high"}, **place, "text": {"field": "told"}, **hue}
    return {
        "$schema": SCHEMA,
        "data": {"name": "rows"},
        "width": "container",
        "height": {"step": max(24, 10 + _STEP * len(groups)), "for": "position"},
        "transform": [text],
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.6}, "encoding": ends},
            {"mark": point, "encoding": {"x": {**x, "field": "rate"}, **place, **hue, "shape": shape(groups)}},
            {"mark": {"type": "text", "align": "left", "dx": 8}, "encoding": label},
        ],
    }


def _survival_spec(groups: Sequence[str], last: int) -> dict[str, Any]:
    x = {"field": "step", "type": "quantitative", "title": "training step", "scale": {"domain": [0, last]}}
    y = {"type": "quantitative", "title": "runs that have not fallen", "scale": {"domain": [0, 1]}}
    y["axis"] = {"format": "%", "tickCount": 5}
    hue = {"color": colour(groups)}
    few = len(groups) <= LABELLED
    pattern = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]] if few else dashes(groups)
    legend = None if few else legend_of(groups)
    scale = {"domain": ordered(groups), "range": pattern}
    looks = {
        "color": {**hue["color"], "legend": legend},
        "strokeDash": {"field": "group", "type": "nominal", "scale": scale, "legend": legend},
    }
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": 2}
    area = {"type": "area", "interpolate": "step-after", "opacity": 0.15}
    ends = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, **hue}
    at = {"x": x, "y": {**y, "field": "surviving"}, **hue}
    tick = {"type": "tick", "orient": "vertical", "thickness": 1.5, "size": 9, "opacity": 1}
    name = {"type": "text", "align": "right", "baseline": "bottom", "dx": -6, "dy": -4, "fontWeight": "bold"}
    return {
        "$schema": SCHEMA,
        "width": "container",
        "height": _HEIGHT,
        "layer": [
            *([{"data": {"name": "rows"}, "mark": area, "encoding": ends}] if len(groups) <= MOST_AREAS else []),
            {"data": {"name": "rows"}, "mark": line, "encoding": {**at, **looks}},
            {"data": {"name": "held"}, "mark": tick, "encoding": at},
            {"data": {"name": "ends"}, "mark": name, "encoding": {**at, "text": {"field": "group"}}},
        ],
    }
