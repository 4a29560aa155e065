"""Evaluation of a checkpoint as it is and with controls, compared task by task."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from counterpoint import controls
from counterpoint.adapter import Sources
from counterpoint.analysis.intervals import Interval, interval
from counterpoint.analysis.paired import Comparison, compare
from counterpoint.config import Config
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.evaluation import Evaluation, Outcomes, evaluate
from counterpoint.pins import executed
from counterpoint.recipe import config_from, override_table
from counterpoint.run import Run, Step
from counterpoint.stage import open_stage, set_up
from counterpoint.tasks import load_tasks

if TYPE_CHECKING:
    import polars as pl

AS_IT_IS = "run"


class Ask(NamedTuple):
    """The episodes to be played."""

    split: str = "test"
    samples: int = 1
    """Episodes per task."""
    step: Step | None = None
    """The checkpoint; None for the last one."""


class Control(NamedTuple):
    """The control that a run is compared with; at most one of the fields may be set."""

    swap: tuple[str, str] | None = None
    """Two roles that exchange their policies."""
    ablate: str | None = None
    """A role that uses the base of its policy."""
    solo: bool = False
    """Each role alone: with one answer, and with a majority vote over as many answers as cost the team's tokens."""
    transfer: Run | None = None
    """Another run, whose workflow and tasks are played; the control uses the base in every role."""
    against: Run | None = None
    """Another run on the same tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An evaluation, and its difference from that of the run itself."""

    name: str
    """"run" for the run or base model as it is, else a description of the control."""
    step: int
    """The step of the checkpoint that was evaluated; 0 for a base model."""
    evaluation: Evaluation
    difference: Comparison | None = None
    """This evaluation minus the run's, paired by task; None for the run itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """The evaluation of a run or base model, and those of its controls."""

    rows: tuple[Row, ...]
    """The run or base model as it is, then the controls."""

    @property
    def run(self) -> Evaluation:
        """The evaluation of the run or base model as it is."""
        return self.rows[0].evaluation

    @property
    def accuracy(self) -> Interval:
        """The team's accuracy with its 95 % interval over tasks."""
        return over_tasks(self.run.outcomes)

    @property
    def roles(self) -> dict[str, Interval]:
        """Each role's accuracy with its 95 % interval over tasks."""
        return {role: over_tasks(outcomes) for role, outcomes in self.run.roles.items()}

    def frame(self) -> "pl.DataFrame":
        """One row per evaluation and part (team, then each role): accuracy, interval, tasks, difference, p-value."""
        import polars as pl  # not above: an evaluation that is not made a frame does without its memory

        return pl.DataFrame([one for row in self.rows for one in _parts(row)], schema=_SCHEMA)


_SCHEMA = {
    "evaluation": str,
    "part": str,
    "accuracy": float,
    "low": float,
    "high": float,
    "tasks": int,
    "difference": float,
    "difference_low": float,
    "difference_high": float,
    "p_value": float,
}


async def evaluations_of_base(config: Config, ask: Ask) -> AsyncIterator[Row]:
    """The evaluation of a recipe with the policies from which training starts. Raises CounterpointError."""
    yield Row(name=AS_IT_IS, step=0, evaluation=await _played(config, {}, ask))


async def evaluations_of(
    run: Run, config: Config, ask: Ask, control: Control, overrides: Sequence[str] = ()
) -> AsyncIterator[Row]:
    """The evaluation of the run's checkpoint, then of each control; each is yielded as soon as it is done.

    `config` is the run's recipe with the overrides; `overrides` are also applied to the recipe of another run. Raises
    ConfigError if more than one control is asked for, or it does not fit the workflow; RunError if the run has no such
    checkpoint.
    """
    if sum(map(bool, control)) > 1:
        raise ConfigError("at most one control is allowed: swap, ablate, solo, transfer or against")
    step = run.saved_step(ask.step)
    checkpoint = run.checkpoint_path(step)
    as_it_is = (config, controls.kept(config, checkpoint))
    if control.transfer is not None:
        as_it_is = controls.transferred(config, checkpoint, _config(control.transfer, overrides))
    others = _controls(config, checkpoint, as_it_is, ask, control, overrides)
    own = await _played(*as_it_is, ask)
    yield Row(name=AS_IT_IS, step=step, evaluation=own)

    async def played(name: str, changed: Config, sources: Sources, at: int = step) -> Row:
        found = await _played(changed, sources, ask)
        return Row(name=name, step=at, evaluation=found, difference=compare(found.outcomes, own.outcomes))

    for name, (changed, sources, at) in others.items():
        yield await played(name, changed, sources, step if at is None else at)
    for role in own.roles if control.solo else ():
        once = await played(f"{role} alone", *controls.alone(config, checkpoint, role, 1))
        yield once
        count = affordable(own, once.evaluation)
        if count > 1:
            name = f"the majority of {count} answers of {role}, at the team's tokens"
            yield await played(name, *controls.alone(config, checkpoint, role, count))


