"""`counterpoint train` and `counterpoint resume`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from counterpoint.api import carry_on, create, plan_of
from counterpoint.cli.profile import print_profile
from counterpoint.cli.signs import print_signs
from counterpoint.cli.tables import partial_rewards, print_behaviour, print_outcome
from counterpoint.config import Config
from counterpoint.plan.plan import Plan, plan
from counterpoint.plan.threads import about_threads
from counterpoint.run import Run


def start(config: Config, out: Path | None, recipe: str, overrides: Sequence[str], *, profile: bool) -> None:
    """Train a new run to its last step; `recipe` and `overrides` are what the user typed to get `config`."""
    planned = plan_of(config)
    console = Console(highlight=False)
    _say_threads(console, config, planned)
    with create(planned, out, recipe, overrides, profile=profile) as run:
        _train(console, run, planned)


def go_on(path: Path) -> None:
    """Train an existing run from its last checkpoint to its last step."""
    console = Console(highlight=False)
    with Run.open(path) as run:
        planned = plan(run.config)
        _say_threads(console, run.config, planned)
        _train(console, run, planned)


def plan_only(config: Config) -> None:
    """Print what the recipe would do; nothing is written."""
    planned = plan_of(config)
    console = Console(highlight=False)
    console.print(planned.config.toml(), markup=False)
    for line in planned.lines():
        console.print(line, markup=False, soft_wrap=True)
    _say_threads(console, config, planned)


def _say_threads(console: Console, given: Config, planned: Plan) -> None:
    line = about_threads(given, planned.config)
    if line is not None:
        console.print(line, markup=False, soft_wrap=True)


def _train(console: Console, run: Run, planned: Plan) -> None:
    try:
        carry_on(run, planned)
    except KeyboardInterrupt:
        console.print(f"interrupted; to continue: counterpoint resume {run.path}", markup=False, soft_wrap=True)
        sys.exit(130)
    found = run.summary
    if found is not None:
        print_outcome(console, found)
        last = [row["outcomes"] for row in run.evaluation_rows() if row["split"] == "test"][-1]
        if (line := partial_rewards(last)) is not None:
            console.print(line, markup=False, soft_wrap=True)
        print_behaviour(console, found)
    profile = run.profile_rows()
    if profile:
        print_profile(console, profile)
    console.print(f"\nrun: {run.path}", markup=False)
    console.print(f"episodes: counterpoint show {run.path}", markup=False)
    print_signs(console, run)
