"""A study's runs, merged into a folder of collected files that is kept: what is there when the runs are gone."""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.analysis.calibration import Calibration
from counterpoint.errors import ConfigError, RunError, counted
from counterpoint.experiments.calibrated import FILE, PUBLISHED, calibrated
from counterpoint.experiments.cells import Measure, Study
from counterpoint.experiments.collect import collect_cells, together
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import METRICS, OUTCOMES, frame_of, is_collected, read, settle, write
from counterpoint.experiments.described import recipe_of
from counterpoint.experiments.folder import place_told, refuse_as_collected
from counterpoint.extension import differences
from counterpoint.recipe import config_from

if TYPE_CHECKING:
    import polars as pl

_FINISHED = 2
_CHOSEN = "model.date"
"""A key for which a run may write down what it chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The runs that are kept after a merge, by name."""

    added: tuple[str, ...]
    """Finished runs that were not there before."""
    changed: tuple[str, ...]
    """Finished runs whose record is another one than before: of a control that was made later, for example."""
    finished: tuple[str, ...]
    failed: tuple[str, ...]
    absent: tuple[str, ...]
    unmade: tuple[str, ...] = ()
    """The evaluations of finished runs that are not there: they cannot be made once the directory of their run is gone.
    """

    def line(self) -> str:
        """One sentence about them."""
        more = f", {counted(len(self.changed), 'record')} renewed" if self.changed else ""
        return (
            f"{counted(len(self.added), 'run')} added{more}: {len(self.finished)} of"
            f" {counted(len(self.finished) + len(self.failed) + len(self.absent), 'run')} are there,"
            f" {len(self.failed)} failed, {len(self.absent)} are missing{self._unmade()}"
        )

    def _unmade(self) -> str:
        return f"; {counted(len(self.unmade), 'evaluation')} of those there not made yet" if self.unmade else ""


def publish(study: Study, folder: Path, place: Path) -> Published:
    """The collected files at `place` hold the finished runs of a study's folder too, and their calibration.

    Runs that are there stay, whether they are in `folder` or not. The order is that of the study, whoever finished
    first. The record of an absent run goes when the study has no such cell any more. Raises RunError, and changes
    nothing, if `place` is the folder of a study or a run, the same run is there with another content, a run is there
    that is none of the study's, or two runs had models of one name with different weights.
    """
    refuse_as_collected(place, "--publish")
    with place_told(place), _alone(place):
        settle(place)
        before = read(place) if is_collected(place) else together([])
        found = merged(before, collect_cells(study, folder), study, place)
        known, now = _finished(before), _finished(found)
        has_rates = any(not record.control for record in now.values())
        calibration = calibrated(found, study.name) if has_rates else None
        if not _same(before, found):
            write(found, place)
        if calibration is not None:
            _keep(calibration, study, place)
    return Published(
        added=tuple(name for name in now if name not in known),
        changed=tuple(name for name in now if name in known and known[name] != now[name]),
        finished=tuple(now),
        failed=tuple(one.run for one in found.runs if one.state == "failed"),
        absent=tuple(one.run for one in found.runs if one.state == "absent"),
        unmade=tuple(job_of(one) for one in study.measures if one.cell in now and not is_made(one, now[one.cell])),
    )


def _keep(calibration: Calibration, study: Study, place: Path) -> None:
    """The calibration is in the folder and, if the study's file is in the current directory or below, beside that file.

    Beside a study that ships it is a part of the package, which `advise` reads.
    """
    calibration.write(place / FILE)
    if study.file is not None and study.file.resolve().is_relative_to(Path.cwd()):
        calibration.write(study.file.with_name(f"{study.name}{PUBLISHED}"))


def job_of(measure: Measure) -> str:
    """The name of the job that makes an evaluation."""
    return f"{measure.cell}/{measure.name}"


def is_made(measure: Measure, run: RunRecord) -> bool:
    """True if the run's record has what the evaluation found; one of `--solo` has a result for each role."""
    return any(name == measure.name or name.startswith(f"{measure.name}: ") for name in run.controls)


def seeds_at(place: Path) -> tuple[int, ...]:
    """The seeds of the runs at `place`, whose last write is finished if it was killed; none if nothing is there.

    Raises RunError if its files are damaged, or another process writes them.
    """
    if not is_collected(place):
        return ()
    with place_told(place), _alone(place):
        settle(place)
        return tuple(sorted({run.seed for run in read(place).runs}))


def merged(there: Collected, here: Collected, study: Study, place: Path) -> Collected:
    """The runs of both in the order of the study; of a run that finished in both, the one `here` with all controls.

    A failed run stays until it has finished somewhere, and one that has done neither is absent. Raises RunError as
    `publish` does; `place`, where `there` was read, is named in it.
    """
    old, new = ({run.run: run for run in one.runs} for one in (there, here))
    names = [cell.name for cell in study.cells]
    if foreign := [name for name in old if name not in names and _rank(old[name])]:
        raise RunError(
            f"{place} has {foreign[0]}, which is no run of the study {study.name}: undo the change of the study, or"
            " publish into another folder"
        )
    sources: list[Collected] = []
    runs: list[RunRecord] = []
    for name in names:
        is_new = old.get(name) is None or _rank(new[name]) >= _rank(old[name])
        record = _as_published(new[name] if is_new else replace(old[name], **_of_the_study(new[name])), study)
        if new[name].state == "finished" and name in old and old[name].state == "finished":
            _refuse_other(old[name], new[name], there, here, place)
            record = replace(record, controls=_controls(old[name], new[name], place))
        runs.append(record)
        sources.append(here if is_new else there)
    refuse_other_weights(runs, place)
    recipes = {**there.recipes, **here.recipes}
    used = {run.config_sha256 for run in runs if run.state == "finished"}
    return Collected(
        runs=tuple(runs),
        outcomes=_rows(runs, sources, OUTCOMES),
        metrics=_rows(runs, sources, METRICS),
        recipes={digest: recipes[digest] for digest in sorted(used & recipes.keys())},
    )


