"""Teams compared with the single agents that a study trained with as many tokens."""

from collections.abc import Sequence

from counterpoint.analysis.comparison import MethodComparison, compare_methods
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import RunError
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.compare import corrected, side
from counterpoint.experiments.compared import TEAM, Difference
from counterpoint.experiments.groups import Group, printable
from counterpoint.experiments.matrices import Amount, has_outcomes, matrices

AGAINST: tuple[Amount, ...] = ("peak", "terminal")
"""The amounts that are compared: a team and a single agent begin from different accuracies."""


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
