"""Evaluation of a checkpoint as it is and with controls, compared task by task: the run minus the control."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from counterpoint import controls
from counterpoint.adapter import Sources
from counterpoint.analysis.intervals import Interval, interval
from counterpoint.analysis.paired import Comparison, compare
from counterpoint.analysis.recorded import tokens_per_episode
from counterpoint.analysis.tries import BEFORE, SORTING, tried
from counterpoint.config import Config, ModelConfig
from counterpoint.episode import Group
from counterpoint.errors import ConfigError, ModelError, RunError, unknown
from counterpoint.evaluation import Evaluation, Outcomes, count, evaluate, play
from counterpoint.locate import locate
from counterpoint.models import other_weights
from counterpoint.pins import executed
from counterpoint.recipe import config_from, override_table
from counterpoint.run import Run, Step
from counterpoint.stage import open_stage, set_up
from counterpoint.tasks import load_tasks

if TYPE_CHECKING:
    import polars as pl

    from counterpoint.analysis.taught import Lesson

AS_IT_IS = "run"
_AT_ONCE = 512
"""Episodes that the base plays at the same time: with 64 tries at every task all of them would be too many."""
SPLITS = ("train", "validation", "test")


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
    taught: int | None = None
    """The tries of the base by which tasks are sorted; with 0 the run alone is played, for a base that another run
    with the same one has played."""

    @property
    def asked(self) -> int:
        """The number of controls that are asked for."""
        return sum(one not in (None, False) for one in self[:-1]) + (self.taught is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An evaluation, and its difference from that of the run itself."""

    name: str
    """"run" for the run or base model as it is, else a description of the control."""
    step: int
    """The step of the checkpoint that was evaluated; 0 for a base model."""
    evaluation: Evaluation
    difference: Comparison | None = None
    """The team's accuracy of the run minus that of this evaluation, paired by task; None for the run itself."""
    role_differences: Mapping[str, Comparison] = field(default_factory=dict)
    """The same for each role that has outcomes on the same tasks in both."""

    @property
    def differences(self) -> dict[str, Comparison]:
        """Part (team, then each role) -> the run minus this evaluation; empty for the run itself."""
        return {} if self.difference is None else {"team": self.difference, **self.role_differences}


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
    def lessons(self) -> "tuple[Lesson, ...]":
        """The gains of training on tasks that the base never, sometimes and always solves; empty without `taught`."""
        from counterpoint.analysis.taught import Base, Trained, lessons  # not above: it takes the memory of scipy

        found = {row.name: tried(row.evaluation.attempts) for row in self.rows}
        if SORTING not in found:
            return ()
        base = Base(sorting=found[SORTING], measured=found[BEFORE])
        return lessons([Trained(base=base, seeds={0: found[AS_IT_IS]})])

    @property
    def roles(self) -> dict[str, Interval]:
        """Each role's accuracy with its 95 % interval over tasks."""
        return {role: over_tasks(outcomes) for role, outcomes in self.run.roles.items()}

    def frame(self) -> "pl.DataFrame":
        """One row per evaluation and part (team, then each role): accuracy, interval, tasks, difference, p-value.

        A difference is the run's accuracy minus that of the row; it is null in the rows of the run itself.
        """
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
    as `check_asked` does.
    """
    step = run.saved_step(ask.step)
    checkpoint = run.checkpoint_path(step)
    as_it_is = (config, controls.kept(config, checkpoint))
    if control.transfer is not None:
        as_it_is = controls.transferred(config, checkpoint, _config(control.transfer, overrides))
    others = _controls(config, checkpoint, as_it_is, ask, control, overrides)
    own = await _played(*as_it_is, ask)
    yield Row(name=AS_IT_IS, step=step, evaluation=own)

    for name, (changed, sources, at) in others.items():
        yield _compared(name, step if at is None else at, await _played(changed, sources, ask), own)
    if control.taught:
        async for name, found in _before_training(config, ask, control.taught):
            yield _compared(name, 0, found, own)
    if control.solo:
        async for name, found in _alone(config, checkpoint, ask, own):
            yield _compared(name, step, found, own)


async def _before_training(config: Config, ask: Ask, tries: int) -> AsyncIterator[tuple[str, Evaluation]]:
    """The policies from which training starts: as many episodes per task as the run, then those that sort the tasks.

    The first have the random numbers of the run's episodes, so that the two are paired. The others have none in common
    with either: luck in the tries that sort a task says nothing about the rest.
    """
    setup = set_up(config)
    async with open_stage(setup, {}) as stage:
        tasks = setup.tasks.named()[ask.split]
        samples, groups = ask.samples + tries, list[Group]()
        some = max(1, _AT_ONCE // samples)
        for place in range(0, len(tasks), some):
            part = tasks[place : place + some]
            groups += await play(stage, part, stage.limits, split=ask.split, samples=samples, seed=config.run.seed)
    for name, own in ((BEFORE, slice(ask.samples)), (SORTING, slice(ask.samples, None))):
        told = [replace(group, episodes=group.episodes[own]) for group in groups]
        yield name, count(told, ask.split, setup.workflow.roles)


async def _alone(config: Config, checkpoint: Path, ask: Ask, own: Evaluation) -> AsyncIterator[tuple[str, Evaluation]]:
    """Every policy of every role with one answer, then with the majority of as many as cost the team's tokens.

    Roles with the same policy are alone in the same way: the second has the first one's evaluation.
    """
    played: dict[tuple[str, int], Evaluation] = {}

    async def answers(role: str, policy: str, count: int) -> Evaluation:
        if (policy, count) not in played:
            played[policy, count] = await _played(*controls.alone(config, checkpoint, policy, count), ask)
        return _named(played[policy, count], role)

    for role, policies in controls.policies_of(config).items():
        for policy in policies:
            who = role if len(policies) == 1 else f"{role} (policy {policy})"
            once = await answers(role, policy, 1)
            yield f"{who} alone", once
            count = affordable(own, once)
            if count > 1:
                several = await answers(role, policy, count)
                yield f"the majority of {count} answers of {who}, at the team's tokens", several


def _named(found: Evaluation, role: str) -> Evaluation:
    """The evaluation of a role that played alone, as the generator of another workflow, under its own name."""
    (there,) = controls.ALONE
    numbers = {name.replace(f"role/{there}/", f"role/{role}/"): value for name, value in found.numbers.items()}
    renamed = [replace(one, name=one.name.replace(f"of {there}", f"of {role}")) for one in found.controls]
    return replace(
        found,
        roles={role: found.roles[there]} if there in found.roles else {},
        role_attempts={role: found.role_attempts[there]} if there in found.role_attempts else {},
        numbers=numbers,
        controls=tuple(renamed),
    )


def _compared(name: str, step: int, found: Evaluation, own: Evaluation) -> Row:
    both = {
        role: outcomes for role, outcomes in own.roles.items() if outcomes.keys() & found.roles.get(role, {}).keys()
    }
    return Row(
        name=name,
        step=step,
        evaluation=found,
        difference=compare(own.outcomes, found.outcomes),
        role_differences={role: compare(outcomes, found.roles[role]) for role, outcomes in both.items()},
    )


def check_ask(ask: Ask) -> None:
    """Raises ConfigError if there is no such split, or no task would be played."""
    if ask.split not in SPLITS:
        raise ConfigError(unknown("split", ask.split, SPLITS))
    if not isinstance(ask.samples, int) or ask.samples < 1:
        raise ConfigError(f"samples = {ask.samples!r}: each task is played a whole number of times, at least once")


def check_asked(run: Run, config: Config, ask: Ask, control: Control, overrides: Sequence[str] = ()) -> None:
    """Raises ConfigError if more than one control is asked for, or it does not fit the workflow or the tasks.

    RunError if a run has no such checkpoint, or its shipped base has other weights now. Imports no engine.
    """
    check_ask(ask)
    for one in (run, control.against):
        if one is not None:
            _refuse_other_weights(one)
    if control.asked > 1:
        raise ConfigError("at most one control is allowed: swap, ablate, solo, transfer, against or taught")
    if control.taught is not None and control.taught < 0:
        raise ConfigError(f"taught = {control.taught}: the tries of the base are at least 0")
    checkpoint = run.checkpoint_path(run.saved_step(ask.step))
    as_it_is = (config, controls.kept(config, checkpoint))
    if control.transfer is not None:
        as_it_is = controls.transferred(config, checkpoint, _config(control.transfer, overrides))
    _controls(config, checkpoint, as_it_is, ask, control, overrides)


def _refuse_other_weights(run: Run) -> None:
    """Raises RunError if a shipped base of the run has other weights now: its adapters fit those that it had."""
    if other := other_weights(run.facts.get("weights", {})):
        raise RunError(f"{run.path} was trained on {other}: evaluate it with the version that trained it")


def check_model_asked(target: str, ask: Ask, control: Control) -> None:
    """Raises ConfigError if there is no such model, as far as can be told without network, or a run is needed."""
    place = Path(target).expanduser()
    if place.is_dir() and not (place / "config.json").is_file():
        Run.read(place)  # says what is missing there
    try:
        locate(ModelConfig(path=target))
    except ModelError as error:
        reason = str(error).removeprefix(f"model.path = {target!r}").lstrip(": ")
        raise ConfigError(f"{target!r} is neither a run nor a model: {reason}") from error
    if ask.step is not None or control.asked:
        raise ConfigError(f"a step and controls need a run directory; {target!r} is a model")


def affordable(team: Evaluation, alone: Evaluation) -> int:
    """The number of answers of one role that cost as many generated tokens as the team; rounded down, at least 1."""
    each = tokens_per_episode(alone.numbers)
    return max(1, int(tokens_per_episode(team.numbers) / each)) if each > 0.0 else 1


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
        if len(control.swap) != 2:
            raise ConfigError(f"swap = {control.swap!r}: allowed are two roles, whose policies are exchanged")
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
    if prints[0][ask.split] != prints[1][ask.split]:
        raise RunError(f"{other.path} has other {ask.split} tasks than this run: the two cannot be compared")
    changed = theirs.model_copy(update={"run": theirs.run.model_copy(update={"threads": config.run.threads})})
    step = other.saved_step(ask.step)
    return changed, controls.kept(theirs, other.checkpoint_path(step)), step


async def _played(config: Config, sources: Sources, ask: Ask) -> Evaluation:
    setup = set_up(config)
    tasks = setup.tasks.named()
    async with open_stage(setup, sources) as stage:
        return await evaluate(
            stage, tasks[ask.split], stage.limits, split=ask.split, samples=ask.samples, seed=config.run.seed
        )


def _parts(row: Row) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for part, outcomes in {"team": row.evaluation.outcomes, **row.evaluation.roles}.items():
        own, both = over_tasks(outcomes), row.differences.get(part)
        line: dict[str, object] = {"evaluation": row.name, "part": part, "tasks": own.n}
        line |= {"accuracy": own.value, "low": own.low, "high": own.high}
        if both is not None:
            value, low, high, _ = both.difference
            line |= {"difference": value, "difference_low": low, "difference_high": high, "p_value": both.p_value}
        found.append(line)
    return found
