"""Where problems come from and how their answers are judged."""

from collections.abc import Callable

from counterpoint.config import Spec, check_options
from counterpoint.errors import ConfigError, unknown
from counterpoint.tasks.arithmetic import arithmetic
from counterpoint.tasks.base import Splits
from counterpoint.tasks.questions import questions

TASKS: dict[str, Callable[..., Splits]] = {"arithmetic": arithmetic, "questions": questions}


def load_tasks(spec: Spec) -> Splits:
    """The splits that a recipe names, with its options. Raises ConfigError or TaskError."""
    if spec.name not in TASKS:
        raise ConfigError(unknown("task", spec.name, TASKS))
    member = TASKS[spec.name]
    return member(**check_options(f"task.{spec.name}", member, spec.options))
