"""Teams compared with the single agents that a study trained with at least as many tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from counterpoint.analysis.comparison import MethodComparison, compare_methods
from counterpoint.analysis.contrast import Estimate, Part, contrast, weighted_sum
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import RunError
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.compare import corrected, side
from counterpoint.experiments.compared import TEAM, Difference
from counterpoint.experiments.groups import Group, printable
from counterpoint.experiments.matrices import Amount, has_outcomes, matrices

AGAINST: tuple[Amount, ...] = ("peak", "terminal")
"""The amounts that are compared: a team and a single agent begin from different accuracies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnAverage:
    """Teams minus their single agents, the mean over all pairs of the two."""

    amount: Amount
    estimate: Estimate
    """Over seeds and tasks; the teams of one single agent, which share it, are one part."""
    pairs: int
    below: int
    """The pairs in which the team is below the single agent."""
    above: int


def on_average(collected: Collected, amount: Amount) -> OnAverage | None:
    """Each team minus each single agent with the same labels, on average; None without two seeds of a pair.

    As in `against_controls`, cells with other test tasks are left out, and at the end those that were stopped.
    """
    families: dict[tuple[str, ...], list[Part]] = {}
    pairs: list[float] = []
    for agent, teams in _served(collected, amount):
        found = matrices(collected, [agent.runs, *(team.runs for team in teams)], amount)
        seeds = sorted(set.intersection(*(set(one.seeds) for one in found)))
        if len(seeds) < 2 or len(found[0].tasks) < 2:
            continue
        rows = [one.values[[one.seeds.index(seed) for seed in seeds]] for one in found]
        pairs += [float((team - rows[0]).mean()) for team in rows[1:]]
        key = (agent.runs[0].tasks_sha256, *found[0].tasks)
        families.setdefault(key, []).append((float(len(teams)), np.mean(rows[1:], axis=0) - rows[0]))
    if not pairs:
        return None
    estimates = [contrast([(weight / len(pairs), values) for weight, values in own]) for own in families.values()]
    return OnAverage(
        amount=amount,
        estimate=weighted_sum(estimates),
        pairs=len(pairs),
        below=sum(one < 0 for one in pairs),
        above=sum(one > 0 for one in pairs),
    )


def tokens_beside(collected: Collected) -> dict[str, tuple[float, float]]:
    """Workflow -> the least and the largest number of tokens of a single agent for each token of its team."""
    found: dict[str, list[float]] = {}
    for agent, teams in _served(collected, "peak"):
        for team in teams:
            own, its = (fmean(run.tokens for run in group.runs) for group in (team, agent))
            if own and its:
                found.setdefault(team.labels.get("workflow", team.runs[0].workflow), []).append(its / own)
    return {workflow: (min(ratios), max(ratios)) for workflow, ratios in found.items()}


def _served(collected: Collected, amount: Amount) -> Iterator[tuple[Group, list[Group]]]:
    """Each single agent with the teams that have its labels and its test tasks."""
    teams = _groups([run for run in collected.runs if not run.control])
    for agent in _groups([run for run in collected.runs if run.control]):
        own = [
            team
            for team in teams
            if agent.labels.items() <= team.labels.items()
            and {run.tasks_sha256 for run in team.runs} == {run.tasks_sha256 for run in agent.runs}
            and not (amount == "terminal" and any(run.stopped for run in (*team.runs, *agent.runs)))
        ]
        if own:
            yield agent, own


def against_controls(collected: Collected, margin: float) -> list[Difference]:
    """Each team minus each single agent with the same labels, at the peak and at the end.

    The block is the name of the team's cell, and the name of the other side is that of the control. Verdicts are those
    after Holm's correction for all of them. Cells without finished runs, or with other test tasks, are left out; at the
    end also those of which some runs were stopped.
    """
    teams = _groups([run for run in collected.runs if not run.control])
    agents = _groups([run for run in collected.runs if run.control])
    found = [
        Difference(block=team.name, who=TEAM, amount=amount, found=compared, p_value=None)
        for team in teams
        for agent in agents
        if agent.labels.items() <= team.labels.items()
        for amount in AGAINST
        if (compared := _compared(collected, team, agent, amount, margin)) is not None
    ]
    return corrected(found, holm, "Holm")


def _groups(runs: Sequence[RunRecord]) -> list[Group]:
    """The runs by control and labels, those that have outcomes."""
    members: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in runs:
        members.setdefault((run.control, *(part for one in run.labels.items() for part in one)), []).append(run)
    found = []
    for own in members.values():
        finished = {run.seed: run for run in own if has_outcomes(run)}
        if finished:
            name = own[0].control or "-".join(own[0].labels.values()) or "the team"
            missing = tuple(run for run in own if run.seed not in finished)
            ordered = tuple(finished[seed] for seed in sorted(finished))
            found.append(Group(name=printable(name), labels=dict(own[0].labels), runs=ordered, missing=missing))
    return found


def _compared(
    collected: Collected, team: Group, agent: Group, amount: Amount, margin: float
) -> MethodComparison | None:
    if amount == "terminal" and any(run.stopped for run in (*team.runs, *agent.runs)):
        return None
    try:
        one, other = matrices(collected, [team.runs, agent.runs], amount)
    except RunError:  # other test tasks
        return None
    return compare_methods(side(team, one), side(agent, other), left_out=one.left_out, margin=margin, bound=1.0)
