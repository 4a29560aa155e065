"""The library's front door: train, resume and evaluate with one call, from a script or from a notebook.

A recipe is named as on the command line, or is a `Config`; single keys are overridden as there
(`"policies.sharing=shared"`). Where a recipe has the name of a workflow, a task set, a judge and so on, a call takes
the Python object instead.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from rich.console import Console

from counterpoint.adapter import Sources
from counterpoint.analysis.history import history_of
from counterpoint.analysis.signatures import diagnose as find_signatures
from counterpoint.analysis.signatures.base import Finding
from counterpoint.config import Config
from counterpoint.controlled import Ask, Control, Evaluations, Row, evaluations_of, evaluations_of_base
from counterpoint.controls import kept
from counterpoint.episode import Group
from counterpoint.errors import ConfigError
from counterpoint.event_loop import Terminated, run_to_end
from counterpoint.family import GIVEN, give, name_of
from counterpoint.plan.plan import Plan, plan
from counterpoint.plan.provenance import facts, sources
from counterpoint.plan.threads import with_threads
from counterpoint.play import Limits
from counterpoint.play import rollout as play
from counterpoint.progress import Progress
from counterpoint.recipe import config_from, load_config, override_table, with_members
from counterpoint.run import Run
from counterpoint.runs import RunHeader
from counterpoint.runs import list_runs as headers
from counterpoint.stage import OpenStage, set_up
from counterpoint.stage import open_stage as open_set_up
from counterpoint.task import Task
from counterpoint.training import Watch
from counterpoint.training import train as train_run

if TYPE_CHECKING:
    import polars as pl

_LOG = logging.getLogger(__name__)
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


_PLACES = {
    "workflow": "workflow",
    "tasks": "task",
    "judge": "judge",
    "credit": "algorithm.credit",
    "advantage": "algorithm.advantage",
    "loss": "algorithm.loss",
    "sampler": "sampler",
}
_HEADER_SCHEMA: dict[str, type] = {
    field.name: float if "float" in str(field.type) else int if "int" in str(field.type) else str
    for field in fields(RunHeader)
}
_LISTS = ("diagnostics", "interventions", "signatures")


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

    It is a directory, `out` or `runs/<cell>`, which must not hold a run yet. `progress` prints a line per step;
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
    run: str | Path | Run, *, progress: bool = True, watch: Watch | None = None, **objects: Unpack[Objects]
) -> Run:
    """The run, trained from its last checkpoint to its last step, as if it had never been interrupted.

    Objects that were given to `train` and cannot be imported by name are given again. Raises RunError if the run is in
    use or is none.
    """
    opened = Run.open(_path(run))
    with opened:
        _give_again(opened.config, objects)
        carry_on(opened, plan(opened.config), progress=progress, watch=watch)
    return opened


def dry_run(recipe: Recipe, *overrides: str, **objects: Unpack[Objects]) -> Plan:
    """The plan of a recipe: roles, routing, calls per step, memory. Raises CounterpointError for whatever is wrong."""
    return plan_of(config_of(recipe, *overrides, **objects))


def evaluate(
    target: Target,
    *overrides: str,
    split: str = "test",
    samples: int = 1,
    step: int | None = None,
    swap: tuple[str, str] | None = None,
    ablate: str | None = None,
    solo: bool = False,
    transfer: Target | None = None,
    against: Target | None = None,
    **objects: Unpack[Objects],
) -> Evaluations:
    """Every task of a split played `samples` times, with the policies of a checkpoint or with a base model.

    A control, at most one, is played too and compared with the run task by task: two roles `swap`ped, a role `ablate`d
    to its base, each role `solo`, the policies in another run's workflow (`transfer`), or `against` another run.
    Raises CounterpointError.
    """
    control = Control(
        swap=swap,
        ablate=ablate,
        solo=solo,
        transfer=None if transfer is None else Run.read(_path(transfer)),
        against=None if against is None else Run.read(_path(against)),
    )
    rows = evaluation_rows(target, overrides, Ask(split, samples, step), control, **objects)
    return Evaluations(rows=tuple(run_to_end(_gathered(rows))))


@asynccontextmanager
async def open_stage(
    source: Recipe | Run, *overrides: str, step: int | None = None, **objects: Unpack[Objects]
) -> AsyncIterator[OpenStage]:
    """A stage on which the workflow of a recipe or of a run can be played: see `rollout`.

    A run's policies are those of a checkpoint, the last one unless `step` names another; a recipe's are as training
    starts them. Raises CounterpointError.
    """
    _quiet()
    run = source if isinstance(source, Run) else _run_at(source)
    if run is None:
        assert not isinstance(source, Run)
        config = with_threads(config_of(source, *overrides, **objects))
        policies: Sources = {}
    else:
        config = with_threads(config_of(run.config, *overrides, **objects))
        policies = kept(config, run.checkpoint_path(run.saved_step(step)))
    async with open_set_up(set_up(config), policies) as stage:
        yield stage


async def rollout(
    stage: OpenStage, tasks: Sequence[Task], *, size: int = 1, seed: int = 0, limits: Limits | None = None
) -> list[Group]:
    """Each task played `size` times on an open stage, and judged: one group of episodes per task.

    Equal arguments and weights give equal episodes. Raises WorkflowError if every episode failed.
    """
    return await play(stage, tasks, limits or stage.limits, size=size, seed=f"{seed}/rollout")


def diagnose(run: str | Path | Run) -> list[Finding]:
    """The failure signatures that a run shows, finished or not, each with its evidence. Raises RunError."""
    return find_signatures(history_of(Run.read(_path(run))))


def list_runs(folder: str | Path = "runs") -> "pl.DataFrame":
    """One row per run in a folder: path, state, recipe, steps, accuracy and more. Raises RunError."""
    import polars as pl  # not above: `evaluate` and `open_stage` do without its memory

    rows = [{**asdict(one), "path": str(one.path)} for one in headers(Path(folder))]
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
            named = [{"name": _named(one, f"{key}-{place}")} for place, one in enumerate(_listed(key, member), start=1)]
            members[key] = [*(spec.model_dump() for spec in getattr(config, key)), *named]
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
    return config_from(override_table(with_members(table, members), overrides))


def _named(member: Any, kind: str) -> str:
    return member if isinstance(member, str) else name_of(member, kind)


def _listed(key: str, members: Any) -> Sequence[Any]:
    if isinstance(members, str) or not isinstance(members, Sequence):
        raise ConfigError(f"{key} must be a list of objects or names, not a {type(members).__name__}")
    return members


def plan_of(config: Config) -> Plan:
    """The plan of a recipe, its number of threads resolved. Raises CounterpointError."""
    _quiet()
    return plan(with_threads(config))


def create(
    planned: Plan, out: str | Path | None, recipe: str | Path, overrides: Sequence[str], *, profile: bool
) -> Run:
    """A new run directory for a plan, locked; `recipe` and `overrides` are what the user gave. Raises RunError."""
    config = planned.config
    run = Run.create(Path(out or Path("runs") / config.cell), config, facts(str(recipe), overrides))
    if profile:
        run.start_profile()
    return run


def carry_on(run: Run, planned: Plan, *, progress: bool = True, watch: Watch | None = None) -> None:
    """An opened run, trained from its last checkpoint to its last step. Raises CounterpointError."""
    _quiet()
    console = Console(highlight=False, force_jupyter=False)  # in a notebook it prints, as evaluations do
    saved = run.checkpoints()
    first = saved[-1] if saved else 0
    for name in run.pin_sources(sources(run.config), first):
        _LOG.warning("the source of %s is not the one that the run was trained with up to step %d", name, first)
    shown = Progress(console, planned.roles, first, run.config.run.steps)
    try:
        if not progress:
            run_to_end(train_run(run, watch or _nothing, planned.setup))
            return
        console.print(f"run: {run.path}", markup=False, soft_wrap=True)
        with shown:
            run_to_end(train_run(run, _both(shown, watch or _nothing), planned.setup))
    except (KeyboardInterrupt, Terminated):
        kept = run.checkpoints()
        state = f"step {kept[-1]} is saved" if kept and kept[-1] else "no step is saved yet"
        line = f"interrupted, {state}; to continue: counterpoint resume {run.path}"
        Console(highlight=False, force_jupyter=False, stderr=True).print(line, markup=False, soft_wrap=True)
        raise


async def evaluation_rows(
    target: Target, overrides: Sequence[str], ask: Ask, control: Control, **objects: Unpack[Objects]
) -> AsyncIterator[Row]:
    """The evaluations that `evaluate` returns, each as soon as it is done."""
    _quiet()
    run = target if isinstance(target, Run) else _run_at(target)
    if run is not None:
        config = with_threads(config_of(run.config, *overrides, **objects))
        rows = evaluations_of(run, config, ask, control, overrides)
    else:
        place = Path(str(target))
        if place.parent != Path() and place.parent.is_dir() and not place.exists():
            raise ConfigError(f"{str(target)!r} is neither a run nor a model: there is nothing at {place}")
        if ask.step is not None or any(control):
            raise ConfigError(f"a step and controls need a run directory; {str(target)!r} is a model")
        table = override_table({}, [f'model.path="{target}"', *overrides])
        rows = evaluations_of_base(with_threads(config_of(config_from(table), **objects)), ask)
    async for row in rows:
        yield row


def _give_again(config: Config, objects: Mapping[str, Any]) -> None:
    """The names that the recipe has for these objects stand for them in this process too. Raises ConfigError."""
    table: dict[str, Any] = config.model_dump(exclude_none=True)
    for key, member in objects.items():
        if key in _LISTS:
            named = [one["name"] for one in table.get(key, []) if one["name"].startswith("given:")]
            if len(named) != len(member):
                raise ConfigError(f"{key}: the run was started with {len(named)} objects, {len(member)} are given")
            for name, one in zip(named, member, strict=True):
                give(name, one)
        elif key in _PLACES:
            node: Any = table
            for part in _PLACES[key].split("."):
                node = node[part]
            if node["name"] not in (name_of(member, key), f"{GIVEN}:{node['name'].partition(':')[2]}"):
                raise ConfigError(f"{key}: the run was started with {node['name']!r}, which no object can replace")
            give(node["name"], member)
        else:
            raise ConfigError(f"unknown argument {key!r}; allowed: {', '.join([*_PLACES, *_LISTS])}")


def _run_at(place: str | Path | Config) -> Run | None:
    """The run at a place; None if there is none."""
    if isinstance(place, Config) or not (Path(place) / "config.toml").is_file():
        return None
    return Run.read(Path(place))


def _path(run: Target) -> Path:
    return run.path if isinstance(run, Run) else Path(run)


def _both(one: Callable[..., None], other: Callable[..., None]) -> Watch:
    def told(step: int, numbers: Mapping[str, float]) -> None:
        one(step, numbers)
        other(step, numbers)

    return told


def _nothing(step: int, numbers: Mapping[str, float]) -> None:
    """Nobody watches."""


async def _gathered(rows: AsyncIterator[Row]) -> list[Row]:
    return [row async for row in rows]


def _quiet() -> None:
    """Loading a model shows no progress bar of its own."""
    from transformers.utils import logging

    logging.disable_progress_bar()
