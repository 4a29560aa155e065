"""Evaluation of a workflow on held-out tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from counterpoint.analysis.passes import Attempt, Attempts
from counterpoint.analysis.recorded import Recorded, recorded
from counterpoint.diagnostics.base import Numbers
from counterpoint.diagnostics.behaviour import episode_numbers, not_called
from counterpoint.episode import Answer, Group, calls_of
from counterpoint.errors import EndpointError, WorkflowError, counted
from counterpoint.play import Limits, Stage, rollout
from counterpoint.task import RIGHT_FROM, Task

Outcomes = Mapping[str, Sequence[float]]
"""Task id -> the outcomes of its episodes, from 0 to 1; a task without any is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The results of the episodes on every task of a split."""

    split: str
    outcomes: Outcomes
    """The reward of each episode that could be judged; a failed episode counts as 0."""
    roles: Mapping[str, Outcomes]
    """Role -> task id -> the scores of its claims; a role without any is absent."""
    numbers: Numbers
    """Numbers of the team and the roles, with the names in `docs/metrics.md`."""
    attempts: Attempts = field(default_factory=dict)
    """Task id -> the answer of each episode that could be judged; the answer of a failed episode is None."""
    role_attempts: Mapping[str, Attempts] = field(default_factory=dict)
    """Role -> its answers in its first turn, which no earlier answer of its own can have influenced; roles that give no
    answers are absent."""
    groups: tuple[Group, ...] = field(default=(), repr=False, compare=False)
    """The episodes, by task."""
    controls: tuple[Recorded, ...] = ()
    """The answers that some of the calls of each episode give by themselves."""

    @property
    def accuracy(self) -> float:
        """Mean over tasks of the mean success of their episodes."""
        return fmean(fmean(values) for values in self.outcomes.values())

    def metrics(self) -> Numbers:
        """The accuracy and the numbers, named `eval/<split>/...`, and each role's mean over tasks, as in tables."""
        by_task = {
            f"role/{role}/task_accuracy": fmean(fmean(values) for values in outcomes.values())
            for role, outcomes in self.roles.items()
        }
        numbers = {"accuracy": self.accuracy, **self.numbers, **by_task}
        return {f"eval/{self.split}/{name}": value for name, value in numbers.items()}

    def row(self, step: int) -> dict[str, Any]:
        """Everything except the answers and the episodes, as one row of `evaluations.jsonl`."""
        kept = ("split", "outcomes", "roles", "numbers")
        controls = {control.name: control.as_dict() for control in self.controls}
        row = {"step": step, "accuracy": self.accuracy, **{name: getattr(self, name) for name in kept}}
        return {**row, "controls": controls}

    def answers(self) -> dict[str, Any]:
        """The attempts of the team and of each role, as values that JSON can hold."""
        return {"team": _plain(self.attempts), "roles": {who: _plain(made) for who, made in self.role_attempts.items()}}


async def evaluate(
    stage: Stage, tasks: Sequence[Task], limits: Limits, *, split: str, samples: int, seed: int
) -> Evaluation:
    """The evaluation of a split, with `samples` episodes per task.

    With the same seed, different checkpoints sample with the same random numbers, so that their results can be paired.
    A role that was not called in any episode has 0 calls and no accuracy. Raises EndpointError if no episode could be
    judged because an endpoint failed, and WorkflowError if none could be judged for another reason.
    """
    return count(await play(stage, tasks, limits, split=split, samples=samples, seed=seed), split, stage.workflow.roles)


async def play(
    stage: Stage, tasks: Sequence[Task], limits: Limits, *, split: str, samples: int, seed: int
) -> list[Group]:
    """The episodes of an evaluation, one group per task.

    Their random numbers depend on the seed, the split, the task and their place in the group, and on neither the other
    tasks nor `samples`. Raises as `rollout` does.
    """
    return await rollout(stage, tasks, limits, size=samples, seed=f"{seed}/evaluate/{split}")


def count(groups: Sequence[Group], split: str, roles: Sequence[str] = ()) -> Evaluation:
    """The evaluation computed from these episodes; those of `roles` that they do not call have 0 calls.

    Raises as `evaluate` does if no episode could be judged.
    """
    outcomes = {group.task: [one.success for one in group.episodes if one.success is not None] for group in groups}
    judged = {task: values for task, values in outcomes.items() if values}
    if not judged:
        first = groups[0].episodes[0]
        if first.error_kind == "endpoint":
            raise EndpointError(
                f"none of the {counted(len(groups), f'{split} task')} was answered; first: {first.error}"
            )
        raise WorkflowError(
            f"no answer to the {counted(len(groups), f'{split} task')} could be judged; first: {first.score.reason}"
        )
    answered = [one for group in groups for one in group.episodes if one.error is None and one.answer is not None]
    if answered and all(one.success is None for one in answered):
        raise WorkflowError(
            f"none of the {len(answered)} answers to {split} tasks could be judged; first: {answered[0].score.reason}"
        )
    scores: dict[str, dict[str, list[float]]] = {}
    for episode, call in calls_of(groups):
        if call.score is not None:
            scores.setdefault(call.key.role, {}).setdefault(episode.task, []).append(call.score)
    return Evaluation(
        split=split,
        outcomes=judged,
        roles=scores,
        numbers={**episode_numbers(groups), **not_called(groups, roles)},
        attempts={group.task: attempts for group in groups if (attempts := _attempts(group))},
        role_attempts=_role_attempts(groups),
        groups=tuple(groups),
        controls=recorded(groups),
    )


def _attempts(group: Group) -> list[Attempt]:
    judged = [(one.answer, one.success) for one in group.episodes if one.success is not None]
    return [Attempt(answer, success >= RIGHT_FROM) for answer, success in judged]


def _role_attempts(groups: Sequence[Group]) -> dict[str, Attempts]:
    found: dict[str, dict[str, list[Attempt]]] = {}
    answering = {call.key.role for _, call in calls_of(groups) if isinstance(call.claim, Answer)}
    for episode, call in calls_of(groups):
        role, turn = call.key.role, call.key.turn
        first = min(one.key.turn for one in episode.calls if one.key.role == role)
        if role in answering and turn == first and call.score is not None:
            text = call.claim.text if isinstance(call.claim, Answer) else None
            found.setdefault(role, {}).setdefault(episode.task, []).append(Attempt(text, call.score >= RIGHT_FROM))
    return dict(found)


def _plain(attempts: Attempts) -> dict[str, list[dict[str, Any]]]:
    return {task: [one._asdict() for one in made] for task, made in attempts.items()}
