"""Outcomes of collected runs as arrays [seeds, tasks], on the tasks that all of them have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from counterpoint.analysis.contrast import Outcomes
from counterpoint.errors import RunError
from counterpoint.experiments.collected import Collected, Milestone, RunRecord

Amount = Literal["base", "peak", "terminal", "gain", "kept", "drop"]
AMOUNTS: Mapping[Amount, tuple[tuple[float, Milestone], ...]] = {
    "base": ((1.0, "base"),),
    "peak": ((1.0, "peak"),),
    "terminal": ((1.0, "terminal"),),
    "gain": ((1.0, "peak"), (-1.0, "base")),
    "kept": ((1.0, "terminal"), (-1.0, "base")),
    "drop": ((1.0, "peak"), (-1.0, "terminal")),
}
"""An amount -> the milestones that it is a weighted sum of."""
PerTask = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrix:
    """An amount of the same tasks with several seeds."""

    values: Outcomes
    """[K, J]: the mean outcome of every task with every seed, or a difference of two."""
    seeds: tuple[int, ...]
    """K seeds, ascending."""
    tasks: tuple[str, ...]
    """J tasks, sorted: those of which every run has the outcome."""
    left_out: int
    """The tasks of which some run has an outcome and another has none."""


def has_outcomes(run: RunRecord) -> bool:
    """True if a run is finished and was evaluated after its base."""
    return run.state == "finished" and run.peak_step is not None


def roles_of(collected: Collected, runs: Sequence[RunRecord]) -> list[str]:
    """The roles of which any of the runs has an outcome, sorted."""
    return collected.roles_of(run.run for run in runs)


def matrix(collected: Collected, runs: Sequence[RunRecord], amount: Amount, role: str | None = None) -> Matrix:
    """One amount of the team, or of a role, for the runs of a method, which differ in their seed alone.

    Raises RunError, in one line, if a run has no outcomes, two have the same seed, they have different test tasks, or
    they have no task in common.
    """
    return matrices(collected, [runs], amount, role)[0]


def paired(
    collected: Collected,
    one: Sequence[RunRecord],
    other: Sequence[RunRecord],
    amount: Amount,
    role: str | None = None,
) -> Matrix:
    """One amount of one method minus that of the other, seed by seed and task by task, over the seeds that both have.

    Raises RunError as `matrix` does, or if they have no seed in common.
    """
    first, second = matrices(collected, [one, other], amount, role)
    both = sorted(set(first.seeds) & set(second.seeds))
    if not both:
        raise RunError(
            f"nothing can be paired: {_seeds(first)} on one side and {_seeds(second)} on the other have none in common"
        )
    rows = [[side.seeds.index(seed) for seed in both] for side in (first, second)]
    difference = first.values[rows[0]] - second.values[rows[1]]
    return Matrix(values=difference, seeds=tuple(both), tasks=first.tasks, left_out=first.left_out)


def matrices(
    collected: Collected, groups: Sequence[Sequence[RunRecord]], amount: Amount, role: str | None = None
) -> list[Matrix]:
    """One amount of several methods, on the tasks of which every run of every method has an outcome.

    Raises RunError as `matrix` does.
    """
    every = [run for runs in groups for run in runs]
    _check(groups)
    found = {run.run: _amount(collected, run, amount, role) for run in every}
    some = set().union(*found.values())
    tasks = tuple(sorted(some.intersection(*found.values())))
    if not tasks:
        whose = "the team" if role is None else f"the role {role}"
        raise RunError(f"no test task has an outcome of {whose} in all of: {', '.join(run.run for run in every)}")
    return [
        Matrix(
            values=np.array([[found[run.run][task] for task in tasks] for run in ordered], dtype=np.float64),
            seeds=tuple(run.seed for run in ordered),
            tasks=tasks,
            left_out=len(some) - len(tasks),
        )
        for ordered in (sorted(runs, key=lambda run: run.seed) for runs in groups)
    ]


def check_same_tasks(runs: Sequence[RunRecord]) -> None:
    """Raises RunError, which names two runs, if not all have the same test tasks."""
    for run in runs[1:]:
        if run.tasks_sha256 != runs[0].tasks_sha256:
            raise RunError(
                f"{runs[0].run} and {run.run} were tested on different tasks: accuracies on different tasks cannot be"
                " compared"
            )


def _check(groups: Sequence[Sequence[RunRecord]]) -> None:
    for runs in groups:
        if not runs:
            raise RunError("nothing can be compared: a method has no finished run")
        for run in runs:
            if not has_outcomes(run):
                why = "it was not evaluated after its base" if run.state == "finished" else f"it is {run.state}"
                raise RunError(f"{run.run} has no outcomes: {why}")
        seeds = [run.seed for run in runs]
        for run in runs:
            if seeds.count(run.seed) > 1:
                same = ", ".join(one.run for one in runs if one.seed == run.seed)
                raise RunError(f"runs of one method differ in their seed, and these have the seed {run.seed}: {same}")
    check_same_tasks([run for runs in groups for run in runs])


def _amount(collected: Collected, run: RunRecord, amount: Amount, role: str | None) -> dict[str, float]:
    """Task -> the amount, for the tasks of which the run has every part."""
    parts = [(weight, collected.outcomes_of(run.run, milestone, role)) for weight, milestone in AMOUNTS[amount]]
    tasks = set.intersection(*(set(outcomes) for _, outcomes in parts))
    return {task: sum(weight * outcomes[task] for weight, outcomes in parts) for task in tasks}


def _seeds(matrix: Matrix) -> str:
    return f"seed{'' if len(matrix.seeds) == 1 else 's'} {', '.join(map(str, matrix.seeds))}"
