"""What looking costs: a step with every diagnostic against one with none.

The real `train`, with the same calls on all sides. Every fifth step looks closer, at slots apart and at the distance to
the base: the last figure is the mean over five steps, which is what a run pays.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks._timing import in_turns, ratio, ratios
from benchmarks._training import NEVER, Training, stepwise
from benchmarks.base import Figure, Setting, Target
from counterpoint.config import Config

TARGET = Target("<=", 1.02)
CLOSER = 5
"""Steps from one close look to the next, by default."""


def diagnostics(setting: Setting) -> Iterator[Figure]:
    tasks, group = setting.size((16, 8), (2, 2), (4, 8))
    kinds = {"none": [], "all": _looks(NEVER), "all, closer": _looks(1)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runs = {
            name: stack.enter_context(Training(_recipe(setting, looks, tasks, group), Path(folder) / name))
            for name, looks in kinds.items()
        }
        seconds = in_turns({name: run.step for name, run in runs.items()}, setting.repeats)
    work = f"voting, {tasks} tasks x {group} rollouts x 4 calls, one shared policy"
    yield ratio("a usual step / without", seconds, over="all", under="none", target=None, work=work)
    yield ratio("a step that looks closer / without", seconds, over="all, closer", under="none", target=None, work=work)
    usual, closer = ratios(seconds["all"], seconds["none"]), ratios(seconds["all, closer"], seconds["none"])
    yield Figure(
        name="mean of five steps / without",
        values=[((CLOSER - 1) * one + other) / CLOSER for one, other in zip(usual, closer, strict=True)],
        target=TARGET,
    )


def _looks(every: int) -> list[Any]:
    return [
        "behaviour",
        {"name": "role_gradients", "every": every},
        "persistence",
        {"name": "distance", "every": every},
    ]


def _recipe(setting: Setting, looks: list[Any], tasks: int, group: int) -> Config:
    return stepwise(
        {
            "task": {"name": "arithmetic", "operands": 3, "high": 30},
            "workflow": "voting",
            "policies": {"sharing": "shared", "learning_rate": 1e-9},
            "rollout": {"tasks_per_step": tasks, "group_size": group, "max_tokens": setting.size(48, 4)},
            "diagnostics": looks,
        },
        threads=setting.threads,
    )
