"""The rollouts of a training step. Tasks whose episodes give no signal can be replaced by others."""

import random
from collections.abc import Collection, Sequence
from dataclasses import replace

from counterpoint.algorithms.base import Algorithm
from counterpoint.config import Config
from counterpoint.episode import Group
from counterpoint.errors import EndpointError
from counterpoint.play import Limits, Stage, rollout
from counterpoint.policy import Routing
from counterpoint.task import Task
from counterpoint.tasks.base import batch
from counterpoint.workflows.single import single


async def act(
    stage: Stage, tasks: Sequence[Task], limits: Limits, config: Config, algorithm: Algorithm, *, step: int
) -> list[Group]:
    """The groups of episodes of training step `step`; they depend only on the seed, the step and the weights.

    With `algorithm.resample = n`, one further task is played for each task without signal, up to `n` times; the groups
    without signal are returned too. Raises what `rollout` raises; further tasks may all fail.
    """
    chosen = list(batch(tasks, step=step, size=config.rollout.tasks_per_step, seed=config.run.seed))
    groups = await _played(stage, chosen, limits, config, algorithm, step)
    for attempt in range(config.algorithm.resample):
        missing = len(chosen) - len(groups) + len(algorithm.without_signal(groups))
        others = spare(tasks, [group.task for group in groups], missing, f"{config.run.seed}/spare/{step}/{attempt}")
        if not others:
            break
        # A few tasks, and those of the step were not all in vain: that these fail says nothing about the workflow.
        groups += await _played(stage, others, limits, config, algorithm, step, may_fail=True)
    return groups


def spare(tasks: Sequence[Task], used: Collection[str], count: int, seed: str) -> list[Task]:
    """`count` random tasks that are not in `used`, or all such tasks if there are fewer."""
    unused = [task for task in tasks if task.problem.id not in set(used)]
    return random.Random(seed).sample(unused, min(count, len(unused)))


async def _played(
    stage: Stage,
    tasks: Sequence[Task],
    limits: Limits,
    config: Config,
    algorithm: Algorithm,
    step: int,
    *,
    may_fail: bool = False,
) -> list[Group]:
    size, seed = config.rollout.group_size, f"{config.run.seed}/train/{step}"
    groups = await rollout(stage, tasks, limits, size=size, seed=seed, may_fail=may_fail)
    if algorithm.solo is None:
        return groups
    one = alone(stage, algorithm.solo)
    solos = await rollout(one, tasks, limits, size=size, seed=f"{seed}/solo", may_fail=may_fail)
    return [replace(group, solos=solo.episodes) for group, solo in zip(groups, solos, strict=True)]


def alone(stage: Stage, role: str) -> Stage:
    """A copy of the stage on which `role` solves tasks alone, with the policy of its first slot."""
    return replace(stage, workflow=single, routing=Routing({"generator": stage.routing.policy_for(role, 0)}))


class Patience:
    """A counter of consecutive steps in which every episode failed, as happens while an endpoint cannot be reached."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._failed = 0

    def judge(self, groups: Sequence[Group]) -> None:
        """Count a step. Raises EndpointError if `run.patience` consecutive steps have failed."""
        errors = [episode.error for group in groups for episode in group.episodes]
        self._failed = self._failed + 1 if all(errors) else 0
        if self._failed == self._steps:
            raise EndpointError(
                f"every episode of {self._failed} steps in a row (run.patience) failed; last: {errors[-1]}"
            )
