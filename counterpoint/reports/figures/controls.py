"""Teams compared with their controls: single agents, transfer, majority, solo, swapped and removed roles."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from counterpoint.analysis.comparison import MARGIN, level
from counterpoint.errors import counted
from counterpoint.experiments.against_controls import against_controls
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.compared import TEAM, Difference
from counterpoint.experiments.groups import printable
from counterpoint.experiments.matrices import PerTask, has_outcomes
from counterpoint.experiments.measured import TAUGHT
from counterpoint.reports.compared_table import base_of, verdict_of
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.forest import about_cut, band, domain_of, frame, spec
from counterpoint.reports.figures.groups import labels

MOST = 60
"""Comparisons of one figure; of more, those with trained single agents, and then the largest differences."""
_SELF = ": run"
"""The end of the name of the evaluation of the run as it is, beside a control."""
_TAUGHT = f"{TAUGHT}: "
"""The beginning of the names of evaluations of the base, which have a figure of their own."""
_OF_AGENTS = ("transfer", "majority")
_TRAINED = {"peak": "at the peak", "terminal": "at the end"}
EVALUATED = "as evaluated"
_MARKS = {"at the peak": "triangle-up", "at the end": "square", EVALUATED: "diamond"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlDifference:
    """The team of a cell minus one of its controls."""

    cell: str
    control: str
    amount: str
    """At the peak and at the end of a single agent that was trained; as evaluated, of an evaluation."""
    shown: tuple[float, float, float]
    """The difference and its interval."""
    over_seeds: bool
    seeds: int
    tasks: int
    verdict: str
    """ahead, behind, alike or cannot tell, of the team; of an evaluation without the margin and a correction."""


def controls(collected: Collected, margin: float = MARGIN) -> Figure | None:
    """Every cell minus each of its controls; None without a control."""
    found = control_differences(collected, margin)
    if not found:
        return None
    drawn = _largest(found)
    names = labels(map(_name, drawn))
    rows = [_row(one, names[_name(one)]) for one in drawn]
    domain = domain_of(rows, 100 * margin)
    marks = {amount: mark for amount, mark in _MARKS.items() if amount in {one.amount for one in drawn}}
    return Figure(
        name="controls",
        title="The team minus its controls",
        says=_says(found, len(found) - len(drawn)) + about_cut(rows, domain),
        spec=spec(list(names.values()), domain, "points", 100 * margin, marks),
        data={"rows": frame(rows), "band": band(100 * margin)},
        table=pl.DataFrame([_told(one) for one in found], infer_schema_length=None),
    )


def _largest(found: Sequence[ControlDifference]) -> list[ControlDifference]:
    """As many as one figure holds: those from trained single agents before evaluations, then the largest."""
    ranked = sorted(found, key=lambda one: (one.amount == EVALUATED, -abs(one.shown[0])))
    kept = {id(one) for one in ranked[:MOST]}
    return [one for one in found if id(one) in kept]


def control_differences(collected: Collected, margin: float = MARGIN) -> list[ControlDifference]:
    """The differences, by control and then by cell, of finished runs.

    Those from single agents that were trained are those of `against_controls`, with its verdicts.
    """
    trained = [_of_trained(one) for one in against_controls(collected, margin)]
    cells: dict[tuple[tuple[str, str], ...], list[RunRecord]] = {}
    for run in collected.runs:
        if has_outcomes(run) and not run.control:
            cells.setdefault(tuple(run.labels.items()), []).append(run)
    agents = [run for run in collected.runs if run.control and has_outcomes(run)]
    evaluated = []
    for own, runs in cells.items():
        name = printable("-".join(label for _, label in own)) or "the team"
        sides: dict[str, list[tuple[PerTask, PerTask]]] = {}
        for run in runs:
            peak = collected.outcomes_of(run.run, "peak")
            for control, team, other in [*_own(run, peak), *_of_agents(run, peak, agents)]:
                sides.setdefault(printable(control), []).append((team, other))
        evaluated += [one for control, pairs in sides.items() if (one := _difference(name, control, pairs)) is not None]
    return sorted([*trained, *evaluated], key=lambda one: (one.control, one.cell))


def _says(found: Sequence[ControlDifference], left_out: int) -> str:
    verdicts = Counter(one.verdict for one in found)
    told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    base = base_of([(one.seeds, one.tasks, one.over_seeds) for one in found])
    cells = counted(len({one.cell for one in found}), "cell")
    kinds = {one.amount for one in found}
    trained = " Verdicts against trained single agents are corrected (Holm)." if kinds - {EVALUATED} else ""
    evaluated = (
        " Evaluations of finished runs are compared with the run as it was evaluated beside them or, without one, with"
        " its peak; they are not corrected for their number."
    )
    rest = f" {counted(left_out, 'further comparison')} are in the table." if left_out else ""
    return (
        f"Accuracy of the team minus that of a control on the same test tasks, in points: {base}. Of"
        f" {counted(len(found), 'comparison')} in {cells} the team is: {told}; marks of what cannot be told are"
        f" hollow.{trained}{evaluated if EVALUATED in kinds else ''}{rest}"
    )


def _of_trained(one: Difference) -> ControlDifference:
    return ControlDifference(
        cell=one.block,
        control=one.found.other,
        amount=_TRAINED[one.amount],
        shown=one.found.shown,
        over_seeds=one.found.over_seeds,
        seeds=min(one.found.seeds),
        tasks=one.found.tasks,
        verdict=verdict_of(one),
    )


def _own(run: RunRecord, peak: PerTask) -> Iterator[tuple[str, PerTask, PerTask]]:
    """The evaluations of a run: each with that of the run as it is, where it has one, or else with its peak."""
    for name, parts in run.controls.items():
        if not name.endswith(_SELF) and not name.startswith(_TAUGHT) and TEAM in parts:
            itself = run.controls.get(f"{name.split(': ', 1)[0]}{_SELF}", {}).get(TEAM, {}).get("outcomes", peak)
            yield name, itself, parts[TEAM]["outcomes"]


def _of_agents(run: RunRecord, peak: PerTask, agents: Sequence[RunRecord]) -> Iterator[tuple[str, PerTask, PerTask]]:
    """The evaluations, made for a run's cell, of the single agents with its seed and labels."""
    workflow = run.labels.get("workflow", run.workflow)
    for agent in agents:
        if agent.seed == run.seed and agent.labels.items() <= run.labels.items():
            for name, parts in agent.controls.items():
                kind = next((kind for kind in _OF_AGENTS if name == kind or name.startswith(f"{kind}-")), None)
                if kind and TEAM in parts and (name == kind or f"-{workflow}-" in f"{name}-"):
                    yield f"{agent.control}, {kind}", peak, parts[TEAM]["outcomes"]


