"""`counterpoint evaluate`."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table
from transformers.utils import logging as transformers_logging

from counterpoint.cli.progress import percent, role_lines, with_interval
from counterpoint.cli.train import with_threads
from counterpoint.config import Config
from counterpoint.errors import ConfigError, unknown
from counterpoint.evaluate import Evaluation, evaluate
from counterpoint.outcome import BEHAVIOUR, interval
from counterpoint.policy import routing
from counterpoint.recipe import config_from, load_config, override_table
from counterpoint.rollout import Stage
from counterpoint.run import Run
from counterpoint.runtimes import open_runtime
from counterpoint.tasks import load_tasks
from counterpoint.train import limits_of
from counterpoint.workflows import load_workflow


def measure(
    target: str, overrides: Sequence[str], split: str, samples: int, step: int | None, out: Path | None
) -> None:
    """Play the split, print what came of it, and write it to `out` if one is given."""
    transformers_logging.disable_progress_bar()
    run, config = _target(target, overrides)
    if run is None and step is not None:
        raise ConfigError(f"--step {step} needs a run directory; {target!r} is a model")
    found = asyncio.run(_evaluate(with_threads(config), run, split, samples, step))
    _print(Console(highlight=False), found)
    if out is not None:
        out.write_text(json.dumps(found.row(step or 0), indent=2) + "\n")


def _target(target: str, overrides: Sequence[str]) -> tuple[Run | None, Config]:
    path = Path(target)
    if (path / "config.toml").is_file():
        return Run.read(path), load_config(path / "config.toml", overrides)
    return None, config_from(override_table({}, [f'model.path="{target}"', *overrides]))


async def _evaluate(config: Config, run: Run | None, split: str, samples: int, step: int | None) -> Evaluation:
    workflow = load_workflow(config.workflow)
    tasks = load_tasks(config.task).named()
    if split not in tasks:
        raise ConfigError(unknown("split", split, tasks))
    routes = routing(config.policies.sharing, workflow.slots)
    async with open_runtime(config, routes) as runtime:
        if run is not None:
            run.load_checkpoint(_last(run) if step is None else step, {"learner": runtime.learner})
        await runtime.sampler.load(runtime.learner.adapters())
        stage = Stage(workflow=workflow, routing=routes, sampler=runtime.sampler, chats=runtime.chats)
        limits = limits_of(config, config.evaluation.temperature)
        return await evaluate(stage, tasks[split], limits, split=split, samples=samples, seed=config.run.seed)


def _last(run: Run) -> int:
    return max(run.checkpoints(), default=0)


def _print(console: Console, found: Evaluation) -> None:
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
