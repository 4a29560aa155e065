"""`counterpoint train` and `counterpoint resume`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from counterpoint.analysis.history import history_of
from counterpoint.analysis.signatures import diagnose
from counterpoint.api import carry_on, create, plan_of
from counterpoint.cli.profile import print_profile
from counterpoint.cli.tables import print_behaviour, print_outcome
from counterpoint.config import Config
from counterpoint.plan.plan import Plan, plan
from counterpoint.plan.startable import check_startable
from counterpoint.plan.threads import about_threads
from counterpoint.run import Run
from counterpoint.starting import reopen


def start(config: Config, out: Path | None, recipe: str, overrides: Sequence[str], *, profile: bool) -> None:
    """Train a new run to its last step; `recipe` and `overrides` are what the user typed to get `config`."""
    planned = plan_of(config)
    console = Console(highlight=False)
    _say_threads(console, config, planned)
    with create(planned, out, recipe, overrides, profile=profile) as run:
        _train(console, run, planned)


def go_on(path: Path, overrides: Sequence[str], *, accept_changes: bool) -> None:
    """Train an existing run from its last checkpoint to its last step; show a finished run that is not extended."""
    console = Console(highlight=False)
    with reopen(path, overrides, accept_changes=accept_changes) as run:
        if run.is_finished and not overrides:
            console.print(f"{run.path} is finished: run.steps=N makes it longer", markup=False, soft_wrap=True)
            _show(console, run)
            return
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
    check_startable(planned)


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
    _show(console, run)


def _show(console: Console, run: Run) -> None:
    found = run.summary
    if found is not None:
        print_outcome(console, found)
        print_behaviour(console, found)
        if found.cliff:
            _recommend_peak(console, run, found.peak_step)
    profile = run.profile_rows()
    if profile:
        print_profile(console, profile)
    console.print(f"\nrun: {run.path}", markup=False)
    console.print(f"episodes: counterpoint show {run.path}", markup=False)
    signs = dict.fromkeys(finding.signature for finding in diagnose(history_of(run)))
    console.print(f"signs of failure: {', '.join(signs) or 'none'}", markup=False)
    if signs:
        console.print(f"what they mean: counterpoint diagnose {run.path}", markup=False)


def _recommend_peak(console: Console, run: Run, peak: int) -> None:
    lost = f"the run ends below its peak, step {peak}"
    if peak in run.checkpoints():
        take = f"counterpoint export {run.path} --step peak --policy NAME --out DIR"
        console.print(f"{lost}: take that one, with {take}", markup=False, soft_wrap=True)
    else:
        console.print(f"{lost}, which has no checkpoint: run.save_every=N saves more", markup=False, soft_wrap=True)
