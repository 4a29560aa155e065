"""The workflows, tasks, models and steps of runs, in a line."""

from collections.abc import Sequence
from pathlib import Path

from counterpoint.errors import counted
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.groups import printable

_MOST = 4
"""Names up to which each is told."""


def what_of(runs: Sequence[RunRecord]) -> str:
    """`voting on arithmetic with micro-small, 60 steps, 2 episodes per test task`; empty without a run.

    What collected files of older versions do not say is left out.
    """
    workflows = _listed([run.workflow for run in runs])
    tasks = _listed([run.task for run in runs])
    models = _listed([Path(run.model).name.removesuffix(".gguf") for run in runs])
    team = " ".join(
        part for part in (workflows, f"on {tasks}" if tasks else "", f"with {models}" if models else "") if part
    )
    steps = _span([run.planned for run in runs if run.planned], "step")
    samples = _span([run.samples for run in runs if run.samples], "episode")
    return ", ".join(filter(None, (team, steps, f"{samples} per test task" if samples else "")))


def _listed(names: Sequence[str]) -> str:
    found = [printable(name) for name in dict.fromkeys(names) if name]
    if len(found) > _MOST:
        return f"{', '.join(found[:_MOST])} and {len(found) - _MOST} more"
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def _span(numbers: Sequence[int], of: str) -> str:
    if not numbers:
        return ""
    return counted(numbers[0], of) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)} {of}s"
