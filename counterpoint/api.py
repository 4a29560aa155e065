"""The library's front door: train, resume and evaluate with one call, from a script or from a notebook.

A recipe is named as on the command line, or is a `Config`; single keys are overridden as there
(`"policies.sharing=shared"`). Where a recipe has the name of a workflow, a task set, a judge and so on, a call takes
the Python object instead.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from counterpoint.adapter import Sources
from counterpoint.analysis.history import history_of
from counterpoint.analysis.signatures import diagnose as find_signatures
from counterpoint.analysis.signatures.base import Finding
from counterpoint.config import Config
from counterpoint.controlled import (
    Ask,
    Control,
    Evaluations,
    Row,
    check_ask,
    check_asked,
    check_model_asked,
    evaluations_of,
    evaluations_of_base,
)
from counterpoint.controls import kept
from counterpoint.episode import Group
from counterpoint.errors import ConfigError
from counterpoint.event_loop import run_to_end
from counterpoint.family import GIVEN, give, importable_name_of, name_of
from counterpoint.pins import executed
from counterpoint.places import located
from counterpoint.plan.check import check_parts, checked
from counterpoint.plan.plan import Plan, plan, planned
from counterpoint.plan.startable import check_startable
from counterpoint.plan.threads import with_threads
from counterpoint.play import Limits
from counterpoint.play import rollout as play
from counterpoint.recipe import config_from, load_config, override_of, override_table, with_members
from counterpoint.run import Run, Step
from counterpoint.run_files import is_run
from counterpoint.runs import RunHeader
from counterpoint.runs import list_runs as headers
from counterpoint.stage import OpenStage, Setup, set_up
from counterpoint.stage import open_stage as open_set_up
from counterpoint.starting import begin, reopen
from counterpoint.task import Task
from counterpoint.trained import accept, carry_on
from counterpoint.training import Watch

if TYPE_CHECKING:
    import polars as pl

Recipe = str | Path | Config
Target = str | Path | Run
"""A run, its directory, or a base model."""


class Objects(TypedDict, total=False):
    """Python objects in place of names."""

    workflow: Any
    """A function declared with `@workflow`."""
    tasks: Any
    """`Splits`, a list of tasks or of questions with their answers, or a function that returns either."""
    judge: Any
    """A function `(answer, key) -> reward` between 0 and 1."""
    credit: Any
    advantage: Any
    loss: Any
    sampler: Any
    diagnostics: Sequence[Any]
    """Diagnostics, besides those of the recipe."""
    interventions: Sequence[Any]
    """Interventions, besides those of the recipe."""
    signatures: Sequence[Any]
    """Failure signatures, besides the shipped ones."""
    track: Sequence[Any]
    """Trackers, besides those of the recipe: names, tables with `name` and options, subclasses of `Tracker`."""


_PLACES = {
    "workflow": "workflow",
    "tasks": "task",
    "judge": "judge",
    "credit": "algorithm.credit",
    "advantage": "algorithm.advantage",
    "loss": "algorithm.loss",
    "sampler": "sampler",
}
_NUMBERS: dict[object, type] = {float | None: float, int: int, int | None: int}
_HEADER_SCHEMA = {field.name: _NUMBERS.get(field.type, str) for field in fields(RunHeader)}
_LISTS = ("diagnostics", "interventions", "signatures", "track")


def train(
    recipe: Recipe,
    *overrides: str,
    out: str | Path | None = None,
    profile: bool = False,
    progress: bool = True,
    watch: Watch | None = None,
    **objects: Unpack[Objects],
) -> Run:
    """The run of a recipe, trained to its last step.

    It is a directory, `out` or one in `runs/` named after the recipe's cell and the overrides, which must not hold a
    run yet. The user's own modules are copied into it. `progress` prints a line per step;
    `watch(step, numbers)` is called with the numbers of each step and of each evaluation. With `profile` the run also
    records where the time of each step goes. Raises CounterpointError; the run can then be resumed.
    """
    given = config_of(recipe, *overrides, **objects)
    planned = plan_of(given)
    run = create(planned, out, recipe if isinstance(recipe, str | Path) else "", overrides, profile=profile)
    with run:
        carry_on(run, planned, progress=progress, watch=watch)
    return run


def resume(
    run: str | Path | Run,
    *overrides: str,
    accept_changes: bool = False,
    progress: bool = True,
    watch: Watch | None = None,
    **objects: Unpack[Objects],
) -> Run:
    """The run, trained from its last checkpoint to its last step, as if it had never been interrupted.

    `overrides` change what may change in a run that has begun, such as `"run.steps=60"`. With `accept_changes` a recipe
    or source that has changed since is accepted, and recorded. Objects that were given to `train` and cannot be
    imported by name are given again. Raises RunError if the run is in use or is none, or a source has changed;
    ConfigError if a key may not change. `track` takes the place of the trackers that the run had.
    """
    if "track" in objects:
        overrides = (*overrides, override_of("track", _specs("track", objects.pop("track"))))
    if objects:
        _give_again(Run.read(_path(run)).config, objects)
    with reopen(_path(run), overrides, accept_changes=accept_changes) as opened:
        if not opened.is_finished or overrides:
            planned = plan(opened.config)
            accept(opened, overrides, planned)
            carry_on(opened, planned, progress=progress, watch=watch)
    return opened


def dry_run(recipe: Recipe, *overrides: str, **objects: Unpack[Objects]) -> Plan:
    """The plan of a recipe: roles, routing, calls per step, memory. Raises CounterpointError for whatever is wrong."""
    return plan_of(config_of(recipe, *overrides, **objects))


def evaluate(
    target: Target,
    *overrides: str,
    split: str = "test",
    samples: int = 1,
    step: Step | None = None,
    swap: tuple[str, str] | None = None,
    ablate: str | None = None,
    solo: bool = False,
    transfer: Target | None = None,
    against: Target | None = None,
    taught: int | None = None,
    **objects: Unpack[Objects],
) -> Evaluations:
    """Every task of a split played `samples` times, with the policies of a checkpoint or with a base model.

    A control, at most one, is played too and compared with the run task by task: two roles `swap`ped, a role `ablate`d
    to its base, each role `solo`, the policies in another run's workflow (`transfer`), `against` another run, or the
    base, which makes `taught` further tries at each task to tell what it never, sometimes and always solves (`lessons`
    of the result). Raises CounterpointError.
    """
    control = Control(
        swap=swap,
        ablate=ablate,
        solo=solo,
        transfer=None if transfer is None else Run.read(_path(transfer)),
        against=None if against is None else Run.read(_path(against)),
        taught=taught,
    )
    rows = evaluation_rows(target, overrides, Ask(split, samples, step), control, **objects)
    return Evaluations(rows=tuple(run_to_end(_gathered(rows))))


@asynccontextmanager
async def open_stage(
    source: Recipe | Run, *overrides: str, step: Step | None = None, **objects: Unpack[Objects]
) -> AsyncIterator[OpenStage]:
    """A stage on which the workflow of a recipe or of a run can be played: see `rollout`.

    A run's policies are those of a checkpoint, the last one unless `step` names another; a recipe's are as training
    starts them. Raises CounterpointError.
    """
    setup, policies = check_stage(source, *overrides, step=step, **objects)
    async with open_set_up(replace(setup, config=with_threads(setup.config)), policies) as stage:
        yield stage


def check_stage(
    source: Recipe | Run, *overrides: str, step: Step | None = None, **objects: Unpack[Objects]
) -> tuple[Setup, Sources]:
    """The recipe and the adapters that `open_stage` opens.

    Imports no engine. Raises CounterpointError for whatever is wrong without one.
    """
    run = source if isinstance(source, Run) else _run_at(source)
    if run is None:
        assert not isinstance(source, Run)
        config = config_of(source, *overrides, **objects)
        policies: Sources = {}
    else:
        config = config_of(executed(run), *overrides, **objects)
        policies = kept(config, run.checkpoint_path(run.saved_step(step)))
    check_parts(config)
    return set_up(config), policies


async def rollout(
    stage: OpenStage, tasks: Sequence[Task], *, size: int = 1, seed: int = 0, limits: Limits | None = None
) -> list[Group]:
    """Each task played `size` times on an open stage, and judged: one group of episodes per task.

    Equal arguments and weights give equal episodes. Raises WorkflowError if every episode failed.
    """
    return await play(stage, tasks, limits or stage.limits, size=size, seed=f"{seed}/rollout")


def diagnose(run: str | Path | Run) -> list[Finding]:
    """The failure signatures that a run shows, finished or not, each with its evidence. Raises RunError."""
    opened = Run.read(_path(run))
    opened.config = executed(opened)
    return find_signatures(history_of(opened))


def list_runs(folder: str | Path = "runs") -> "pl.DataFrame":
    """One row per run in a folder: path, state, recipe, steps, accuracy and more. Raises RunError."""
    import polars as pl  # not above: `evaluate` and `open_stage` do without its memory

    rows = [{**asdict(one), "path": str(one.path)} for one in headers(Path(folder).expanduser())]
    return pl.DataFrame(rows, schema=_HEADER_SCHEMA)


def config_of(recipe: Recipe, *overrides: str, **objects: Unpack[Objects]) -> Config:
    """The recipe with Python objects in place of names, and with its overrides, which may set options of the objects.

    Objects in a list (diagnostics, interventions, signatures) are added to those of the recipe. Raises ConfigError.
    """
    config = _overridden(recipe, overrides, {})
    if not objects:
        return config
    members: dict[str, Any] = {}
    for key, member in objects.items():
        if key in _LISTS:
            members[key] = [*(spec.model_dump() for spec in getattr(config, key)), *_specs(key, member)]
        elif key in _PLACES:
            members[_PLACES[key]] = {"name": _named(member, key)}
        else:
            raise ConfigError(f"unknown argument {key!r}; allowed: {', '.join([*_PLACES, *_LISTS])}")
    kept = [one for one in overrides if one.partition("=")[0].strip() not in members]
    return _overridden(recipe, kept, members)


def _overridden(recipe: Recipe, overrides: Sequence[str], members: Mapping[str, Any]) -> Config:
    if not isinstance(recipe, Config):
        return load_config(recipe, overrides, members)
    if not overrides and not members:
        return recipe
    table = recipe.model_dump(exclude_none=True)
    changed = override_table(with_members(table, members), overrides)
    return config_from(located(changed, (Path.cwd(),), required=True))


def _specs(key: str, members: Any) -> list[dict[str, Any]]:
    """The entries of a list of the recipe: an object or a name alone, or a table with its options."""
    tables = _tables(key, members)
    return [{**one, "name": _named(one["name"], f"{key}-{place}")} for place, one in enumerate(tables, start=1)]


def _tables(key: str, members: Any) -> list[Mapping[str, Any]]:
    tables = [one if isinstance(one, Mapping) else {"name": one} for one in _listed(key, members)]
    nameless = next((one for one in tables if "name" not in one), None)
    if nameless is not None:
        raise ConfigError(f"{key}: {dict(nameless)!r} has no name; a table has a name, and options beside it")
    return tables


def _objects_in(key: str, members: Any) -> list[Any]:
    return [table["name"] for table in _tables(key, members) if not isinstance(table["name"], str)]


def _named(member: Any, kind: str) -> str:
    return member if isinstance(member, str) else name_of(member, kind)


def _listed(key: str, members: Any) -> Sequence[Any]:
    if isinstance(members, str) or not isinstance(members, Sequence):
        raise ConfigError(f"{key} must be a list of objects or names, not a {type(members).__name__}")
    return members


def plan_of(config: Config) -> Plan:
    """The plan of a recipe, its number of threads resolved. Raises CounterpointError."""
    return plan_of_setup(checked(config))


def plan_of_setup(setup: Setup) -> Plan:
    """The plan of a recipe that has been checked, its number of threads resolved. Raises CounterpointError."""
    return planned(replace(setup, config=with_threads(setup.config)))


def create(
    planned: Plan, out: str | Path | None, recipe: str | Path, overrides: Sequence[str], *, profile: bool
) -> Run:
    """A new run directory for a plan, locked; `recipe` and `overrides` are what the user gave.

    Raises RunError if the place is not free, and whatever `check_startable` raises, before anything is written.
    """
    check_startable(planned)
    run = begin(planned.config, out, recipe, overrides)
    if planned.partly_adapted:
        run.note({"adapters": planned.partly_adapted})
    if profile:
        run.start_profile()
    return run


async def evaluation_rows(
    target: Target, overrides: Sequence[str], ask: Ask, control: Control, **objects: Unpack[Objects]
) -> AsyncIterator[Row]:
    """The evaluations that `evaluate` returns, each as soon as it is done."""
    run, config = check_evaluation(target, overrides, ask, control, **objects)
    config = with_threads(config)
    own = evaluations_of(run, config, ask, control, overrides) if run else evaluations_of_base(config, ask)
    async for row in own:
        yield row


def check_evaluation(
    target: Target, overrides: Sequence[str], ask: Ask, control: Control, **objects: Unpack[Objects]
) -> tuple[Run | None, Config]:
    """The run, if the target is one, and the recipe that is evaluated.

    Imports no engine. Raises CounterpointError for whatever is wrong without one.
    """
    check_ask(ask)
    run = target if isinstance(target, Run) else _run_at(target)
    if run is not None:
        config = config_of(executed(run), *overrides, **objects)
        check_asked(run, config, ask, control, overrides)
    else:
        check_model_asked(str(target), ask, control)
        table = with_members(override_table({}, overrides), {"model.path": str(target)})
        config = config_of(config_from(table), **objects)
    check_parts(config)
    if overrides:
        set_up(config)
    return run, config


def _give_again(config: Config, objects: Mapping[str, Any]) -> None:
    """The names that the recipe has for these objects stand for them in this process too. Raises ConfigError."""
    table: dict[str, Any] = config.model_dump(exclude_none=True)
    for key, member in objects.items():
        if key in _LISTS:
            known = [one["name"] for one in table.get(key, [])]
            named = [name for name in known if name.startswith(f"{GIVEN}:")]
            again = [one for one in _objects_in(key, member) if importable_name_of(one) not in known]
            if len(named) != len(again):
                raise ConfigError(f"{key}: the run was started with {len(named)} objects, {len(again)} are given")
            for name, one in zip(named, again, strict=True):
                give(name, one)
        elif key in _PLACES:
            node: Any = table
            for part in _PLACES[key].split("."):
                node = node[part]
            if not node["name"].startswith(f"{GIVEN}:") and node["name"] != name_of(member, key):
                raise ConfigError(f"{key}: the run was started with {node['name']!r}, which no object can replace")
            give(node["name"], member)
        else:
            raise ConfigError(f"unknown argument {key!r}; allowed: {', '.join([*_PLACES, *_LISTS])}")


def _run_at(place: str | Path | Config) -> Run | None:
    """The run at a place; None if there is none."""
    if isinstance(place, Config) or not is_run(Path(place).expanduser()):
        return None
    return Run.read(place)


def _path(run: Target) -> Path:
    return run.path if isinstance(run, Run) else Path(run)


async def _gathered(rows: AsyncIterator[Row]) -> list[Row]:
    return [row async for row in rows]
