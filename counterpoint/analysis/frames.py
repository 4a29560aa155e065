"""The tables of a run as polars frames, and the files of samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from counterpoint.episode import TRAIN
from counterpoint.errors import RunError
from counterpoint.files import partial_of

if TYPE_CHECKING:
    # The functions import polars themselves: `evaluate` and `serve` make no frame, and do without its 25 MB.
    import polars as pl

Row = Mapping[str, Any]
_WHERE = ("step", "split", "task", "rollout", "solo")
"""The columns of an episode that say which one a call belongs to."""


def numbers_frame(rows: Sequence[Row]) -> "pl.DataFrame":
    """One row per step: `step`, and a Float64 column per number, in order of appearance; null where a step has none."""
    import polars as pl

    names = dict.fromkeys(name for row in rows for name in row if name != "step")
    columns = {name: [_number(row.get(name)) for row in rows] for name in names}
    return pl.DataFrame(
        {"step": [row["step"] for row in rows], **columns}, schema={"step": int, **dict.fromkeys(names, float)}
    )


def evaluations_frame(rows: Sequence[Row]) -> "pl.DataFrame":
    """One row per evaluation: step, split, accuracy, rolled_back, tasks, and a Float64 column per number."""
    import polars as pl

    names = dict.fromkeys(name for row in rows for name in row.get("numbers", {}))
    known = {
        "step": [row["step"] for row in rows],
        "split": [row["split"] for row in rows],
        "accuracy": [_number(row["accuracy"]) for row in rows],
        "rolled_back": [bool(row.get("rolled_back")) for row in rows],
        "tasks": [len(row.get("outcomes", {})) for row in rows],
    }
    columns = {name: [_number(row.get("numbers", {}).get(name)) for row in rows] for name in names}
    schema = {"step": int, "split": str, "accuracy": float, "rolled_back": bool, "tasks": int}
    return pl.DataFrame({**known, **columns}, schema={**schema, **dict.fromkeys(names, float)})


def outcomes_frame(rows: Sequence[Row]) -> "pl.DataFrame":
    """One row per (step, split, role, task): the outcome of every episode or claim, in [0, 1], and their mean.

    `role` is null for the team.
    """
    import polars as pl

    found = [
        {"step": row["step"], "split": row["split"], "role": role, "task": task, "outcomes": values}
        | {"mean": fmean(values)}
        for row in rows
        for role, outcomes in ((None, row.get("outcomes", {})), *row.get("roles", {}).items())
        for task, values in outcomes.items()
    ]
    schema: dict[str, Any] = {"step": int, "split": str, "role": str, "task": str}
    return pl.DataFrame(found, schema={**schema, "outcomes": pl.List(pl.Float64), "mean": pl.Float64})


def read_calls(path: Path) -> "pl.DataFrame":
    """One row per call, in the order they were made, of an episodes file of this schema or an older one."""
    import polars as pl

    played = pl.read_parquet(path).filter(pl.col("calls").list.len() > 0)
    if "split" not in played.columns:
        played = played.with_columns(split=pl.lit(TRAIN))
    return played.select(*_WHERE, "calls").explode("calls").unnest("calls")


def write_samples(path: Path, step: int, rows: Sequence[Row]) -> None:
    """Write one row per call that got credit. `path` is replaced at once, so it is whole or absent."""
    import polars as pl

    made = pl.DataFrame([{"step": step, "solo": False, **row} for row in rows], schema=_sample_schema())
    made.write_parquet(partial_of(path), compression="zstd")
    partial_of(path).replace(path)


def read_samples(path: Path, step: int) -> "pl.DataFrame":
    """The rows that `write_samples` wrote for a step, in this format or an older one; none if there is no such file."""
    import polars as pl

    schema = _sample_schema()
    if not path.is_file():
        return pl.DataFrame(schema=schema)
    found = pl.read_parquet(path)
    return found.with_columns(step=pl.lit(step, pl.Int64), solo=pl.lit(False)).select(*schema)


def _sample_schema() -> dict[str, Any]:
    import polars as pl

    return {
        "step": pl.Int64,
        "task": str,
        "rollout": pl.Int32,
        "solo": pl.Boolean,
        "role": str,
        "slot": pl.Int32,
        "turn": pl.Int32,
        "reward": float,
        "advantage": float,
        "signal": bool,
        "in_loss": bool,
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def read_claim_kinds(path: Path) -> dict[str, frozenset[str]]:
    """Role -> the kinds of claims of its calls, from those columns alone. Raises RunError if `path` holds no episodes.

    Calls of a role that solved a task alone do not count.
    """
    import polars as pl

    try:
        frame = pl.read_parquet(path, columns=["solo", "calls"])
        calls = frame.filter(~pl.col("solo"))["calls"].explode().drop_nulls()
        kinds = pl.DataFrame({"role": calls.struct.field("role"), "claim": calls.struct.field("claim")})
        found = kinds.select("role", kind=pl.col("claim").str.json_path_match("$.kind")).unique()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path} cannot be read as episodes: {error}") from error
    told: dict[str, set[str]] = {}
    for role, kind in found.sort("role", "kind").iter_rows():
        told.setdefault(role, set()).update(() if kind is None else (kind,))
    return {role: frozenset(own) for role, own in told.items()}