def affordable(team: Evaluation, alone: Evaluation) -> int:
    """The number of answers of one role that cost as many generated tokens as the team; rounded down, at least 1."""
    return max(1, int(_spent(team) / _spent(alone)))


def over_tasks(outcomes: Outcomes) -> Interval:
    """The mean over tasks of each task's mean outcome, with its 95 % interval."""
    return interval([fmean(values) for values in outcomes.values()])


_Others = dict[str, tuple[Config, Sources, int | None]]
"""Name -> recipe, adapters, and step; the step is None for a checkpoint of the run itself."""


def _controls(
    config: Config,
    checkpoint: Path,
    as_it_is: tuple[Config, Sources],
    ask: Ask,
    control: Control,
    overrides: Sequence[str],
) -> _Others:
    """The controls that do not depend on the evaluation of the run itself."""
    if control.swap is not None:
        one, other = control.swap
        return {f"with {one} and {other} swapped": (*controls.swapped(config, checkpoint, one, other), None)}
    if control.ablate is not None:
        return {f"with the base as {control.ablate}": (*controls.ablated(config, checkpoint, control.ablate), None)}
    if control.transfer is not None:
        return {"with the base in every role": (as_it_is[0], dict.fromkeys(as_it_is[1]), 0)}
    if control.against is not None:
        return {f"against {control.against.path}": _other_run(control.against, config, ask, overrides)}
    return {}


def _config(run: Run, overrides: Sequence[str]) -> Config:
    """The recipe of a run, changed by overrides."""
    own = executed(run)
    return config_from(override_table(own.model_dump(exclude_none=True), overrides)) if overrides else own


def _other_run(other: Run, config: Config, ask: Ask, overrides: Sequence[str]) -> tuple[Config, Sources, int]:
    """Another run as it is. Raises RunError unless its tasks in the split are those of `config`."""
    theirs = _config(other, overrides)
    prints = [load_tasks(one.task, one.sandbox, one.judge).fingerprints() for one in (config, theirs)]
    if ask.split not in prints[0]:
        raise ConfigError(unknown("split", ask.split, prints[0]))
    if prints[0][ask.split] != prints[1][ask.split]:
        raise RunError(f"{other.path} has other {ask.split} tasks than this run: the two cannot be compared")
    changed = theirs.model_copy(update={"run": theirs.run.model_copy(update={"threads": config.run.threads})})
    step = other.saved_step(ask.step)
    return changed, controls.kept(theirs, other.checkpoint_path(step)), step


async def _played(config: Config, sources: Sources, ask: Ask) -> Evaluation:
    setup = set_up(config)
    tasks = setup.tasks.named()
    if ask.split not in tasks:
        raise ConfigError(unknown("split", ask.split, tasks))
    async with open_stage(setup, sources) as stage:
        return await evaluate(
            stage, tasks[ask.split], stage.limits, split=ask.split, samples=ask.samples, seed=config.run.seed
        )


def _spent(found: Evaluation) -> float:
    """Generated tokens per episode, summed over all roles."""
    roles = [name.split("/")[1] for name in found.numbers if name.startswith("role/") and name.endswith("/calls")]
    return sum(found.numbers[f"role/{role}/calls"] * found.numbers[f"role/{role}/tokens"] for role in roles)


def _parts(row: Row) -> list[dict[str, object]]:
    parts = {"team": row.evaluation.outcomes, **row.evaluation.roles}
    found: list[dict[str, object]] = []
    for part, outcomes in parts.items():
        own = over_tasks(outcomes)
        line = {"evaluation": row.name, "part": part, "accuracy": own.value, "low": own.low, "high": own.high}
        found.append({**line, "tasks": own.n})
    if row.difference is not None:
        both = row.difference
        found[0] |= {
            "difference": both.difference.value,
            "difference_low": both.difference.low,
            "difference_high": both.difference.high,
            "p_value": both.p_value,
        }
    return found
