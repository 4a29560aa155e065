"""The collected files of a study that no run has outlived: they say all that collecting again would say."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from counterpoint.errors import RunError
from counterpoint.experiments.cells import Study
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import RUNS, read
from counterpoint.experiments.folder import CELLS
from counterpoint.experiments.measured import FOLDER as CONTROLS
from counterpoint.experiments.results import COLLECTED
from counterpoint.experiments.states import is_finished, state_of
from counterpoint.run_files import CONFIG, EVALUATIONS, FACTS, FINAL, METRICS, SUMMARY

_READ = (CONFIG, FACTS, METRICS, EVALUATIONS, FINAL, SUMMARY, CONTROLS)
"""The files of a run that are collected, and the folder of its controls."""


def fresh(folder: Path, study: Study) -> Collected | None:
    """The runs of a study's folder as its collected files have them, each with its place in that folder.

    None if they must be collected again: a run changed, finished, failed, began or is missing since, the study has
    other runs, or the files are not there, cannot be read, or lack the evidence of signatures. Where every run
    directory is gone, as in a study that was published without them, the collected files are all there is.
    """
    stamp = _changed(folder / COLLECTED / RUNS)
    if stamp is None:
        return None
    try:
        found = read(folder / COLLECTED)
    except RunError:
        return None
    if [run.run for run in found.runs] != [cell.name for cell in study.cells]:
        return None
    placed = replace(found, runs=tuple(replace(run, path=str(folder / run.run)) for run in found.runs))
    if not any((folder / run.run).is_dir() for run in found.runs):
        return placed if any(run.state == "finished" for run in found.runs) else None
    changed = max(_changes(folder, found.runs), default=0)
    return placed if changed < stamp and all(_is_as_told(folder, run) for run in found.runs) else None


def _is_as_told(folder: Path, run: RunRecord) -> bool:
    """True if a run is in the state that was collected, with all that its record can have."""
    if (run.signatures and not run.findings) or (run.fell == "fell" and run.explained is None):
        return False
    path = folder / run.run
    return is_finished(path) if run.state == "finished" else state_of(path).state == run.state != "running"


def _changes(folder: Path, runs: Sequence[RunRecord]) -> Iterator[int]:
    """The times at which the study, and what is read of its runs, last changed, in nanoseconds."""
    yield _changed(folder / CELLS) or 0
    for run in runs:
        places = [folder / run.run / name for name in _READ]
        yield from (_changed(place) or 0 for place in places)
        yield from (_changed(file) or 0 for file in (folder / run.run / CONTROLS).glob("*.json"))


def _changed(path: Path) -> int | None:
    """The time at which a file or folder last changed; None if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
