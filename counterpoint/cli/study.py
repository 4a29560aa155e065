"""`counterpoint study`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoint.cli.out import Terminal, announce, check_folder
from counterpoint.errors import ConfigError, RunError, counted
from counterpoint.experiments.cells import Study
from counterpoint.experiments.done import Left, left_of
from counterpoint.experiments.folder import refuse_foreign, refuse_other, whole_study, write_cells
from counterpoint.experiments.launch import DEFAULTS, check_rules, launch, launch_one, survey
from counterpoint.experiments.processes import places
from counterpoint.experiments.publish import publish, seeds_at
from counterpoint.experiments.runner import Outcome, Rules
from counterpoint.experiments.study import load_study
from counterpoint.experiments.table import Shown, print_table, total
from counterpoint.files import command

RUNS = Path("runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of the command."""

    only: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    jobs: int | None = None
    gpus: tuple[str, ...] = ()
    rules: Rules = DEFAULTS
    dry_run: bool = False
    status: bool = False
    slurm: Path | None = None
    cell: str | None = None
    done: Path | None = None
    publish: Path | None = None
    out: Path | None = None


def run_study(named: str, asked: Asked) -> None:
    """Do with a study what was asked for: run it, or show, plan, submit, or do one job of it.

    Raises ConfigError and RunError; exits with the status of the runner, 75 if something is left to do.
    """
    _check_options(asked)
    study = load_study(named, asked.only, asked.seeds)
    folder = asked.out or RUNS / study.name
    console = Terminal(goes_on=not (asked.status or asked.dry_run))
    if asked.publish is not None:
        _publish(console, study, folder, asked.publish, named)
        return
    left = left_of(study, folder, asked.done)
    if asked.status:
        refuse_other(study, folder)
        absent = "" if folder.is_dir() else " (there is no such folder yet)"
        console.print(f"folder: {folder}{absent}", markup=False, soft_wrap=True)
        print_table(left.found(survey(left.study, folder), study), console)
    elif asked.cell is not None:
        _do_one(console, left, folder, asked.cell, asked.rules, named)
    elif asked.slurm is not None:
        _submit(console, left, folder, asked.slurm, named)
    else:
        _do_all(console, left, study, folder, asked, named)


def _check_options(asked: Asked) -> None:
    """Raises ConfigError for options of which only one can be meant."""
    modes = {"--dry-run": asked.dry_run, "--status": asked.status, "--slurm": asked.slurm, "--cell": asked.cell}
    modes["--publish"] = asked.publish
    given = [name for name, value in modes.items() if value not in (None, False)]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)}: give one of them")
    beside = {"--jobs": asked.jobs, "--gpus": asked.gpus, "--max-hours": asked.rules.max_hours}
    strange = [name for name, value in beside.items() if value not in (None, ())]
    if given and given != ["--dry-run"] and strange:
        raise ConfigError(f"{strange[0]} means nothing with {given[0]}")
    alone = {"--only": asked.only, "--done": asked.done} if asked.publish else {}
    if senseless := [name for name, value in alone.items() if value]:
        raise ConfigError(f"{senseless[0]} means nothing with --publish")
    check_rules(asked.rules)


