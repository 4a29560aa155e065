"""The team's accuracy in every evaluation of a cell, with its base, its peak and its end."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoint.analysis.comparison import Level, level
from counterpoint.errors import counted
from counterpoint.experiments.collected import Milestone
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.lines import STEP, apart, framed, quiet_axis
from counterpoint.reports.figures.recorded import Recorded, counting
from counterpoint.reports.looks import CUT, SHAPES, SHARING_RANGE, SMALLEST
from counterpoint.reports.seen import Seen

if TYPE_CHECKING:
    import polars as pl

MARKS = ("peak", "end")
_HEIGHT = 210
_Y = {
    "field": "value",
    "type": "quantitative",
    "title": "accuracy",
    "scale": {"zero": False, "padding": 12},
    "axis": quiet_axis("%"),
}


def curves(recorded: Recorded) -> Figure | None:
    """A thin line per seed and their mean; a triangle at the peak, a square at the end; None without an evaluation."""
    import polars as pl

    found, split = _evaluated(recorded)
    if found.is_empty():
        return None
    marks = list(_marks(recorded, found, split))
    mean = _mean(recorded, found)
    sharing = recorded.cell.runs[0].record.sharing
    stops = [run for run in recorded.cell.runs if run.record.stopped]
    return Figure(
        name=recorded.name("curves"),
        title=f"Accuracy of the team, {split} problems",
        says=_says(recorded, marks, stops, split),
        spec=_curves(sharing if sharing in SHAPES else "", several=found["seed"].n_unique() > 1),
        data={
            "rows": found,
            "mean": mean,
            "marks": pl.DataFrame(marks, schema=_SCHEMA, orient="row"),
            "ends": _ends(found, marks),
        },
    )


_SCHEMA = {"kind": str, "step": float, "value": float, "low": float, "high": float, "words": str}
_Mark = tuple[str, float, float, float | None, float | None, str]


def _evaluated(recorded: Recorded) -> tuple["pl.DataFrame", str]:
    """seed, step, value of the test split or, where there is none, of the validation split, and the split's name."""
    for split in ("test", "validation"):
        own = recorded.accuracies.filter(split=split).select("seed", "step", "value")
        if len(own):
            return own, split
    return own, split


def _mean(recorded: Recorded, found: "pl.DataFrame") -> "pl.DataFrame":
    """step, value: the mean at the steps that all runs have, without those that were stopped early."""
    import polars as pl

    counted_in = {run.record.seed for run in recorded.cell.runs if not run.record.stopped}
    own = found.filter(pl.col("seed").is_in(sorted(counted_in)))
    own = found if own.is_empty() else own
    seeds = own["seed"].n_unique()
    means = own.group_by("step").agg(pl.col("value").mean(), pl.col("seed").n_unique().alias("seeds"))
    return means.filter(pl.col("seeds") == seeds).select("step", "value").sort("step")


def _marks(recorded: Recorded, found: "pl.DataFrame", split: str) -> Iterator[_Mark]:
    finished = recorded.cell.finished if split == "test" else []
    if not finished:
        base = found.filter(step=0)["value"].to_list()
        if base:
            yield "base", 0.0, fmean(base), None, None, f"base {100 * fmean(base):.1f} %"
        return
    last = counting(recorded.cell)
    kinds: tuple[tuple[str, Milestone, Sequence[Seen]], ...] = (
        ("base", "base", finished),
        ("peak", "peak", finished),
        ("end", "terminal", last),
    )
    for kind, milestone, runs in kinds:
        found_level = _level(runs, milestone)
        if found_level is not None:
            value, low, high = found_level.shown
            low, high = max(0.0, low), min(1.0, high)
            yield kind, _place(runs, milestone), value, low, high, f"{kind} {100 * value:.1f} %"


def _place(runs: Sequence[Seen], milestone: Milestone) -> float:
    """The mean over runs of the step of a milestone; the end, a mean of several evaluations, is at the last of them."""
    if milestone == "base":
        return 0.0
    if milestone == "peak":
        return fmean(run.record.peak_step or 0 for run in runs)
    return fmean(max(run.record.terminal_steps, default=run.record.steps) for run in runs)


def _ends(found: "pl.DataFrame", marks: Sequence[_Mark]) -> "pl.DataFrame":
    """words, place: base and end beside the figure, at heights at which they do not cover each other."""
    import polars as pl

    values = [value for mark in marks for value in mark[2:5] if value is not None] + found["value"].to_list()
    own = sorted((value, words) for kind, _, value, _, _, words in marks if kind != "peak")
    places = apart([value for value, _ in own], min(values), max(values), height=_HEIGHT) if own else []
    return pl.DataFrame({"words": [words for _, words in own], "place": places}, schema={"words": str, "place": float})


