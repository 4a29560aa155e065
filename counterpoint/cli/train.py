"""`counterpoint train` and `counterpoint resume`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from counterpoint.api import create, plan_of, plan_of_setup
from counterpoint.cli.out import Terminal, check_folder, failure_of_place
from counterpoint.cli.profile import print_profile
from counterpoint.cli.signs import print_signs
from counterpoint.cli.tables import partial_rewards, print_behaviour, print_outcome, print_summary_controls
from counterpoint.config import Config
from counterpoint.errors import RunError
from counterpoint.files import command
from counterpoint.locate import named
from counterpoint.plan.check import checked
from counterpoint.plan.plan import Plan
from counterpoint.plan.startable import check_startable
from counterpoint.plan.threads import about_threads
from counterpoint.recipe import brief_toml
from counterpoint.run import Run
from counterpoint.run_files import refuse_occupied
from counterpoint.starting import reopen
from counterpoint.trained import accept, carry_on


def start(config: Config, out: Path | None, recipe: str, overrides: Sequence[str], *, profile: bool) -> None:
    """Train a new run to its last step; `recipe` and `overrides` are what the user typed to get `config`."""
    check_folder(out or Path("runs"))
    if out is not None:
        refuse_occupied(out)
    console = Terminal(goes_on=True)
    planned = _planned(console, config)
    _say_threads(console, config, planned)
    with create(planned, out, recipe, overrides, profile=profile) as run:
        _train(console, run, planned)


def go_on(path: Path, overrides: Sequence[str], *, accept_changes: bool) -> None:
    """Train an existing run from its last checkpoint to its last step; show a finished run that is not extended."""
    console = Terminal(goes_on=True)
    with reopen(path, overrides, accept_changes=accept_changes) as run:
        if run.is_finished and not overrides:
            console.print(f"{run.path} is finished: run.steps=N makes it longer", markup=False, soft_wrap=True)
            _show(console, run)
            return
        planned = _planned(console, run.config)
        _say_threads(console, run.config, planned)
        accept(run, overrides, planned)
        _train(console, run, planned)


def plan_only(config: Config, *, all_keys: bool) -> None:
    """Print what the recipe would do, then the recipe itself, as TOML; nothing is written."""
    planned = plan_of(config)
    console = Terminal()
    for line in planned.lines():
        console.print(line, markup=False, soft_wrap=True)
    _say_threads(console, config, planned)
    check_startable(planned)
    head = "every key" if all_keys else "the keys that differ from their defaults; every key: --all-keys"
    console.print(f"\n# {head}; their meaning: counterpoint explain KEY", markup=False, soft_wrap=True)
    console.print(config.toml() if all_keys else brief_toml(config), markup=False, soft_wrap=True)


def _planned(console: Console, config: Config) -> Plan:
    """The plan of a recipe, announced before the seconds that it takes to import the engine."""
    setup = checked(config)
    models = dict.fromkeys(named(own.model) for own in setup.settings.values() if own.endpoint is None)
    console.print(f"loading {', '.join(['torch', 'transformers', *models])} ...", markup=False, soft_wrap=True)
    return plan_of_setup(setup)


def _say_threads(console: Console, given: Config, planned: Plan) -> None:
    line = about_threads(given, planned.config)
    if line is not None:
        console.print(line, markup=False, soft_wrap=True)


def _train(console: Console, run: Run, planned: Plan) -> None:
    try:
        carry_on(run, planned, console=console)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        reason = failure_of_place(error)
        if reason is None:
            raise
        raise RunError(f"{reason}; what was saved is whole, to continue: {command('resume', run.path)}") from error
    _show(console, run)
    for line in planned.warnings:
        console.print(f"warning: {line}", markup=False, soft_wrap=True)


def _show(console: Console, run: Run) -> None:
    """The results of a run that has ended, and where to read on."""
    found = run.summary
    if found is not None:
        print_outcome(console, found)
        last = [row["outcomes"] for row in run.evaluation_rows() if row["split"] == "test"][-1]
        if (line := partial_rewards(last)) is not None:
            console.print(line, markup=False, soft_wrap=True)
        print_behaviour(console, found)
        print_summary_controls(console, found, run.path)
        if found.cliff:
            _recommend_peak(console, run, found.peak_step)
    profile = run.profile_rows()
    if profile:
        print_profile(console, profile)
    console.print(f"\nrun: {run.path}", markup=False, soft_wrap=True)
    console.print(f"episodes: {command('show', run.path)}", markup=False, soft_wrap=True)
    console.print(f"report: {command('report', run.path)}", markup=False, soft_wrap=True)
    print_signs(console, run)


def _recommend_peak(console: Console, run: Run, peak: int) -> None:
    lost = f"the run ends below its peak, step {peak}"
    if peak in run.checkpoints():
        take = command("export", run.path, "--step", "peak", "--policy", "NAME", "--out", "DIR")
        console.print(f"{lost}: take that one, with {take}", markup=False, soft_wrap=True)
    else:
        console.print(f"{lost}, which has no checkpoint: run.save_every=N saves more", markup=False, soft_wrap=True)
