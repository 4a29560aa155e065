"""Collects what runs recorded into three small files; reads files only, and executes nothing that a run names."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.analysis.history import history_from
from counterpoint.analysis.milestones import MilestoneRows, Row, milestones_of, outcomes_of
from counterpoint.errors import CounterpointError, RunError
from counterpoint.experiments.cells import Study
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import (
    METRICS,
    OUTCOMES,
    RUNS,
    check_outcomes,
    frame_of,
    is_collected,
    schema_of,
)
from counterpoint.experiments.collected_files import read as read
from counterpoint.experiments.collected_files import write as write
from counterpoint.experiments.described import described, finished, recipe_of
from counterpoint.experiments.folder import CELLS, read_cells
from counterpoint.experiments.labels import labels_of
from counterpoint.experiments.states import state_of
from counterpoint.files import lacks
from counterpoint.run import Run
from counterpoint.run_files import EVALUATIONS, FINAL, is_run, is_unfinished

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_TIMES = "time/"
_BITS = 13
UNREADABLE = "unreadable"
"""The state of a run that is there and cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A run that is to be collected, and what is known about it without looking into it."""

    path: Path
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """Those of its cell; empty for a run that no study made, and in a study of one cell."""
    seed: int | None = None
    control: str = ""
    compare: str = ""
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    record: RunRecord
    outcomes: "pl.DataFrame"
    metrics: "pl.DataFrame"
    recipe: Mapping[str, Any] | None = None
    """Without seed and threads; None for a run that is not finished."""


def collect(paths: Sequence[Path], *, with_damaged: bool = False) -> Collected:
    """The runs at `paths`, with their outcomes at the milestones and their metrics.

    A path is a study's folder, a folder of collected files, or a run directory. The cells of a study come in its order
    and have its labels; other runs are labelled by the keys in which they differ. A run that is not finished is a
    record with its state and nothing else. Raises RunError for a path that is none of these, a damaged file, or a run
    that is there twice. With `with_damaged`, a run that cannot be read is a record in the state `unreadable` instead,
    with its reason in `unreadable`.
    """
    read_back: list[Collected] = []
    places: list[_Place] = []
    for path in paths:
        if is_collected(path):
            read_back.append(read(path))
        else:
            places += _places(path)
    refuse_twice([*(place.path for place in places), *(Path(run.path) for one in read_back for run in one.runs)])
    reasons: dict[str, str] | None = {} if with_damaged else None
    found = [_collected(place, reasons) for place in _by_hand_labelled(_named(places), reasons)]
    return replace(together([*map(_as_collected, found), *read_back]), unreadable=reasons or {})


def collect_cells(study: Study, folder: Path) -> Collected:
    """The runs of a study's cells in its folder, in the study's order; one that is not there is a record that says so.

    Raises RunError for a damaged file.
    """
    return together([_as_collected(_collected(place, None)) for place in _cells(study, folder)])


def _as_collected(part: _Part) -> Collected:
    recipes = {} if part.recipe is None else {part.record.config_sha256: part.recipe}
    return Collected(runs=(part.record,), outcomes=part.outcomes, metrics=part.metrics, recipes=recipes)


def _places(path: Path) -> list[_Place]:
    """The runs that a path stands for."""
    if (path / CELLS).is_file():
        return _cells(read_cells(path), path)
    if is_run(path) or is_unfinished(path):
        return [_Place(path=path, name=path.resolve().name)]
    if not path.is_dir():
        raise RunError(f"{path} is not a run, a study or a folder of collected files: {lacks(path)}")
    held = any(is_run(one) for one in path.iterdir() if one.is_dir())
    hint = f"; name the runs in it, such as {path / '*'}" if held else ""
    raise RunError(
        f"{path} is not a run, a study or a folder of collected files: it has neither config.toml and run.json nor"
        f" {CELLS} nor {RUNS}, {OUTCOMES} and {METRICS}{hint}"
    )


def _cells(study: Study, folder: Path) -> list[_Place]:
    """The cells of a study, whose runs are in its folder."""
    return [
        _Place(
            path=folder / cell.name,
            name=cell.name,
            labels=cell.labels,
            seed=cell.seed,
            control=cell.control,
            compare=study.compare,
            margin=study.margin,
        )
        for cell in study.cells
    ]


def refuse_twice(paths: Sequence[Path]) -> None:
    """Raises RunError if two paths are the same."""
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise RunError(f"{path} is there twice: a run counts once")
        seen.add(path.resolve())


def _named(places: Sequence[_Place]) -> list[_Place]:
    """The same places, with their paths for names where two have the same name."""
    counts = Counter(place.name for place in places)
    return [place if counts[place.name] == 1 else replace(place, name=str(place.path)) for place in places]


def _by_hand_labelled(places: Sequence[_Place], reasons: dict[str, str] | None) -> list[_Place]:
    """The same places; those without labels have those of their recipes, if they hold a run that can be opened.

    Why one cannot be opened is added to `reasons`. Raises RunError instead where `reasons` is None.
    """
    opened: dict[Path, Run] = {}
    for place in places:
        if not place.labels and is_run(place.path):
            try:
                opened[place.path] = _opened(place.path)
            except RunError as error:
                if reasons is None:
                    raise
                reasons[place.name] = str(error)
    labels = dict(zip(opened, labels_of(list(opened.values())), strict=True))
    return [replace(place, labels=place.labels or labels.get(place.path, {})) for place in places]


def _opened(path: Path) -> Run:
    """The run at `path`. Raises RunError, with the path, if its recipe cannot be read by this version."""
    try:
        run = Run.read(path)
        _ = run.facts
        return run
    except RunError:
        raise
    except (CounterpointError, OSError, ValueError) as error:
        raise RunError(f"{path} cannot be collected: {type(error).__name__}: {error}") from error


def _collected(place: _Place, reasons: dict[str, str] | None) -> _Part:
    """One run; one of which a file is damaged has its reason in `reasons`, and nothing but its name and labels.

    Raises RunError, with the path of the run, instead where `reasons` is None.
    """
    if reasons is None:
        return _read_whole(place)
    try:
        if place.name not in reasons:
            return _read_whole(place)
    except RunError as error:
        reasons[place.name] = str(error)
    return _Part(
        record=replace(_bare(place, UNREADABLE), seed=_seed_of(place)),
        outcomes=frame_of(OUTCOMES, []),
        metrics=frame_of(METRICS, []),
    )


def _seed_of(place: _Place) -> int:
    """The seed of a run that is damaged; -1 where its recipe is."""
    if place.seed is not None:
        return place.seed
    try:
        return Run.read(place.path).config.run.seed
    except (CounterpointError, OSError, ValueError):
        return -1


def _read_whole(place: _Place) -> _Part:
    """One run. Raises RunError, with its path, if one of its files is damaged."""
    try:
        return _part(place, state_of(place.path).state)
    except RunError:
        raise
    except (CounterpointError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{place.path} cannot be collected: {type(error).__name__}: {error}") from error


def _bare(place: _Place, state: str) -> RunRecord:
    """The record of a run into which nobody has looked."""
    return RunRecord(
        run=place.name,
        path=str(place.path),
        labels=dict(place.labels),
        seed=-1 if place.seed is None else place.seed,
        control=place.control,
        state=state,
        compare=place.compare,
        margin=place.margin,
    )


def _part(place: _Place, state: str) -> _Part:
    record = _bare(place, state)
    if not is_run(place.path):
        return _Part(record=record, outcomes=frame_of(OUTCOMES, []), metrics=frame_of(METRICS, []))
    run = Run.read(place.path)
    metrics = run.metric_rows()
    record = described(record, run, metrics)
    if state != "finished":
        return _Part(record=record, outcomes=frame_of(OUTCOMES, []), metrics=frame_of(METRICS, []))
    _refuse_torn(place.path)
    evaluations, final = run.evaluation_rows(), run.final_rows()
    if wrong := [row["step"] for row in (*evaluations, *final) if not isfinite(row["accuracy"])]:
        raise RunError(f"{place.path / EVALUATIONS} is damaged: the accuracy at step {wrong[0]} is not a number")
    found = milestones_of(evaluations, final)
    if found is not None:
        record = finished(record, run, history_from(run, metrics, evaluations, final), found)
    outcomes = frame_of(OUTCOMES, [] if found is None else list(_outcome_rows(record.run, found)))
    check_outcomes(place.path / EVALUATIONS, outcomes)
    return _Part(
        record=record,
        outcomes=outcomes,
        metrics=metrics_frame(record.run, metrics, evaluations),
        recipe=recipe_of(run.config),
    )


def _refuse_torn(path: Path) -> None:
    """Raises RunError if a file of a finished run ends within a line: what it lacks would change the result unseen."""
    for file in (path / EVALUATIONS, path / FINAL):
        content = file.read_bytes() if file.is_file() else b""
        if content and not content.endswith(b"\n"):
            raise RunError(f"{file} is damaged: it ends within a line, although the run is finished")


def _outcome_rows(name: str, found: MilestoneRows) -> Iterator[tuple[Any, ...]]:
    milestones = {"base": [found.base], "peak": [found.peak], "terminal": found.last}
    roles = sorted({role for row in found.all() for role in row["roles"]})
    for milestone, rows in milestones.items():
        for role in (None, *roles):
            counts: dict[str, int] = {}
            for row in rows:
                outcomes = row["outcomes"] if role is None else row["roles"].get(role, {})
                for task, values in outcomes.items():
                    counts[task] = counts.get(task, 0) + len(values)
            for task, value in sorted(outcomes_of(rows, role).items()):
                yield name, milestone, role, task, value, counts[task]


def metrics_frame(name: str, metrics: Sequence[Row], evaluations: Sequence[Row]) -> "pl.DataFrame":
    """run, step, name, value: the numbers of every training step and, as `eval/<split>/...`, of every evaluation.

    The accuracy of a role over tasks, which tables show, is there as `eval/<split>/role/<role>/over_tasks`. Times are
    left out, and numbers of training steps are rounded (`rounded`), so that results are small enough to be committed.
    """
    import polars as pl

    names: list[str] = []
    steps: list[int] = []
    values: list[float | None] = []

    def add(step: int, numbers: Mapping[str, float | None], before: str = "") -> None:
        names.extend(f"{before}{number}" for number in numbers)
        steps.extend([step] * len(numbers))
        values.extend(None if value is None else float(value) for value in numbers.values())

    for row in metrics:
        add(row["step"], {name: value for name, value in row.items() if name != "step" and not name.startswith(_TIMES)})
    exact = len(values)
    for made in evaluations:
        numbers = {"accuracy": made["accuracy"], **made.get("numbers", {})}
        for role, outcomes in made["roles"].items():
            means = [sum(own) / len(own) if len(own) > 1 else own[0] for own in outcomes.values() if own]
            numbers |= {f"role/{role}/over_tasks": sum(means) / len(means)} if means else {}
        add(made["step"], numbers, f"eval/{made['split']}/")
    found = pl.DataFrame({"run": name, "step": steps, "name": names, "value": values}, schema=schema_of(METRICS))
    trained = pl.Series(rounded(found["value"][:exact].to_numpy()), dtype=pl.Float32)
    told = found.with_columns(value=pl.concat([trained, found["value"][exact:]]))
    return told.filter(found["value"].is_not_null()).sort("name", "step", maintain_order=True)


def rounded(values: "Floats") -> "Floats":
    """The values with 13 bits after the first: within 1 part in 16,000, which compresses to three quarters.

    Values that are not finite stay as they are.
    """
    import numpy as np

    dropped = np.uint32(23 - _BITS)
    bits = np.asarray(values, dtype=np.float32).view(np.uint32)
    near = ((bits + (np.uint32(1) << (dropped - np.uint32(1)))) >> dropped << dropped).view(np.float32)
    return np.where(np.isfinite(values) & np.isfinite(near), near, values).astype(np.float32)


def together(collected: Sequence[Collected]) -> Collected:
    """All runs in one. Raises RunError if two have the same name."""
    import polars as pl

    runs = [run for one in collected for run in one.runs]
    counts = Counter(run.run for run in runs)
    for name, count in counts.items():
        if count > 1:
            raise RunError(f"two runs are named {name}: collect them apart, or rename the directory of one")
    return Collected(
        runs=tuple(runs),
        outcomes=pl.concat([frame_of(OUTCOMES, []), *(one.outcomes for one in collected)]),
        metrics=pl.concat([frame_of(METRICS, []), *(one.metrics for one in collected)]),
        unreadable={run: reason for one in collected for run, reason in one.unreadable.items()},
        recipes={digest: recipe for one in collected for digest, recipe in one.recipes.items()},
    )