def _level(runs: Sequence[Seen], milestone: Milestone) -> Level | None:
    """The team's accuracy over seeds and tasks, on the tasks that all runs have; None without such a task."""
    import polars as pl

    own = [run.outcomes.filter((pl.col("milestone") == milestone) & pl.col("role").is_null()) for run in runs]
    per_task = [dict(zip(one["task"].to_list(), one["value"].to_list(), strict=True)) for one in own]
    tasks = sorted(set.intersection(*map(set, per_task)))
    if not tasks:
        return None
    return level(np.array([[one[task] for task in tasks] for one in per_task]), difference=False)


def _says(recorded: Recorded, marks: Sequence[_Mark], stops: Sequence[Seen], split: str) -> str:
    told = [
        words if low is None or high is None else f"{words} [{100 * low:.1f}, {100 * high:.1f}]"
        for _, _, _, low, high, words in marks
    ]
    parts = [f"{recorded.seeds} {'; '.join(told)}." if told else f"{recorded.seeds} No {split} evaluation of the base."]
    finished = recorded.cell.finished
    if split == "validation":
        parts.append("There is no evaluation on test problems.")
    elif not finished:
        parts.append("No run is finished, so there is no peak yet.")
    else:
        tasks = finished[0].outcomes.filter(milestone="base")["task"].n_unique()
        over = "seeds and tasks" if len(finished) > 1 else "tasks alone"
        parts.append(f"95 % intervals over {over} ({counted(tasks, 'task')}).")
        if len(finished) < len(recorded.cell.runs):
            parts.append(f"{len(finished)} of {len(recorded.cell.runs)} runs are finished.")
    if stops:
        parts.append(
            f"{counted(len(stops), 'run')} stopped early: the mean and the end are those of the others."
            if len(stops) < len(recorded.cell.runs)
            else "All were stopped early."
        )
    return " ".join(parts)


@cache
def _curves(sharing: str, *, several: bool) -> Mapping[str, Any]:
    """The specification; `sharing` gives the mean its colour, empty for that of the text."""
    colour: dict[str, Any] = {}
    if sharing:
        scale = {"domain": list(SHAPES), "range": SHARING_RANGE}
        colour = {"color": {"datum": sharing, "type": "nominal", "scale": scale, "legend": None}}
    thin = {"type": "line", "strokeWidth": 1, "opacity": 0.55, "style": "muted"}
    tooltip = [{"field": "seed"}, {"field": "step"}, {"field": "value", "format": ".1%"}]
    is_base = {"filter": "datum.kind === 'base'"}
    is_mark = {"filter": "datum.kind !== 'base'"}
    shape = {
        "field": "kind",
        "type": "nominal",
        "scale": {"domain": list(MARKS), "range": ["triangle-up", "square"]},
        "legend": None,
    }
    marks = {"name": "marks"}
    layers: list[dict[str, Any]] = [
        {
            "data": marks,
            "transform": [is_base],
            "mark": {"type": "rule", "style": "muted", "strokeDash": [4, 3]},
            "encoding": {"y": _Y},
        }
    ]
    if several:
        layers.append({"mark": thin, "encoding": {"x": STEP, "y": _Y, "detail": {"field": "seed"}, "tooltip": tooltip}})
    mean = {"type": "line", "strokeWidth": 2.2, "strokeCap": "round", "strokeJoin": "round"}
    layers += [
        {"data": {"name": "mean"}, "mark": mean, "encoding": {"x": STEP, "y": _Y, **colour}},
        {
            "data": marks,
            "transform": [is_mark],
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"x": STEP, "y": {**_Y, "field": "low"}, "y2": {"field": "high"}, **colour},
        },
        {
            "data": marks,
            "transform": [is_mark],
            "mark": {"type": "point", "filled": True, "size": 100, "opacity": 1, "style": CUT},
            "encoding": {"x": STEP, "y": _Y, "shape": shape, **colour, "tooltip": [{"field": "words", "title": "at"}]},
        },
        *_words(marks),
    ]
    return framed(layers, _HEIGHT)


def _words(marks: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The names of peak, base and end with their values: above the peak's interval, and beside the figure."""
    text = {"type": "text", "fontSize": SMALLEST}
    yield {
        "data": marks,
        "transform": [{"filter": "datum.kind === 'peak'"}],
        "mark": {**text, "baseline": "bottom", "dy": -4},
        "encoding": {"x": STEP, "y": {**_Y, "field": "high"}, "text": {"field": "words"}},
    }
    yield {
        "data": {"name": "ends"},
        "mark": {**text, "align": "left", "dx": 9, "x": {"expr": "width"}},
        "encoding": {"y": {**_Y, "field": "place"}, "text": {"field": "words"}},
    }
