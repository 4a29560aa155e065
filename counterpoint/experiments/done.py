"""The part of a study that is left to do where its earlier runs are known by their collected files alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from counterpoint.analysis.tries import SORTING
from counterpoint.errors import RunError, counted
from counterpoint.experiments.bases import base_of
from counterpoint.experiments.cells import Cell, Measure, Study, group_of
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import is_collected, read
from counterpoint.experiments.control_cells import tries_in, with_tries
from counterpoint.experiments.described import digest_of, recipe_of
from counterpoint.experiments.folder import refuse_as_collected
from counterpoint.experiments.jobs import result_of
from counterpoint.experiments.measured import TAUGHT, controls_of
from counterpoint.experiments.publish import is_made, job_of, recipe_difference
from counterpoint.experiments.states import Found, is_finished
from counterpoint.models import other_weights
from counterpoint.recipe import load_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A study without what is done."""

    study: Study
    """Its cells and evaluations that are not done; those of runs that finished here stay, as they cost nothing."""
    done: tuple[str, ...] = ()
    """The jobs that are done: cells, and evaluations by `<cell>/<name>`."""
    lost: tuple[str, ...] = ()
    """The evaluations that were not made before their run went, and cannot be made here."""
    place: Path | None = None

    def lines(self) -> list[str]:
        """The amount that is done already, and the evaluations that cannot be made here, each in a line."""
        lines = []
        if self.place is not None:
            evaluations = sum("/" in name for name in self.done)
            lines.append(
                f"{self.place} has {counted(len(self.done) - evaluations, 'run')} and"
                f" {counted(evaluations, 'evaluation')} of this study, which are not made again"
            )
        if self.lost:
            more = f" and {counted(len(self.lost) - 1, 'other')}" if len(self.lost) > 1 else ""
            lines.append(f"{self.lost[0]}{more} cannot be made: their runs are in {self.place} alone")
        return lines

    def found(self, found: Mapping[str, Found], whole: Study) -> dict[str, Found]:
        """The states of all jobs of the whole study, in its order, with those that are done."""
        finished = Found(state="finished", problem=f"in {self.place}")
        lost = Found(state="absent", problem=f"cannot be made: its run is in {self.place} alone")
        every = {**dict.fromkeys(self.done, finished), **dict.fromkeys(self.lost, lost), **found}
        order = [*(cell.name for cell in whole.cells), *map(job_of, whole.measures)]
        return {name: every[name] for name in order if name in every}


def left_of(study: Study, folder: Path, place: Path | None) -> Left:
    """The part of a study that neither finished here, in `folder`, nor is in the collected files at `place`.

    Raises RunError if `place` does not exist, is the folder of a study or a run, or has a finished run of the study
    with another recipe, or one that was trained on a shipped model with other weights.
    """
    if place is None:
        return Left(study=study)
    if not place.is_dir():
        raise RunError(f"--done {place}: there is no such folder; --publish makes it")
    refuse_as_collected(place, "--done")
    if not is_collected(place):
        return Left(study=study, place=place)
    collected = read(place)
    known = {run.run: run for run in collected.runs if run.state == "finished"}
    _refuse_changed([cell for cell in study.cells if cell.name in known], collected, known, place)
    gone = {name for name in known if not is_finished(folder / name)}
    cells = tuple(cell for cell in study.cells if cell.name not in gone)
    made = [one for one in study.measures if one.cell in known and is_made(one, known[one.cell])]
    lost = [one for one in study.measures if one not in made and gone & {one.cell, *one.needs}]
    left = [one for one in study.measures if one not in made and one not in lost]
    return Left(
        study=replace(study, cells=cells, measures=tuple(_with_bases(left, study, folder, known))),
        done=(*(cell.name for cell in study.cells if cell.name in gone), *map(job_of, made)),
        lost=tuple(map(job_of, lost)),
        place=place,
    )


def _with_bases(
    left: Sequence[Measure], study: Study, folder: Path, known: Mapping[str, RunRecord]
) -> Sequence[Measure]:
    """The same evaluations, of which the first with a base plays it, and none does if a run here or there has.

    That is another one than in the study where the run with which the base was to be played is gone, and none where a
    run with another seed has played it.
    """
    of_bases = [one for one in study.measures if one.name == TAUGHT]
    bases = _bases_of(of_bases, study)
    tries = {bases[group_of(one.cell)]: found for one in of_bases if (found := tries_in(one.arguments)) != "0"}
    played = {
        bases[group] for name, run in known.items() if (group := group_of(name)) in bases and _has_base(run.controls)
    }
    played |= {bases[group_of(one.cell)] for one in of_bases if _has_base(controls_of(folder / one.cell))}
    told: list[Measure] = []
    for one in left:
        if one.name != TAUGHT or result_of(one, folder).is_file():
            told.append(one)
            continue
        base = bases[group_of(one.cell)]
        told.append(replace(one, arguments=with_tries(one.arguments, "0" if base in played else tries.get(base, "0"))))
        played.add(base)
    return told


def _bases_of(measures: Sequence[Measure], study: Study) -> dict[str, str]:
    """Name without the seed, of the cells of these evaluations -> the base, which is equal for all seeds."""
    measured = {one.cell for one in measures}
    cells = _first_of_groups([cell for cell in study.cells if cell.name in measured])
    return {cell.group: base_of(cell, load_config(cell.recipe, cell.overrides)) for cell in cells}


def _has_base(controls: Mapping[str, object]) -> bool:
    """True if the tries of the base were counted beside the run with these controls."""
    return f"{TAUGHT}: {SORTING}" in controls


def _refuse_changed(cells: Sequence[Cell], collected: Collected, known: Mapping[str, RunRecord], place: Path) -> None:
    """Raises RunError if a cell is now another run than the one that is known."""
    wanted = {cell.group: recipe_of(load_config(cell.recipe, cell.overrides)) for cell in _first_of_groups(cells)}
    told: dict[tuple[str, str], str] = {}
    for cell in cells:
        record = known[cell.name]
        key = (cell.group, record.config_sha256)
        if key not in told:
            recipe = collected.recipes.get(record.config_sha256)
            if recipe is None:
                told[key] = "" if digest_of(wanted[cell.group]) == record.config_sha256 else "its digest differs"
            else:
                told[key] = recipe_difference(wanted[cell.group], recipe, ("in the study", "there"))
        if told[key]:
            raise RunError(
                f"{place} has {cell.name} with another recipe: {told[key]}; undo the change of the study, or publish"
                " into another folder"
            )
        _refuse_other_weights(cell, record, place)


def _first_of_groups(cells: Sequence[Cell]) -> list[Cell]:
    return list({cell.group: cell for cell in cells}.values())


def _refuse_other_weights(cell: Cell, record: RunRecord, place: Path) -> None:
    if other := other_weights(record.weights):
        raise RunError(f"{place} has {cell.name} trained on {other}: publish into another folder")
