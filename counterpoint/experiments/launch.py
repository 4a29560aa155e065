"""A study is run: its jobs are started, watched and ended; killed at any moment, the same call continues.

What is to be done is read from the directories of the runs each time. A job whose lock is held is running, whoever
started it, and is waited for; a finished one is never started again; a failed one only if that is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from counterpoint.errors import ConfigError, RunInUseError
from counterpoint.experiments.cells import Cell, Study, group_of
from counterpoint.experiments.folder import (
    CELLS,
    place_told,
    read_cells,
    refuse_foreign,
    refuse_other,
    refuse_other_weights,
    taken,
    write_cells,
)
from counterpoint.experiments.jobs import jobs_of, one_job
from counterpoint.experiments.processes import Start, places, start_process
from counterpoint.experiments.resolved import identity
from counterpoint.experiments.runner import Outcome, Rules, Runner, Silent, Watcher
from counterpoint.experiments.states import LOGS, Found
from counterpoint.recipe import load_config

NO_COSTS: Mapping[str, float] = MappingProxyType({})
DEFAULTS = Rules()


def launch(
    study: Study,
    folder: Path,
    *,
    jobs: int | None = None,
    gpus: Sequence[str] = (),
    rules: Rules = DEFAULTS,
    costs: Mapping[str, float] = NO_COSTS,
    whole: Study | None = None,
    start: Start = start_process,
    watcher: Watcher | None = None,
) -> Outcome:
    """The cells and the measures of a study are done as far as they can be, in its folder.

    At most `jobs` processes at the same time, or one on each of the `gpus`; `costs` holds the seconds of a job by its
    name, where they are known. `whole` is the study of which `study` is the part that is run now, and is what the
    folder's `cells.json` holds. A run whose recipe is edited before it begins is left. SIGINT and SIGTERM end the
    processes in order. Raises ConfigError for options that contradict each other; RunError, of one line, if another
    runner works on the study, the folder holds another study, or a run with another recipe or another shipped model, a
    disk is full or a place cannot be written to.
    """
    check_rules(rules)
    room = places(jobs, gpus)
    with taken(folder):
        refuse_foreign(study, folder)
        refuse_other_weights(study, folder)
        write_cells(whole or study, folder)
        (folder / LOGS).mkdir(exist_ok=True)
        cells = {cell.group: cell for cell in study.cells}
        recipes = {group: identity(cell, load_config(cell.recipe, cell.overrides)) for group, cell in cells.items()}
        return Runner(jobs_of(study, folder, costs, recipes), room, start, rules, watcher or Silent()).run()


def check_rules(rules: Rules) -> None:
    """Raises ConfigError for rules that contradict each other."""
    if rules.retry and rules.restart:
        raise ConfigError(
            "--retry resumes what failed, and --restart starts it again from its beginning: give one of them"
        )
    if rules.max_hours is not None and not rules.max_hours >= 0:
        raise ConfigError(f"--max-hours {rules.max_hours}: a number of hours from 0 is needed")


def launch_one(
    study: Study,
    folder: Path,
    name: str,
    *,
    rules: Rules = DEFAULTS,
    whole: Callable[[], Study] | None = None,
    start: Start = start_process,
    watcher: Watcher | None = None,
) -> Outcome:
    """One job of a study, created or resumed beside others on other machines; it is left if somebody works on it.

    `whole` makes the study of which `study` is a part, for a folder that does not list its cells yet. Raises RunError
    as `launch` does, and if the study has no such job.
    """
    job = one_job(study, folder, name)
    with place_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        refuse_foreign(replace(study, cells=_with_equal_recipes(name, study)), folder)
        refuse_other(study, folder)
        refuse_other_weights(study, folder)
        if not _is_listed(name, folder):
            _list_cells(folder, whole or (lambda: study))
        return Runner([job], places(1, ()), start, replace(rules, waits=False), watcher or Silent()).run()


def _with_equal_recipes(name: str, study: Study) -> tuple[Cell, ...]:
    """The cell of a job, and those that differ from it in their seeds alone."""
    group = group_of(name.partition("/")[0])
    return tuple(cell for cell in study.cells if cell.group == group)


def _is_listed(name: str, folder: Path) -> bool:
    """True if the folder's list of cells has the one that a job belongs to."""
    if not (folder / CELLS).is_file():
        return False
    return any(cell.name == name.partition("/")[0] for cell in read_cells(folder).cells)


def _list_cells(folder: Path, whole: Callable[[], Study]) -> None:
    """The folder lists the cells; several tasks of an array may do that at the same time."""
    try:
        with taken(folder):
            write_cells(whole(), folder)
    except RunInUseError:  # by a runner, which writes its list when it begins and not later
        write_cells(whole(), folder)


def survey(study: Study, folder: Path) -> dict[str, Found]:
    """Every job of a study, in the order of starting, as it is now; nothing is started or written."""
    return {job.name: job.found() for job in jobs_of(study, folder, NO_COSTS)}
