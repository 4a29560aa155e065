"""Collected results on disk: a few small files, written whole and checked when they are read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoint.errors import RunError
from counterpoint.experiments.collected import MILESTONES, Collected, RunRecord
from counterpoint.experiments.measured import TEAM
from counterpoint.files import lacks, partial_of, read_rows, sync

if TYPE_CHECKING:
    import polars as pl
    from pydantic import TypeAdapter

RUNS = "runs.jsonl"
OUTCOMES = "outcomes.parquet"
METRICS = "metrics.parquet"
RECIPES = "recipes.jsonl"
_FILES = (RECIPES, OUTCOMES, METRICS, RUNS)
_ROUNDING = 1e-9
_ROWS = 100_000
"""Rows of a group, each of which is compressed alone: a run that is added leaves those before it as they were."""
_CONTROL = "control/"
"""The beginning of the milestone, in the file, of an outcome of a control."""


def schema_of(name: str) -> dict[str, Any]:
    """The columns of `outcomes.parquet` or of `metrics.parquet`, with their types."""
    import polars as pl

    if name == OUTCOMES:
        names = {"run": pl.String, "milestone": pl.String, "role": pl.String, "task": pl.String}
        return {**names, "value": pl.Float64, "samples": pl.Int32}
    return {"run": pl.String, "step": pl.Int32, "name": pl.String, "value": pl.Float32}


def frame_of(name: str, rows: Sequence[tuple[Any, ...]]) -> "pl.DataFrame":
    """The rows as a table with the columns of that file."""
    import polars as pl

    schema = schema_of(name)
    return pl.DataFrame(dict(zip(schema, zip(*rows, strict=True), strict=True)) if rows else None, schema=schema)


def is_collected(folder: Path) -> bool:
    """True if a folder has one of the collected files, and is no study or run itself."""
    return any(one.is_file() for one in (folder / RUNS, folder / OUTCOMES, _complete(folder)))


def write(collected: Collected, folder: Path) -> None:
    """`folder` holds the collected files; other files in it are left alone. Equal results give equal bytes.

    A kill leaves what was there, or a write that the next call of `settle` or `write` finishes; until then
    `runs.jsonl` is missing and nothing can be read. Raises RunError if the folder cannot be written.
    """
    import polars as pl

    controls = frame_of(OUTCOMES, list(_control_rows(collected.runs)))
    tables = {OUTCOMES: pl.concat([collected.outcomes, controls]), METRICS: collected.metrics}
    texts = {
        RECIPES: [{"config_sha256": name, "recipe": recipe} for name, recipe in sorted(collected.recipes.items())],
        RUNS: [*map(_plain, collected.runs)],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        settle(folder)
        for name, rows in texts.items():
            lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
            partial_of(folder / name).write_text(lines, encoding="utf-8")
        for name, table in tables.items():
            table.rechunk().write_parquet(  # bytes must depend neither on chunks nor, before a run, on later runs
                partial_of(folder / name), compression="zstd", compression_level=12, row_group_size=_ROWS
            )
        for name in _FILES:
            sync(partial_of(folder / name))
        partial_of(folder / RUNS).replace(_complete(folder))
        settle(folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{folder} cannot be written: {error}") from error


def settle(folder: Path) -> None:
    """A write that was killed is finished if all of its files had been written, and else changed nothing.

    Raises OSError.
    """
    if not _complete(folder).is_file():
        return
    (folder / RUNS).unlink(missing_ok=True)
    for name in _FILES:
        if name != RUNS and partial_of(folder / name).is_file():
            partial_of(folder / name).replace(folder / name)
    sync(folder)
    _complete(folder).replace(folder / RUNS)
    sync(folder)


def _complete(folder: Path) -> Path:
    """The next `runs.jsonl`, under this name while the other files are those of the next write, or about to be."""
    return folder / f".{RUNS}.complete"


def read(folder: Path) -> Collected:
    """The runs that `write` wrote. Raises RunError, in one line, if a file is missing, damaged, or not one of these."""
    if _complete(folder).is_file():
        raise RunError(f"{folder}: its last write was killed; the same command as then finishes it")
    if not (folder / RUNS).is_file():
        raise RunError(f"{folder} is not a folder of collected files: {lacks(folder, RUNS)}")
    runs = [_record(row, f"{folder / RUNS}, line {line}") for line, row in enumerate(read_rows(folder / RUNS), start=1)]
    names = [run.run for run in runs]
    if len(set(names)) < len(names):
        raise RunError(f"{folder / RUNS} is damaged: two runs have the same name")
    outcomes, metrics = (_table(folder / name, set(names)) for name in (OUTCOMES, METRICS))
    check_outcomes(folder / OUTCOMES, outcomes)
    is_control = outcomes["milestone"].str.starts_with(_CONTROL)
    told = [_with_outcomes(run, outcomes.filter(is_control)) for run in runs]
    return Collected(
        runs=tuple(told), outcomes=outcomes.filter(~is_control), metrics=metrics, recipes=_recipes(folder / RECIPES)
    )


def _recipes(file: Path) -> dict[str, Mapping[str, Any]]:
    """`config_sha256` -> recipe; empty without the file, which older versions did not write."""
    try:
        return {row["config_sha256"]: row["recipe"] for row in read_rows(file)}
    except (KeyError, TypeError) as error:
        raise RunError(f"{file} is damaged: {type(error).__name__}: {error}") from error


def _plain(run: RunRecord) -> dict[str, Any]:
    """The record as JSON has it; the outcomes of its controls are in the table."""
    accuracy = {
        control: {part: {"accuracy": found["accuracy"]} for part, found in parts.items()}
        for control, parts in run.controls.items()
    }
    return {**asdict(replace(run, controls={})), "controls": accuracy}


def _control_rows(runs: Sequence[RunRecord]) -> Iterator[tuple[Any, ...]]:
    for run in runs:
        for control, parts in run.controls.items():
            for part, found in parts.items():
                for task, value in found["outcomes"].items():
                    yield run.run, f"{_CONTROL}{control}", None if part == TEAM else part, task, value, 1


def _with_outcomes(run: RunRecord, outcomes: "pl.DataFrame") -> RunRecord:
    if not run.controls:
        return run
    found: dict[tuple[str, str], dict[str, float]] = {}
    for milestone, role, task, value in outcomes.filter(run=run.run)["milestone", "role", "task", "value"].iter_rows():
        found.setdefault((milestone.removeprefix(_CONTROL), role or TEAM), {})[task] = value
    return replace(
        run,
        controls={
            control: {part: {**own, "outcomes": found.get((control, part), {})} for part, own in parts.items()}
            for control, parts in run.controls.items()
        },
    )


@cache
def _records() -> "TypeAdapter[RunRecord]":
    from pydantic import TypeAdapter

    return TypeAdapter(RunRecord)


def _record(row: Any, where: str) -> RunRecord:
    from pydantic import ValidationError

    try:
        return _records().validate_json(json.dumps(row), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the line"
        raise RunError(f"{where} is not a run that was collected: {key}: {first['msg'].lower()}") from None


def _table(file: Path, names: set[str]) -> "pl.DataFrame":
    import polars as pl

    schema = schema_of(file.name)
    if not file.is_file():
        raise RunError(f"{file.parent} is not a folder of collected files: {lacks(file.parent, file.name)}")
    try:
        table = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{file} is damaged: {str(error).splitlines()[0]}") from error
    if dict(table.schema) != schema:
        told = ", ".join(f"{name} {kind}" for name, kind in schema.items())
        raise RunError(f"{file} is not a table that was collected: its columns must be {told}")
    strange = sorted(set(table["run"].unique().drop_nulls()) - names)
    if strange or table["run"].null_count():
        raise RunError(f"{file} does not belong to {RUNS} beside it: it has the run {(strange or [None])[0]}")
    return table


def check_outcomes(file: Path, outcomes: "pl.DataFrame") -> None:
    """Raises RunError, with the file, for an outcome that no run can have, or one that is there twice."""
    known = [*MILESTONES]
    strange = [one for one in outcomes["milestone"].unique() if one not in known and not str(one).startswith(_CONTROL)]
    if strange:
        raise RunError(f"{file} is damaged: it has the milestone {strange[0]!r}; allowed: {', '.join(known)}")
    wrong = [value for value in outcomes["value"].unique() if value is None or not 0.0 <= value <= 1.0 + _ROUNDING]
    if wrong:
        raise RunError(f"{file} is damaged: it has the value {wrong[0]}; allowed: 0 to 1")
    if outcomes["task"].null_count():
        raise RunError(f"{file} is damaged: it has an outcome without a task")
    if outcomes.select("run", "milestone", "role", "task").is_duplicated().any():
        raise RunError(f"{file} is damaged: it has an outcome twice")