def seeds_of(text: str | None) -> tuple[int, ...] | None:
    """The seeds that the user typed, `0,1,2`. Raises ConfigError."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not (part.isascii() and part.isdigit()):
            raise ConfigError(f"--seeds {text}: {part!r} is no seed; write numbers with commas, such as 0,1,2")
    return tuple(map(int, parts))


def gpus_of(text: str | None) -> tuple[str, ...]:
    """The GPUs that the user typed, `0,1`. Raises ConfigError."""
    parts = tuple(part.strip() for part in text.split(",")) if text is not None else ()
    if not all(parts):
        raise ConfigError(f"--gpus {text!r}: name them with commas, such as 0,1")
    return parts


def start_all(
    console: Terminal, study: Study, folder: Path, asked: Asked, costs: Mapping[str, float], whole: Study | None
) -> Outcome:
    """The study is run and shown, and what its finished runs found is collected."""
    with Shown(console) as shown:
        outcome = launch(
            study,
            folder,
            jobs=asked.jobs,
            gpus=asked.gpus,
            rules=asked.rules,
            costs=costs,
            whole=whole,
            watcher=shown,
        )
    _tell(console, outcome)
    if outcome.signal is None and outcome.finished:
        _collect(console, folder, study.name)
    return outcome


def _do_all(console: Terminal, left: Left, study: Study, folder: Path, asked: Asked, named: str) -> None:
    from counterpoint.cli.study_plan import planned

    room = places(asked.jobs, asked.gpus)
    check_folder(folder)
    refuse_foreign(study, folder)
    for line in left.lines():
        console.print(line, markup=False, soft_wrap=True)
    if not left.study.cells and not left.study.measures:
        return
    now = total(left.found(survey(left.study, folder), study))
    announce(f"checking {counted(len(left.study.cells), 'run')} ...")
    seconds = planned(console, left.study, folder, len(room), dry_run=asked.dry_run, now=now)
    if asked.dry_run:
        return
    outcome = start_all(console, left.study, folder, asked, seconds, whole_study(named, study, folder))
    if outcome.exit_status:
        sys.exit(outcome.exit_status)


def _publish(console: Terminal, study: Study, folder: Path, place: Path, named: str) -> None:
    refuse_other(study, folder)
    whole = whole_study(named, study, folder, seeds_at(place))
    refuse_foreign(whole, folder)
    console.print(f"{place}: {publish(whole, folder, place).line()}", markup=False, soft_wrap=True)


def _do_one(console: Terminal, left: Left, folder: Path, name: str, rules: Rules, named: str) -> None:
    check_folder(folder)
    if name in left.done:
        console.print(f"{name} is in {left.place}, and is not made again", markup=False, soft_wrap=True)
        return
    if name in left.lost:
        raise RunError(f"{name} cannot be made: its run is in {left.place} alone")
    with Shown(console) as shown:
        outcome = launch_one(
            left.study, folder, name, rules=rules, whole=lambda: whole_study(named, left.study, folder), watcher=shown
        )
    _tell(console, outcome)
    if outcome.exit_status:
        sys.exit(outcome.exit_status)


def _submit(console: Terminal, left: Left, folder: Path, site: Path, named: str) -> None:
    from counterpoint.experiments.slurm import read_site, write_arrays

    resources = read_site(site)
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_cells(whole_study(named, left.study, folder), folder)
    for line in left.lines():
        announce(line)
    for line in write_arrays(left.study, folder, resources, named, left.place):
        console.print(line, markup=False, soft_wrap=True)


def _tell(console: Terminal, outcome: Outcome) -> None:
    """The failures, the jobs that are left, and the way to continue, on the console."""
    for name, why in outcome.failed.items():
        console.print(f"{name} failed: {why}", markup=False, soft_wrap=True)
    reasons: dict[str, list[str]] = {}
    for name, why in outcome.left.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        console.print(f"{_shown(names)}: {why}", markup=False, soft_wrap=True)
    if outcome.failed:
        console.print(
            "--retry resumes what failed, --restart starts it again from its beginning", markup=False, soft_wrap=True
        )
    if outcome.left:
        console.print("the same command continues", markup=False, soft_wrap=True)


def _collect(console: Terminal, folder: Path, name: str) -> None:
    from counterpoint.experiments.results import COLLECTED, write_results

    write_results(folder, name)
    console.print(f"collected: {folder / COLLECTED}", markup=False, soft_wrap=True)
    console.print(f"what it says: {command('compare', folder)}", markup=False, soft_wrap=True)
    console.print(f"report: {command('report', folder)}", markup=False, soft_wrap=True)


def _shown(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'other')}"
