"""The part of a study that is left to do where its earlier runs are known by their collected files alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from counterpoint.analysis.tries import SORTING
from counterpoint.errors import RunError, counted
from counterpoint.experiments.bases import base_of
from counterpoint.experiments.cells import Cell, Measure, Study
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import is_collected, read
from counterpoint.experiments.control_cells import tries_in, with_tries
from counterpoint.experiments.described import digest_of, recipe_of
from counterpoint.experiments.measured import FOLDER, TAUGHT, controls_of
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

    Raises RunError if `place` does not exist, or has a finished run of the study with another recipe, or one that was
    trained on a shipped model with other weights.
    """
    if place is None:
        return Left(study=study)
    if not place.is_dir():
        raise RunError(f"--done {place}: there is no such folder; --publish makes it")
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
    """The same evaluations; one that is left plays a base of the study that no run has played, or is about to play.

    That is so where the run with which it was to be played is gone.
    """
    of_bases = [one for one in study.measures if one.name == TAUGHT]
    if all(one in left for one in of_bases if tries_in(one.arguments) != "0"):
        return left
    bases = _bases_of(of_bases, study)
    tries = {bases[one.cell]: found for one in of_bases if (found := tries_in(one.arguments)) != "0"}
    played = {bases[one.cell] for one in of_bases if _has_base(one.cell, folder, known)}
    played |= {bases[one.cell] for one in left if one.name == TAUGHT and tries_in(one.arguments) != "0"}
    changed: dict[str, Measure] = {}
    for one in left:
        base = bases[one.cell] if one.name == TAUGHT else ""
        if base in tries.keys() - played and not (folder / one.cell / FOLDER / f"{TAUGHT}.json").is_file():
            changed[one.cell] = replace(one, arguments=with_tries(one.arguments, tries[base]))
            played.add(base)
    return [changed.get(one.cell, one) if one.name == TAUGHT else one for one in left]


def _bases_of(measures: Sequence[Measure], study: Study) -> dict[str, str]:
    """Cell of one of these evaluations -> its base, which is equal for all its seeds."""
    measured = {one.cell for one in measures}
    cells = [cell for cell in study.cells if cell.name in measured]
    of_group = {cell.group: base_of(cell, load_config(cell.recipe, cell.overrides)) for cell in _first_of_groups(cells)}
    return {cell.name: of_group[cell.group] for cell in cells}


def _has_base(cell: str, folder: Path, known: Mapping[str, RunRecord]) -> bool:
    """True if the tries of the base were counted beside this run, as its record or its files say."""
    found = known[cell].controls if cell in known else {}
    return f"{TAUGHT}: {SORTING}" in {**found, **controls_of(folder / cell)}


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