def refuse_other_weights(runs: Sequence[RunRecord], place: Path) -> None:
    """Raises RunError if two runs were trained on models of the same name with different weights."""
    known: dict[str, tuple[str, str]] = {}
    for run in runs:
        for model, digest in run.weights.items():
            first, earlier = known.setdefault(model, (run.run, digest))
            if earlier != digest:
                raise RunError(
                    f"{place}: {first} and {run.run} were trained on different models of the name {model}"
                    f" ({earlier[:8]} and {digest[:8]}): one study has one model of a name"
                )


def recipe_difference(one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, str]) -> str:
    """The first key in which two recipes differ, as this version of the package reads them; empty if none.

    `names` says where each of the two is.
    """
    found = differences(_as_now(one), _as_now(other))
    for key, (here, there) in found.items():
        if key != _CHOSEN or (here and there):
            return f"{key} is {here!r} {names[0]}, {there!r} {names[1]}"
    return ""


def _as_now(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe with every default of this version; as it is if this version cannot read it."""
    try:
        return recipe_of(config_from(recipe))
    except ConfigError:
        return recipe


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """No other process publishes into the folder, which is made if it is not there. Raises RunError if one does."""
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RunError(f"{place} is being written by another process: try again when it is done") from None
    finally:
        os.close(descriptor)


def _rank(record: RunRecord) -> int:
    return {"failed": 1, "finished": _FINISHED}.get(record.state, 0)


def _as_published(record: RunRecord, study: Study) -> RunRecord:
    """The record without what says where and on whose machine the run was made."""
    path = f"runs/{study.name}/{record.run}"
    if _rank(record):
        return replace(record, path=path)
    return RunRecord(
        run=record.run,
        path=path,
        seed=record.seed,
        control=record.control,
        state="absent",
        **_of_the_study(record),
    )


def _of_the_study(record: RunRecord) -> dict[str, Any]:
    return {"labels": record.labels, "compare": record.compare, "margin": record.margin}


def _refuse_other(old: RunRecord, new: RunRecord, there: Collected, here: Collected, place: Path) -> None:
    """Raises RunError unless two finished runs of one name are the same run."""
    if old.config_sha256 != new.config_sha256:
        known, now = there.recipes.get(old.config_sha256), here.recipes.get(new.config_sha256)
        told = recipe_difference(known, now, ("there", "here")) if known and now else "its digest differs"
        if told:
            raise RunError(f"{place} has {old.run} with another recipe: {told}; move one of them away")
    if old.tasks_sha256 != new.tasks_sha256:
        raise RunError(f"{place} has {old.run} with other test tasks: move one of them away")
    if not _outcomes_of(there, old).equals(_outcomes_of(here, new)):
        raise RunError(
            f"{place} has {old.run} with other outcomes, so that it was trained twice: move the run here away, and name"
            " the folder with --done next time"
        )


def _outcomes_of(collected: Collected, run: RunRecord) -> "pl.DataFrame":
    return collected.outcomes.filter(run=run.run).sort("milestone", "role", "task")


def _controls(old: RunRecord, new: RunRecord, place: Path) -> dict[str, Mapping[str, Any]]:
    """The controls of both. Raises RunError if one differs."""
    for name in old.controls.keys() & new.controls.keys():
        if old.controls[name] != new.controls[name]:
            raise RunError(f"{place} has {old.run} with another result of the control {name}: remove the one here")
    found = {**old.controls, **new.controls}
    return {name: found[name] for name in sorted(found)}


def _rows(runs: Sequence[RunRecord], sources: Sequence[Collected], file: str) -> "pl.DataFrame":
    """The rows of the finished runs in a table, each from its source, in this order."""
    import polars as pl

    tables = {id(one): one.outcomes if file == OUTCOMES else one.metrics for one in sources}
    parts = {one: table.partition_by("run", as_dict=True) for one, table in tables.items()}
    found = [parts[id(one)].get((run.run,)) for run, one in zip(runs, sources, strict=True) if _rank(run) == _FINISHED]
    return pl.concat([frame_of(file, []), *(one for one in found if one is not None)])


def _finished(collected: Collected) -> dict[str, RunRecord]:
    return {run.run: run for run in collected.runs if run.state == "finished"}


def _same(one: Collected, other: Collected) -> bool:
    return (
        one.runs == other.runs
        and one.recipes == other.recipes
        and one.outcomes.equals(other.outcomes)
        and one.metrics.equals(other.metrics)
    )
