"""The jobs of a study: a run to be trained, or an evaluation of finished runs; each starts as one process."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments.attempts import Attempts
from counterpoint.experiments.cells import Cell, Measure, Study
from counterpoint.experiments.resolved import identity
from counterpoint.experiments.states import Found, clear_debris, failed_as_told, is_finished, last_checkpoint, own_state
from counterpoint.files import partial_of
from counterpoint.recipe import load_config
from counterpoint.run_files import CONFIG, FAILURE

NO_RECIPES: Mapping[str, str] = MappingProxyType({})
CONTROLS = "controls"
"""The folder, in a run directory, of the results of the evaluations that a study makes of it."""


class Job(ABC):
    """A task of the runner, done by one process."""

    name: str
    """Unique in the study: that of the cell, or `<cell>/<measure>`."""
    attempts: Attempts
    failure: Path
    """The file that says why it failed."""
    goes_first: bool = False
    """True if it starts before others as soon as it waits for nothing."""

    def found(self) -> Found:
        """Its state, with the number of attempts."""
        is_running = self.attempts.is_running  # asked first, so that a job that ends in between is seen at its end
        found = self.own_state()
        if is_running and found.state != "finished":
            found = replace(found, state="running", problem="")
        return replace(found, attempt=self.attempts.count or found.attempt)

    @abstractmethod
    def own_state(self) -> Found:
        """Its state without the lock of an attempt, which a runner holds that is about to start it."""

    def unmet(self) -> list[str]:
        """The names of the jobs that it still waits for."""
        return []

    def changed(self) -> str:
        """The reason why a start would not do what was asked for when the study began; empty if it would."""
        return ""

    @abstractmethod
    def checkpoint(self) -> int:
        """The last saved step; -1 if none is."""

    @abstractmethod
    def arguments(self, threads: int) -> tuple[str, ...]:
        """The arguments of `counterpoint` that start it, or resume it from where it is."""

    @abstractmethod
    def clear(self) -> str:
        """Nothing is in the way of a start any more. Returns one line about it; empty if nothing was."""

    @abstractmethod
    def set_aside(self) -> str:
        """It can be started from its beginning; what a failed attempt left is kept. Returns one line about it."""


class Training(Job):
    """The run of a cell."""

    def __init__(self, cell: Cell, folder: Path, recipe: str = "") -> None:
        """`recipe` is the identity of its recipe when the study began; empty if nothing is to be started."""
        self.cell = cell
        self._recipe = recipe
        self.name = cell.name
        self.path = folder / cell.name
        self.attempts = Attempts(folder, cell.name)
        self.failure = self.path / FAILURE

    def own_state(self) -> Found:
        return own_state(self.path)

    def changed(self) -> str:
        if not self._recipe or (self.path / CONFIG).is_file():
            return ""
        try:
            now = identity(self.cell, load_config(self.cell.recipe, self.cell.overrides))
        except ConfigError as error:
            return f"not started: since the study began its recipe has become unreadable: {error}"
        if now == self._recipe:
            return ""
        return f"not started: its recipe, {self.cell.recipe}, is another one than when the study began"

    def checkpoint(self) -> int:
        return last_checkpoint(self.path)

    def arguments(self, threads: int) -> tuple[str, ...]:
        if (self.path / CONFIG).is_file():
            return ("resume", str(self.path))
        given = load_config(self.cell.recipe, self.cell.overrides).run.threads
        chosen = () if given else (f"run.threads={threads}",)
        return ("train", self.cell.recipe, *chosen, *self.cell.overrides, "--out", str(self.path))

    def clear(self) -> str:
        self.failure.unlink(missing_ok=True)
        if self.own_state().state != "debris":
            return ""
        is_empty = not any(self.path.iterdir())
        clear_debris(self.path)
        return "" if is_empty else f"{self.name}: its creation was killed; what that left is removed"

    def set_aside(self) -> str:
        number = 1
        while (kept := self.path.with_name(f"{self.name}.failed-{number}")).exists():
            number += 1
        self.path.rename(kept)
        return f"{self.name}: starts again from its beginning; the failed run is in {kept}"


class Evaluation(Job):
    """A control that is measured on finished runs, so that a study that is cut short has those of its finished runs."""

    goes_first = True

    def __init__(self, measure: Measure, folder: Path) -> None:
        self.measure = measure
        self.name = f"{measure.cell}/{measure.name}"
        self._folder = folder
        self.result = result_of(measure, folder)
        self.attempts = Attempts(folder, self.name)
        self.failure = self.result.with_name(f"{measure.name}.{FAILURE}")

    def own_state(self) -> Found:
        if self.result.is_file():
            return Found(state="finished")
        if not self.failure.is_file():
            return Found(state="absent")
        return failed_as_told(self.failure)

    def checkpoint(self) -> int:
        return -1

    def arguments(self, threads: int) -> tuple[str, ...]:
        return (*map(self._placed, self.measure.arguments), "--out", str(self.result))

    def clear(self) -> str:
        self.failure.unlink(missing_ok=True)
        partial_of(self.result).unlink(missing_ok=True)
        return ""

    def set_aside(self) -> str:
        return self.clear()

    def unmet(self) -> list[str]:
        return [name for name in self.measure.needs if not is_finished(self._folder / name)]

    def _placed(self, argument: str) -> str:
        for name in {*self.measure.needs, self.measure.cell}:
            argument = argument.replace(f"{{{name}}}", str(self._folder / name))
        return argument


def result_of(measure: Measure, folder: Path) -> Path:
    """The file that an evaluation writes, in the run directory of its cell in the study's `folder`."""
    return folder / measure.cell / CONTROLS / f"{measure.name}.json"


def jobs_of(
    study: Study, folder: Path, costs: Mapping[str, float], recipes: Mapping[str, str] = NO_RECIPES
) -> list[Job]:
    """Every job in the order of starting: by seed; runs before evaluations; the longest first where `costs` knows them.

    `costs` holds the seconds of a job by its name, `recipes` the identity of the recipe of a cell by its name without
    the seed: a run is not created with another one.
    """
    seeds = {seed: place for place, seed in enumerate(study.seeds)}
    seed_of = {cell.name: seeds.get(cell.seed, len(seeds)) for cell in study.cells}
    ranked: list[tuple[int, int, Job]] = [
        (seed_of[cell.name], 0, Training(cell, folder, recipes.get(cell.group, ""))) for cell in study.cells
    ]
    ranked += [(seed_of.get(one.cell, len(seeds)), 1, Evaluation(one, folder)) for one in study.measures]
    ranked.sort(key=lambda row: (row[0], row[1], -costs.get(row[2].name, 0.0)))
    return [job for *_, job in ranked]


def one_job(study: Study, folder: Path, name: str) -> Job:
    """The job of this name. Raises RunError if the study has none."""
    jobs = {job.name: job for job in jobs_of(study, folder, {})}
    if name not in jobs:
        near = get_close_matches(name, jobs, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RunError(f"unknown cell of {study.name} {name!r}; {hint}--status lists all {len(jobs)}")
    return jobs[name]
