"""`counterpoint show`: which episodes are shown. `counterpoint.cli.transcript` prints them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.analysis.summary import BEHAVIOUR, peak_of_accuracy
from counterpoint.cli.out import Terminal
from counterpoint.cli.tables import role_lines, team_line
from counterpoint.cli.transcript import SampleOf, print_brief, print_episode
from counterpoint.episode import CallKey, Episode, Group, read_episodes
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.files import command
from counterpoint.reports.episodes.line import OUTCOMES, is_selected, line_of
from counterpoint.run import Run

_MOST, _MOST_BRIEF = 2, 20
"""The numbers of episodes that are shown, in full and briefly, if none is asked for."""
_STEPS = ("base", "peak", "best", "last")
_SPLITS = ("validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which episodes are to be shown."""

    step: str | None = None
    """A number, "base", "peak", "best", which is the same, or "last"; None for the last one."""
    split: str | None = None
    """The split of the evaluation whose episodes are shown; None for those of training."""
    task: str = ""
    """The beginning of the ids of the tasks."""
    role: str | None = None
    """Only episodes that called this role, and only its calls."""
    outcome: str = "any"
    limit: int | None = None
    """The largest number of episodes; None for 2, or 20 if they are brief."""
    brief: bool = False
    """One line per episode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The episodes of one step or evaluation, and what else is known about them."""

    title: str
    episodes: Sequence[Episode]
    roles: Sequence[str]
    numbers: Mapping[str, float]
    samples: SampleOf | None
    """None where no credit is given: in evaluations."""


def show_episodes(target: Path, asked: Asked) -> None:
    """Print the first episodes of a run's step or evaluation, or of a file that `evaluate` wrote, that match.

    Raises ConfigError for a value that is not allowed, RunError if there are no such episodes.
    """
    _check(asked)
    found = _of_file(target, asked) if target.is_file() else _of_run(Run.read(target), asked)
    if asked.role is not None and asked.role not in found.roles:
        raise ConfigError(unknown("--role", asked.role, found.roles))
    if not any(episode.task.startswith(asked.task) for episode in found.episodes):
        first = ", ".join(_tasks(found.episodes)[:3])
        raise ConfigError(f"{found.title}: no task begins with --task {asked.task!r}; the first tasks are: {first}")
    matching = [
        episode
        for episode in found.episodes
        if is_selected(line_of(episode), role=asked.role, outcome=asked.outcome, task=asked.task)
    ]
    shown = matching[: asked.limit or (_MOST_BRIEF if asked.brief else _MOST)]
    console = Terminal()
    count = "1 episode matches" if len(matching) == 1 else f"{len(matching)} episodes match"
    console.print(f"{found.title}: {count}, {len(shown)} shown", markup=False, soft_wrap=True)
    if found.numbers:
        for line in (team_line(found.numbers), *role_lines(found.numbers, ("accuracy", *BEHAVIOUR))):
            console.print(line, markup=False, soft_wrap=True)
    for episode in shown:
        if asked.brief:
            print_brief(console, episode)
        else:
            print_episode(console, episode, found.samples, found.roles, asked.role)


def _check(asked: Asked) -> None:
    if asked.outcome not in OUTCOMES:
        raise ConfigError(unknown("--outcome", asked.outcome, OUTCOMES))
    if asked.split is not None and asked.split not in _SPLITS:
        raise ConfigError(unknown("--split", asked.split, _SPLITS))
    if asked.step is not None and asked.step not in _STEPS and not asked.step.isdecimal():
        raise ConfigError(f"--step {asked.step!r} is neither the number of a step nor one of: {', '.join(_STEPS)}")


def _of_file(file: Path, asked: Asked) -> _Found:
    if asked.step is not None or asked.split is not None:
        raise ConfigError(f"--step and --evaluation choose among the episodes of a run; {file} is a file of episodes")
    episodes = _episodes(read_episodes(file))
    return _Found(title=str(file), episodes=episodes, roles=_roles({}, episodes), numbers={}, samples=None)


def _of_run(run: Run, asked: Asked) -> _Found:
    if asked.split is not None:
        return _of_evaluation(run, asked.split, asked.step)
    steps = run.steps_with_episodes()
    if not steps:
        raise RunError(f"{run.path} has no episodes yet")
    step = _number(run, asked.step, steps)
    episodes = _episodes(run.episodes(step))
    return _Found(
        title=f"step {step}",
        episodes=episodes,
        roles=_roles(run.facts, episodes),
        numbers=next((row for row in run.metric_rows() if row["step"] == step), {}),
        samples=_samples(run, step),
    )


def _of_evaluation(run: Run, split: str, asked: str | None) -> _Found:
    steps = run.steps_with_episodes(split)
    if not steps:
        why = ": runs older than format 5 did not record them" if run.facts.get("format", 0) < 5 else ""
        again = command("evaluate", run.path, "--split", split, "--episodes", "FILE.parquet")
        raise RunError(f"{run.path} has no episodes of {split} evaluations{why}; `{again}` plays one again")
    step = _number(run, asked, steps)
    episodes = _episodes(run.evaluation_episodes(step, split))
    rows = [row for row in run.evaluation_rows() if row["step"] == step and row["split"] == split]
    return _Found(
        title=f"{split} evaluation at step {step}",
        episodes=episodes,
        roles=_roles(run.facts, episodes),
        numbers=rows[0]["numbers"] if rows else {},
        samples=None,
    )


def _number(run: Run, asked: str | None, steps: Sequence[int]) -> int:
    """The step that is meant, of those that have episodes; the number as it is where there is one."""
    match asked:
        case None | "last":
            return steps[-1]
        case "base":
            return 0
        case "peak" | "best":
            return _peak(run)
        case _:
            return int(asked)


def _peak(run: Run) -> int:
    """The step of the best smoothed validation accuracy so far."""
    if run.summary is not None:
        return run.summary.peak_step
    validation = [row for row in run.evaluation_rows() if row["split"] == "validation" and not row.get("rolled_back")]
    if not validation:
        raise RunError(f"{run.path} has no peak yet: it was never evaluated")
    accuracy = {row["step"]: row["accuracy"] for row in validation}
    return peak_of_accuracy(accuracy, set(accuracy))


def _episodes(groups: Iterable[Group]) -> list[Episode]:
    return [episode for group in groups for episode in group.episodes]


def _tasks(episodes: Iterable[Episode]) -> list[str]:
    return list(dict.fromkeys(episode.task for episode in episodes))


def _roles(facts: Mapping[str, Any], episodes: Iterable[Episode]) -> list[str]:
    """The roles of the workflow, and those of the calls."""
    called = (call.key.role for episode in episodes for call in episode.calls)
    return list(dict.fromkeys([*facts.get("routing", {}), *called]))


def _samples(run: Run, step: int) -> SampleOf:
    """Empty if the run was killed before credit was given."""
    return {
        (row["task"], row["rollout"], CallKey(row["role"], row["slot"], row["turn"])): row
        for row in run.samples(step).iter_rows(named=True)
        if not row["solo"]
    }
