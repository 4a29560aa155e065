"""`counterpoint evaluate`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from transformers.utils import logging as transformers_logging

from counterpoint import controls
from counterpoint.adapter import Sources
from counterpoint.analysis.paired import compare
from counterpoint.analysis.passes import Passes, passes
from counterpoint.analysis.summary import BEHAVIOUR, interval
from counterpoint.cli.out import check_out, write_out
from counterpoint.cli.progress import percent, role_lines, with_interval
from counterpoint.cli.train import with_threads
from counterpoint.config import Config
from counterpoint.errors import ConfigError, RunError, unknown
from counterpoint.evaluation import Evaluation, evaluate
from counterpoint.play import Stage
from counterpoint.policy import routing
from counterpoint.recipe import config_from, load_config, override_table
from counterpoint.run import Run
from counterpoint.runtimes import open_sampler
from counterpoint.tasks import load_tasks
from counterpoint.training import limits_of
from counterpoint.workflows import load_workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be played."""

    split: str
    samples: int
    """Episodes a problem."""
    step: int | None
    """The checkpoint; None for the last."""


class Control(NamedTuple):
    """What is compared with the run as it is; at most one of them is given."""

    swap: str | None = None
    ablate: str | None = None
    solo: bool = False
    transfer: Path | None = None
    against: Path | None = None


def measure(target: str, overrides: Sequence[str], ask: Ask, control: Control, out: Path | None) -> None:
    """Play the split, print what came of it, and write it to `out` if one is given.

    With a control the run is played as it is and with the control, and the two are compared task by task; so is
    another run.
    """
    check_out(out)
    transformers_logging.disable_progress_bar()
    run, config = _target(target, overrides)
    config = with_threads(config)
    console = Console(highlight=False)
    if run is None:
        if ask.step is not None or any(control):
            raise ConfigError(f"--step and controls need a run directory; {target!r} is a model")
        found = asyncio.run(_play(config, {}, ask))
        _print(console, found, ask)
        rows = {"": found}
    else:
        rows = _with_controls(console, run, config, ask, control, overrides)
    step = 0 if run is None else _step(run, ask)
    written = {name: _written(found, step, ask) for name, found in rows.items()}
    for name in list(written)[1:]:
        written[name]["difference"] = compare(rows[name].outcomes, rows["run"].outcomes).as_dict()
        if control.against is not None:
            written[name]["step"] = _step(Run.read(control.against), ask)
    write_out(out, written if len(written) > 1 else next(iter(written.values())))


def _with_controls(
    console: Console, run: Run, config: Config, ask: Ask, control: Control, overrides: Sequence[str]
) -> dict[str, Evaluation]:
    """Name -> evaluation: the run as it is under "run", and what it is compared with."""
    if sum(map(bool, control)) > 1:
        raise ConfigError("one control at a time: --swap, --ablate, --solo, --transfer or --against")
    checkpoint = _checkpoint(run, ask)
    as_it_is = (config, controls.kept(config, checkpoint))
    others: dict[str, tuple[Config, Sources]] = {}
    if control.swap is not None:
        one, _, other = control.swap.partition(",")
        others[f"with {one} and {other} swapped"] = controls.swapped(config, checkpoint, one, other)
    if control.ablate is not None:
        others[f"with the base as {control.ablate}"] = controls.ablated(config, checkpoint, control.ablate)
    if control.transfer is not None:
        target = load_config(Run.read(control.transfer).path / "config.toml", overrides)
        as_it_is = controls.transferred(config, checkpoint, target)
        base = dict.fromkeys(as_it_is[1])
        others["with the base in every role"] = (as_it_is[0], base)
    if control.against is not None:
        others[f"against {control.against}"] = _other_run(control.against, config, ask, overrides)
    found = {"run": asyncio.run(_play(*as_it_is, ask))}
    _print(console, found["run"], ask)

    def play(name: str, changed: Config, sources: Sources) -> None:
        console.print(f"\n{name}", markup=False)
        found[name] = asyncio.run(_play(changed, sources, ask))
        _print(console, found[name], ask)
        console.print(compared(found[name], found["run"]), markup=False, soft_wrap=True)

    for name, control_of in others.items():
        play(name, *control_of)
    for role in found["run"].roles if control.solo else ():
        play(f"{role} alone", *controls.alone(config, checkpoint, role, 1))
        count = affordable(found["run"], found[f"{role} alone"])
        if count > 1:
            name = f"the majority of {count} answers of {role}, at the team's tokens"
            play(name, *controls.alone(config, checkpoint, role, count))
    return found


def affordable(team: Evaluation, alone: Evaluation) -> int:
    """How many answers of one role cost what the team's calls do, in tokens it writes; rounded down, at least 1."""
    return max(1, int(_spent(team) / _spent(alone)))


def _spent(found: Evaluation) -> float:
    """Tokens an episode, of all roles."""
    roles = [name.split("/")[1] for name in found.numbers if name.startswith("role/") and name.endswith("/calls")]
    return sum(found.numbers[f"role/{role}/calls"] * found.numbers[f"role/{role}/tokens"] for role in roles)


