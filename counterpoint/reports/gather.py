"""Runs as pages and figures need them, from a study's folder, collected files and run directories, in any mix."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoint.analysis.history import history_from
from counterpoint.analysis.signatures.base import Finding
from counterpoint.errors import ConfigError, CounterpointError, RunError, counted
from counterpoint.experiments.cells import Cell, Study
from counterpoint.experiments.collect import UNREADABLE, collect, metrics_frame, refuse_twice, together
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import METRICS, OUTCOMES, frame_of, is_collected
from counterpoint.experiments.compare import compare_runs
from counterpoint.experiments.compared import Compared
from counterpoint.experiments.described import found_in
from counterpoint.experiments.folder import CELLS, read_cells
from counterpoint.experiments.fresh import fresh
from counterpoint.experiments.matrices import has_outcomes
from counterpoint.reports.seen import CellSeen, Gathered, Seen
from counterpoint.run import Run
from counterpoint.run_files import is_run, is_unfinished

if TYPE_CHECKING:
    import polars as pl

_MOST = 40
"""Groups of one block up to which each is compared with each: 780 pairs."""
_OF_METRICS = ("step", "name", "value")
_OF_OUTCOMES = ("milestone", "role", "task", "value", "samples")


@dataclass(frozen=True, slots=True)
class _Study:
    """A study's folder, and its cells by the names of their runs."""

    folder: Path
    study: Study
    cells: Mapping[str, Cell]


def gather(paths: Sequence[Path], *, collected_alone: bool = False) -> Gathered:
    """The runs at `paths`, as cells, compared where they can be.

    A path is a study's folder, a folder of collected files, a run directory, or a folder of these, as `runs` is.
    Collected files of a study are used if no run has changed since; else its runs are collected, and nothing is
    written. Runs of every state are there, and one that cannot be read, with its reason in `collected.unreadable`.
    With `collected_alone`, run directories are not looked into beyond that: equal files give equal results wherever
    they are. Raises RunError, of one line, for a path that is none of these, a run that is there twice, or if no run
    can be read.
    """
    paths = [one for path in paths for one in _within(path)]
    studies = [_study(path) for path in paths if (path / CELLS).is_file()]
    others = [path for path in paths if not (path / CELLS).is_file()]
    parts = [fresh(one.folder, one.study) or collect([one.folder], with_damaged=True) for one in studies]
    parts += [collect(others, with_damaged=True)] if others else []
    collected = together(parts)
    if collected.runs and len(collected.unreadable) == len(collected.runs):
        raise RunError(next(iter(collected.unreadable.values())))
    refuse_twice([Path(run.path) for run in collected.runs])
    compared, reasons = _compared(collected)
    unreadable = dict(collected.unreadable)
    cells = _cells(collected, studies, None if collected_alone else unreadable)
    return Gathered(
        title=_title(studies, collected, len(others)),
        about=studies[0].study.about if len(studies) == 1 and not others else "",
        cells=cells,
        collected=replace(collected, unreadable=unreadable),
        compared=compared,
        reasons=reasons,
        excluded=_excluded(studies),
    )


def seen_of(run: Run) -> Seen:
    """A run as it is now: finished, training, or not begun.

    A last line that is being written does not count yet. A run of a study has the labels of its cell. Raises RunError
    if a file is damaged, or the run is gone.
    """
    found = collect([run.path])
    seen = _seen(found.runs[0], _by_run(found.metrics), _by_run(found.outcomes), _folder(found.runs[0]))
    cell = _cell_of(run.path)
    if cell is None:
        return seen
    record = replace(seen.record, labels=dict(cell.labels), control=cell.control)
    return replace(seen, record=record)


def _within(path: Path) -> list[Path]:
    """The path itself; of a folder that is no place of runs, the places of runs in it, if there are any."""
    if _holds_runs(path) or not path.is_dir():
        return [path]
    return sorted(one for one in path.iterdir() if _holds_runs(one)) or [path]


