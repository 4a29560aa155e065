"""`counterpoint train` and `counterpoint resume`."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from transformers.utils import logging as transformers_logging

from counterpoint.analysis.history import history_of
from counterpoint.analysis.signatures import diagnose
from counterpoint.cli.profile import print_profile
from counterpoint.cli.progress import Progress, print_behaviour, print_outcome
from counterpoint.config import Config
from counterpoint.plan.plan import plan
from counterpoint.plan.provenance import facts
from counterpoint.plan.threads import warning
from counterpoint.run import Run
from counterpoint.training import train


def start(config: Config, out: Path | None, recipe: str, overrides: Sequence[str], *, profile: bool) -> None:
    """A new run is trained to its last step; `recipe` and `overrides` are what the user typed to get `config`."""
    given, config = config, with_threads(config)
    plan(config)
    _say_threads(Console(highlight=False), given, config)
    with Run.create(out or Path("runs") / config.cell, config, facts(recipe, overrides)) as run:
        if profile:
            run.start_profile()
        _train(run, first_step=0)


def go_on(path: Path) -> None:
    """An existing run is trained to its last step."""
    with Run.open(path) as run:
        _warn_of_threads(Console(highlight=False), run.config)
        saved = run.checkpoints()
        _train(run, first_step=saved[-1] if saved else 0)


def plan_only(config: Config) -> None:
    """What the recipe would do is printed; nothing is written."""
    given, config = config, with_threads(config)
    transformers_logging.disable_progress_bar()
    console = Console(highlight=False)
    console.print(config.toml(), markup=False)
    for line in plan(config).lines():
        console.print(line, markup=False, soft_wrap=True)
    _say_threads(console, given, config)


def with_threads(config: Config) -> Config:
    """The recipe with `run.threads = 0` resolved: the cores that this process may use, or 1 if these are slower now."""
    if config.run.threads:
        return config
    cores = len(os.sched_getaffinity(0))
    threads = 1 if warning(cores) else cores
    return config.model_copy(update={"run": config.run.model_copy(update={"threads": threads})})


def _warn_of_threads(console: Console, config: Config) -> None:
    found = warning(config.run.threads)
    if found is not None:
        console.print(f"WARNING: {found}", markup=False, soft_wrap=True)


def _say_threads(console: Console, given: Config, config: Config) -> None:
    """Whether the threads that the recipe names are slower than one, or one was chosen because more would be."""
    if given.run.threads:
        _warn_of_threads(console, config)
    elif config.run.threads == 1 < len(os.sched_getaffinity(0)):
        line = "one torch thread: other work keeps the cores busy, and several would be slower; run.threads=N chooses"
        console.print(line, markup=False, soft_wrap=True)


def _train(run: Run, first_step: int) -> None:
    transformers_logging.disable_progress_bar()
    console = Console(highlight=False)
    roles = plan(run.config).roles
    try:
        with Progress(console, roles, first_step, run.config.run.steps) as progress:
            found = asyncio.run(train(run, progress))
    except KeyboardInterrupt:
        console.print(f"interrupted; go on with: counterpoint resume {run.path}", markup=False)
        sys.exit(130)
    if found is not None:
        print_outcome(console, found)
        print_behaviour(console, found)
    profile = run.profile_rows()
    if profile:
        print_profile(console, profile)
    console.print(f"\nrun: {run.path}", markup=False)
    console.print(f"episodes: counterpoint show {run.path}", markup=False)
    signs = dict.fromkeys(finding.signature for finding in diagnose(history_of(run)))
    console.print(f"signs of failure: {', '.join(signs) or 'none'}", markup=False)
    if signs:
        console.print(f"what they mean: counterpoint diagnose {run.path}", markup=False)