def compared(found: Evaluation, run: Evaluation) -> str:
    """The difference of two evaluations, paired by task."""
    both = compare(found.outcomes, run.outcomes)
    points = f"{with_interval(both.difference, '+')} points, p = {both.p_value:.2g}"
    return f"difference to the run, paired by task: {points} (sign flips over {both.difference.n} tasks)"


def _other_run(path: Path, config: Config, ask: Ask, overrides: Sequence[str]) -> tuple[Config, Sources]:
    """Another run as it is. Raises RunError unless its tasks of that split are the same as those of `config`."""
    other = Run.read(path)
    theirs = load_config(path / "config.toml", overrides)
    prints = [load_tasks(one.task, one.sandbox).fingerprints() for one in (config, theirs)]
    if ask.split not in prints[0]:
        raise ConfigError(unknown("split", ask.split, prints[0]))
    if prints[0][ask.split] != prints[1][ask.split]:
        raise RunError(f"{path} has other {ask.split} tasks than this run: the two cannot be paired")
    changed = theirs.model_copy(update={"run": theirs.run.model_copy(update={"threads": config.run.threads})})
    return changed, controls.kept(theirs, _checkpoint(other, ask))


def _target(target: str, overrides: Sequence[str]) -> tuple[Run | None, Config]:
    path = Path(target)
    if (path / "config.toml").is_file():
        return Run.read(path), load_config(path / "config.toml", overrides)
    return None, config_from(override_table({}, [f'model.path="{target}"', *overrides]))


async def _play(config: Config, sources: Sources, ask: Ask) -> Evaluation:
    """The split played with policies from these sources; without any, with the bases."""
    workflow = load_workflow(config.workflow)
    splits = load_tasks(config.task, config.sandbox)
    tasks = splits.named()
    if ask.split not in tasks:
        raise ConfigError(unknown("split", ask.split, tasks))
    routes = routing(config.policies.sharing, workflow.slots)
    async with splits.judging, open_sampler(config, routes, sources) as opened:
        stage = Stage(workflow=workflow, routing=routes, sampler=opened.sampler, chats=opened.chats)
        limits = limits_of(config, config.evaluation.temperature)
        members, seed = tasks[ask.split], config.run.seed
        return await evaluate(stage, members, limits, split=ask.split, samples=ask.samples, seed=seed)


def _checkpoint(run: Run, ask: Ask) -> Path:
    """The folder of the checkpoint that was asked for. Raises RunError if there is none."""
    folder = run.checkpoint_path(_step(run, ask))
    if not folder.is_dir():
        known = ", ".join(map(str, run.checkpoints())) or "none"
        raise RunError(f"{run.path} has no checkpoint of step {_step(run, ask)}; there are: {known}")
    return folder


def _written(found: Evaluation, step: int, ask: Ask) -> dict[str, Any]:
    """An evaluation with its answers and what several of them are worth."""
    worth = {who: passes(made, ask.samples).as_dict() for who, made in found.role_attempts.items()}
    team = passes(found.attempts, ask.samples).as_dict()
    return {**found.row(step), "answers": found.answers(), "passes": {"team": team, "roles": worth}}


def _step(run: Run, ask: Ask) -> int:
    return max(run.checkpoints(), default=0) if ask.step is None else ask.step


def _print(console: Console, found: Evaluation, ask: Ask) -> None:
    team = interval([fmean(values) for values in found.outcomes.values()])
    title = f"accuracy on {team.n} {found.split} tasks, %, with 95 % intervals"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "accuracy", "unreadable", "truncated", "tokens", "calls"):
        table.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    table.add_row("team", with_interval(team), "", "", "", "")
    for role, outcomes in found.roles.items():
        own = interval([fmean(values) for values in outcomes.values()])
        numbers = {
            name: found.numbers[f"role/{role}/{name}"] for name in ("unreadable", "truncated", "tokens", "calls")
        }
        table.add_row(
            role,
            with_interval(own),
            percent(numbers["unreadable"]),
            percent(numbers["truncated"]),
            f"{numbers['tokens']:.1f}",
            f"{numbers['calls']:.2f}",
        )
    console.print(table)
    shown = ("unreadable", "truncated", "tokens", "calls")
    for line in role_lines(found.numbers, [name for name in BEHAVIOUR if name not in shown]):
        console.print(line, markup=False, soft_wrap=True)
    lost = f"failed: {found.numbers['episode/errors']:g}; not judged: {found.numbers['episode/not_judged']:g}"
    console.print(f"any answer right: {percent(found.numbers['episode/oracle'])}; {lost}", markup=False)
    console.print("tokens: a call; calls: an episode", markup=False)
    if ask.samples > 1:
        for who, attempts in (("team", found.attempts), *found.role_attempts.items()):
            console.print(_passes_table(who, passes(attempts, ask.samples)))


def _passes_table(who: str, worth: Passes) -> Table:
    """What k answers are worth: a row a k."""
    title = f"{who}: k answers a task, %, with 95 % intervals"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("k", "one is right (pass@k)", "most are (majority@k)", "tasks"):
        table.add_column(column, justify="right", no_wrap=True)
    for k, any_right in worth.any_right.items():
        table.add_row(str(k), with_interval(any_right), with_interval(worth.majority[k]), str(any_right.n))
    return table
