"""Where problems come from and how their answers are judged."""

import inspect
from collections.abc import Callable
from dataclasses import replace

from counterpoint.config import Spec, check_options
from counterpoint.errors import ConfigError, unknown
from counterpoint.judges.programs.grader import Grader
from counterpoint.sandboxes import build_sandbox
from counterpoint.tasks.arithmetic import arithmetic
from counterpoint.tasks.base import Splits
from counterpoint.tasks.gym import gym
from counterpoint.tasks.mathematics.task import mathematics
from counterpoint.tasks.programs.task import programs
from counterpoint.tasks.questions import questions
from counterpoint.tasks.synthesis.task import synthesis

TASKS: dict[str, Callable[..., Splits]] = {
    "arithmetic": arithmetic,
    "gym": gym,
    "mathematics": mathematics,
    "programs": programs,
    "questions": questions,
    "synthesis": synthesis,
}
_DEFAULT_SANDBOX = Spec(name="fork_server")


def load_tasks(spec: Spec, sandbox: Spec = _DEFAULT_SANDBOX) -> Splits:
    """The splits that a recipe names, with its options. Raises ConfigError or TaskError.

    A member that takes a `judge` has its programs judged in that sandbox, which is not started yet: see
    `Splits.judging`.
    """
    if spec.name not in TASKS:
        raise ConfigError(unknown("task", spec.name, TASKS))
    member = TASKS[spec.name]
    options = check_options(f"task.{spec.name}", member, spec.options, skip=("judge",))
    if "judge" not in inspect.signature(member).parameters:
        return member(**options)
    grader = Grader(build_sandbox(sandbox))
    return replace(member(**options, judge=grader.judge), judging=grader)
