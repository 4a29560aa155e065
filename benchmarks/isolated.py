"""What more policies cost: the same calls with one policy per role against one for all, and with 1 to 8 policies.

The real `train`. The learning rate is so small that every run says the same in every step, and so has the same calls.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks._timing import in_turns, ratio
from benchmarks._training import Training, stepwise
from benchmarks.base import Figure, Setting, Target
from counterpoint.config import Config

SHARED, SEVERAL = Target("<=", 1.05), Target("<=", 1.15)
COUNTS = (1, 2, 4, 8)
VOTES = 8


def isolated(setting: Setting) -> Iterator[Figure]:
    tasks, group = setting.size((16, 8), (2, 2), (4, 8))
    sharings: dict[str, Any] = {"isolated": "isolated", "shared": "shared"}
    seconds = _measured(setting, sharings, tasks=tasks, group=group, votes=3)
    work = f"voting, {tasks} tasks x {group} rollouts x 4 calls"
    yield ratio("2 roles: isolated / shared", seconds, over="isolated", under="shared", target=SHARED, work=work)

    tasks = setting.size(8, 2, 2)
    counts = setting.size(COUNTS, COUNTS[:2])
    tables = {f"{count}": {"generator": _voters(count), "aggregator": "p0"} for count in counts}
    seconds = _measured(setting, tables, tasks=tasks, group=group, votes=VOTES)
    work = f"voting, {tasks} tasks x {group} rollouts x {VOTES + 1} calls"
    for count in counts[1:]:
        yield ratio(f"{count} policies / 1", seconds, over=f"{count}", under="1", target=SEVERAL, work=work)


def _voters(count: int) -> list[str]:
    """The policy of each slot."""
    return [f"p{slot % count}" for slot in range(VOTES)]


def _measured(
    setting: Setting, sharings: Mapping[str, Any], *, tasks: int, group: int, votes: int
) -> dict[str, list[float]]:
    """Seconds of a step under each sharing, in turns. Raises ValueError if they did not have equal calls."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        runs = {
            name: stack.enter_context(Training(_recipe(setting, sharing, tasks, group, votes), Path(folder) / name))
            for name, sharing in sharings.items()
        }
        seconds = in_turns({name: run.step for name, run in runs.items()}, setting.repeats)
        said = {name: run.numbers["role/generator/tokens"] for name, run in runs.items()}
        if len(set(said.values())) > 1:
            raise ValueError(f"the runs are not alike, they said so many tokens a call: {said}")
    return seconds


def _recipe(setting: Setting, sharing: Any, tasks: int, group: int, votes: int) -> Config:
    return stepwise(
        {
            "task": {"name": "arithmetic", "operands": 3, "high": 30},
            "workflow": {"name": "voting", "votes": votes},
            "policies": {"sharing": sharing, "learning_rate": 1e-9},
            "rollout": {"tasks_per_step": tasks, "group_size": group, "max_tokens": setting.size(48, 4)},
        },
        threads=setting.threads,
    )