def _difference(cell: str, control: str, pairs: Sequence[tuple[PerTask, PerTask]]) -> ControlDifference | None:
    """Over the tasks that all have; None without one."""
    tasks = sorted(set.intersection(*({*team} & {*other} for team, other in pairs)))
    if not tasks:
        return None
    team, other = (np.array([[side[place][task] for task in tasks] for side in pairs]) for place in (0, 1))
    found = level(team - other, difference=True)
    value, low, high = found.shown
    return ControlDifference(
        cell=cell,
        control=control,
        amount=EVALUATED,
        shown=(value, low, high),
        over_seeds=found.over_seeds,
        seeds=found.seeds,
        tasks=found.tasks_alone.n,
        verdict="ahead" if low > 0 else "behind" if high < 0 else "cannot tell",
    )


def _name(one: ControlDifference) -> str:
    return f"{one.cell} - {one.control}"


def _row(one: ControlDifference, label: str) -> dict[str, Any]:
    value, low, high = (100 * part for part in one.shown)
    ends = {"value": value, "low": low, "high": high, "wide_low": None, "wide_high": None, "visible": None}
    return {"of": label, "amount": one.amount, **ends, "verdict": one.verdict}


def _told(one: ControlDifference) -> dict[str, Any]:
    value, low, high = (100 * part for part in one.shown)
    return {
        "cell": one.cell,
        "control": one.control,
        "amount": one.amount,
        "points": f"{value:+z.1f}",
        "95 % interval": f"[{low:z.1f}, {high:z.1f}]",
        "verdict": one.verdict,
        "seeds": one.seeds,
        "tasks": one.tasks,
    }