def _holds_runs(path: Path) -> bool:
    return (path / CELLS).is_file() or is_collected(path) or is_run(path) or is_unfinished(path)


def _study(folder: Path) -> _Study:
    study = read_cells(folder)
    return _Study(folder, study, {cell.name: cell for cell in study.cells})


def _cell_of(path: Path) -> Cell | None:
    """The cell of a study's run; None for a run that no study made."""
    folder = path.resolve().parent
    if not (folder / CELLS).is_file():
        return None
    return _study(folder).cells.get(path.resolve().name)


def _title(studies: Sequence[_Study], collected: Collected, others: int) -> str:
    if studies and not others:
        return " and ".join(one.study.name for one in studies)
    named = {Path(run.path).parent.name if run.compare else "" for run in collected.runs}
    if len(named) == 1 and "" not in named and not studies:
        return named.pop()
    return collected.runs[0].run if len(collected.runs) == 1 else counted(len(collected.runs), "run")


def _excluded(studies: Sequence[_Study]) -> dict[str, str]:
    return {
        ", ".join(f"{axis} = {label}" for axis, label in one.where.items()): one.reason
        for study in studies
        for one in study.study.excluded
    }


def _compared(collected: Collected) -> tuple[Compared | None, list[str]]:
    """The comparison, or the reasons why there is none; runs of which not even the recipe can be read are not in it."""
    if any(run.labels for run in collected.runs):
        known = [run for run in collected.runs if run.labels or run.run not in collected.unreadable]
        collected = replace(collected, runs=tuple(known))
    runs = [run for run in collected.runs if not run.control]
    finished = [run for run in runs if has_outcomes(run)]
    if not finished:
        states = Counter("finished, not evaluated" if run.state == "finished" else run.state for run in runs)
        told = ", ".join(f"{count} {state}" for state, count in states.items()) or "none"
        return None, [f"nothing is compared: no run is finished and evaluated after its base ({told})"]
    if len(runs) == 1:
        return None, ["nothing is compared: there is one run"]
    labels = {tuple(run.labels.items()) for run in finished}
    if len(labels) > _MOST and not finished[0].compare:
        return None, [
            f"nothing is compared: {len(labels)} methods would be {len(labels) * (len(labels) - 1) // 2} pairs; name"
            " fewer runs, or make them a study, which says what is compared"
        ]
    try:
        return compare_runs(collected), []
    except (RunError, ConfigError) as error:
        return None, [str(error)]


def _cells(collected: Collected, studies: Sequence[_Study], unreadable: dict[str, str] | None) -> list[CellSeen]:
    """The runs by cell, the controls last; the seeds of a cell in their order.

    Why one that is not finished cannot be read is added to `unreadable`; with None no directory is looked into.
    """
    cells = {name: cell for study in studies for name, cell in study.cells.items()}
    whose = {name: study.study.name for study in studies for name in study.cells} if len(studies) > 1 else {}
    metrics, outcomes = _by_run(collected.metrics), _by_run(collected.outcomes)
    groups: dict[tuple[str, ...], list[RunRecord]] = {}
    for run in collected.runs:
        groups.setdefault(_key(run, cells.get(run.run), whose.get(run.run, "")), []).append(run)
    groups = {key: own for one, runs in groups.items() for key, own in _apart(one, runs).items()}
    names = _names(groups)
    found = [
        CellSeen(
            name=names[key],
            labels=dict(runs[0].labels),
            runs=[_told(run, metrics, outcomes, unreadable) for run in sorted(runs, key=lambda run: run.seed)],
            control=runs[0].control,
        )
        for key, runs in groups.items()
    ]
    return sorted(found, key=lambda cell: bool(cell.control))


def _key(run: RunRecord, cell: Cell | None, study: str) -> tuple[str, ...]:
    """The parts that the runs of a cell have in common: study, control, name, and the labels."""
    name = cell.group if cell is not None else ""
    return (study, run.control, name, *(part for label in run.labels.items() for part in label))


