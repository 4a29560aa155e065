"""Teams compared with their controls: single agents, transfer, majority, solo, swapped and removed roles."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import polars as pl

from counterpoint.analysis.comparison import MARGIN, Level, level
from counterpoint.errors import counted
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.compared import TEAM
from counterpoint.experiments.groups import printable
from counterpoint.experiments.matrices import PerTask, has_outcomes
from counterpoint.reports.compared_table import base_of
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import band, domain_of, frame, spec
from counterpoint.reports.figures.groups import labels

_SELF = ": run"
"""The end of the name of the evaluation of the run as it is, beside a control."""
_OF_AGENTS = ("transfer", "majority")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlDifference:
    """The team of a cell minus one of its controls, over the seeds that both have."""

    cell: str
    control: str
    team: float
    """The mean accuracy of the team on the same tasks."""
    level: Level


def controls(collected: Collected, margin: float = MARGIN) -> Figure | None:
    """Every cell minus each of its controls; None without a control."""
    found = control_differences(collected)
    if not found:
        return None
    names = labels(map(_name, found))
    rows = [_row(one, names[_name(one)]) for one in found]
    cells = {one.cell for one in found}
    better = sum(one.level.shown[1] > 0 for one in found)
    worse = sum(one.level.shown[2] < 0 for one in found)
    base = base_of([(one.level.seeds, one.level.tasks_alone.n, one.level.over_seeds) for one in found])
    return Figure(
        name="controls",
        title="The team minus its controls",
        says=(
            f"Accuracy of the team at its peak minus that of a control on the same test tasks, in points: {base}. Of"
            f" {counted(len(found), 'comparison')} in {counted(len(cells), 'cell')} the team is better in {better} and"
            f" worse in {worse}; of the others it cannot be told, and their marks are hollow. The intervals are not"
            " corrected for the number of comparisons."
        ),
        spec=spec(list(names.values()), domain_of(rows, 100 * margin), "points", 100 * margin, {"": "square"}),
        data={"rows": frame(rows), "band": band(100 * margin)},
        table=pl.DataFrame([_told(one) for one in found], infer_schema_length=None),
    )


def control_differences(collected: Collected) -> list[ControlDifference]:
    """The differences, by control and then by cell, of finished runs."""
    peaks = _peaks(collected)
    cells: dict[tuple[tuple[str, str], ...], list[RunRecord]] = {}
    for run in collected.runs:
        if has_outcomes(run) and not run.control and run.run in peaks:
            cells.setdefault(tuple(run.labels.items()), []).append(run)
    agents = [run for run in collected.runs if run.control and run.run in peaks]
    found = []
    for labels, runs in cells.items():
        name = printable("-".join(label for _, label in labels)) or "the runs"
        sides: dict[str, list[tuple[PerTask, PerTask]]] = {}
        for run in runs:
            for control, team, other in [*_own(run, peaks[run.run]), *_of_agents(run, peaks, agents)]:
                sides.setdefault(printable(control), []).append((team, other))
        found += [one for control, pairs in sides.items() if (one := _difference(name, control, pairs)) is not None]
    return sorted(found, key=lambda one: (one.control, one.cell))


def _peaks(collected: Collected) -> dict[str, PerTask]:
    """Run -> task -> the outcome of the team at the peak."""
    own = collected.outcomes.filter(pl.col("role").is_null() & (pl.col("milestone") == "peak"))
    return {
        str(run[0]): dict(zip(rows["task"].to_list(), rows["value"].to_list(), strict=True))
        for run, rows in own.partition_by("run", as_dict=True).items()
    }


def _own(run: RunRecord, peak: PerTask) -> Iterator[tuple[str, PerTask, PerTask]]:
    """The evaluations of a run: each with that of the run as it is, where it has one, or else with its peak."""
    for name, parts in run.controls.items():
        if not name.endswith(_SELF) and TEAM in parts:
            itself = run.controls.get(f"{name.split(': ', 1)[0]}{_SELF}", {}).get(TEAM, {}).get("outcomes", peak)
            yield name, itself, parts[TEAM]["outcomes"]


def _of_agents(
    run: RunRecord, peaks: Mapping[str, PerTask], agents: Sequence[RunRecord]
) -> Iterator[tuple[str, PerTask, PerTask]]:
    """The single agents of a run's cell with the same seed, and the evaluations that were made of them for it."""
    for agent in agents:
        if agent.seed != run.seed or any(run.labels.get(axis) != label for axis, label in agent.labels.items()):
            continue
        yield agent.control, peaks[run.run], peaks[agent.run]
        workflow = run.labels.get("workflow", run.workflow)
        for name, parts in agent.controls.items():
            kind = next((kind for kind in _OF_AGENTS if name == kind or name.endswith(f"-{kind}")), None)
            if kind and TEAM in parts and (name == kind or f"-{workflow}-" in f"-{name}"):
                yield f"{agent.control}, {kind}", peaks[run.run], parts[TEAM]["outcomes"]


def _difference(cell: str, control: str, pairs: Sequence[tuple[PerTask, PerTask]]) -> ControlDifference | None:
    """Over the tasks that all have; None without one."""
    tasks = sorted(set.intersection(*({*team} & {*other} for team, other in pairs)))
    if not tasks:
        return None
    team, other = (np.array([[side[place][task] for task in tasks] for side in pairs]) for place in (0, 1))
    return ControlDifference(
        cell=cell, control=control, team=fmean(team.mean(axis=1)), level=level(team - other, difference=True)
    )


def _name(one: ControlDifference) -> str:
    return f"{one.cell} - {one.control}"


def _row(one: ControlDifference, label: str) -> dict[str, Any]:
    value, low, high = (100 * part for part in one.level.shown)
    return {
        "of": label,
        "amount": "",
        "value": value,
        "low": low,
        "high": high,
        "wide_low": None,
        "wide_high": None,
        "visible": None,
        "verdict": "ahead" if low > 0 or high < 0 else "cannot tell",
    }


def _told(one: ControlDifference) -> dict[str, Any]:
    value, low, high = (100 * part for part in one.level.shown)
    return {
        "cell": one.cell,
        "control": one.control,
        "team, %": f"{100 * one.team:.1f}",
        "control, %": f"{100 * one.team - value:.1f}",
        "points": f"{value:+z.1f}",
        "95 % interval": f"[{low:z.1f}, {high:z.1f}]",
        "seeds": one.level.seeds,
        "tasks": one.level.tasks_alone.n,
    }