def _apart(key: tuple[str, ...], runs: Sequence[RunRecord]) -> dict[tuple[str, ...], list[RunRecord]]:
    """The runs of a cell, each in a cell of its own if two have the same seed."""
    seeds = {run.seed for run in runs}
    return {key: list(runs)} if len(seeds) == len(runs) else {(*key, run.run): [run] for run in runs}


def _names(groups: Mapping[tuple[str, ...], Sequence[RunRecord]]) -> dict[tuple[str, ...], str]:
    """The name of each cell: that of the study, or its labels, or its run; unique."""
    names: dict[tuple[str, ...], str] = {}
    for key, runs in groups.items():
        study, control, cell = key[:3]
        labels = "-".join(runs[0].labels.values())
        name = cell or (runs[0].run if len(runs) == 1 else "-".join(filter(None, (control, labels))) or "runs")
        names[key] = f"{study}: {name}" if study else name
    counts = Counter(names.values())
    return {key: name if counts[name] == 1 else f"{name} ({groups[key][0].run})" for key, name in names.items()}


def _told(
    run: RunRecord,
    metrics: "Mapping[str, pl.DataFrame]",
    outcomes: "Mapping[str, pl.DataFrame]",
    unreadable: dict[str, str] | None,
) -> Seen:
    """The run; nothing but its record where it cannot be read, for the reason that is added to `unreadable`."""
    if unreadable is None:
        return _seen(run, metrics, outcomes, None)
    try:
        return _seen(run, metrics, outcomes, _folder(run))
    except RunError as error:
        unreadable[run.run] = str(error)
        return _seen(replace(run, state=UNREADABLE), metrics, outcomes, None)


def _folder(run: RunRecord) -> Path | None:
    """Its directory, if it can be read."""
    return Path(run.path) if run.state != UNREADABLE and is_run(Path(run.path)) else None


def _seen(
    run: RunRecord,
    metrics: "Mapping[str, pl.DataFrame]",
    outcomes: "Mapping[str, pl.DataFrame]",
    folder: Path | None,
) -> Seen:
    found = metrics.get(run.run)
    if folder is not None and not has_outcomes(run):
        found, findings = _until_now(run.run, folder)
        run = replace(run, findings=findings, signatures=tuple(f"{one.signature}: {one.where}" for one in findings))
    return Seen(
        record=run,
        roles=list(run.routing),
        routing={role: _policies(policies) for role, policies in run.routing.items()},
        metrics=(frame_of(METRICS, []) if found is None else found).select(_OF_METRICS),
        outcomes=outcomes.get(run.run, frame_of(OUTCOMES, [])).select(_OF_OUTCOMES),
        findings=run.findings,
        folder=folder,
    )


def _until_now(name: str, folder: Path) -> "tuple[pl.DataFrame, tuple[Finding, ...]]":
    """The numbers and the signatures of a run that is not finished, or was not evaluated after its base."""
    try:
        run = Run.read(folder)
        metrics, evaluations, final = run.metric_rows(), run.evaluation_rows(), run.final_rows()
        has_begun = "routing" in run.facts
        findings = found_in(history_from(run, metrics, evaluations, final)) if has_begun else ()
        return metrics_frame(name, metrics, evaluations), findings
    except RunError:
        raise
    except (CounterpointError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} cannot be read: {type(error).__name__}: {error}") from error


def _policies(found: str | Sequence[str]) -> tuple[str, ...]:
    """The policies of a role's slots; one where all slots have the same."""
    if isinstance(found, str):
        return (found,)
    return tuple(found) if len(set(found)) > 1 else tuple(found[:1])


def _by_run(frame: "pl.DataFrame") -> "dict[str, pl.DataFrame]":
    return {str(key[0]): part for key, part in frame.partition_by("run", as_dict=True, maintain_order=True).items()}
