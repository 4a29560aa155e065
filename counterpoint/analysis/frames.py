"""The tables of a run as polars frames."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import polars as pl

Row = Mapping[str, Any]
_WHERE = ("step", "task", "rollout", "solo")
"""The columns of an episode that say which one a call belongs to."""

SAMPLE_SCHEMA: dict[str, Any] = {
    "task": pl.String,
    "rollout": pl.Int32,
    "role": pl.String,
    "slot": pl.Int32,
    "turn": pl.Int32,
    "reward": pl.Float64,
    "advantage": pl.Float64,
    "signal": pl.Boolean,
    "in_loss": pl.Boolean,
}


def numbers_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """One row per step: `step`, and a Float64 column per number, in order of appearance; null where a step has none."""
    names = dict.fromkeys(name for row in rows for name in row if name != "step")
    columns = {name: [_number(row.get(name)) for row in rows] for name in names}
    return pl.DataFrame({"step": [row["step"] for row in rows], **columns}, schema={"step": pl.Int64, **_floats(names)})


def evaluations_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """One row per evaluation: step, split, accuracy, rolled_back, tasks, and a Float64 column per number."""
    names = dict.fromkeys(name for row in rows for name in row.get("numbers", {}))
    known = {
        "step": [row["step"] for row in rows],
        "split": [row["split"] for row in rows],
        "accuracy": [_number(row["accuracy"]) for row in rows],
        "rolled_back": [bool(row.get("rolled_back")) for row in rows],
        "tasks": [len(row.get("outcomes", {})) for row in rows],
    }
    columns = {name: [_number(row.get("numbers", {}).get(name)) for row in rows] for name in names}
    schema = {"step": pl.Int64, "split": pl.String, "accuracy": pl.Float64, "rolled_back": pl.Boolean}
    return pl.DataFrame({**known, **columns}, schema={**schema, "tasks": pl.Int64, **_floats(names)})


def outcomes_frame(rows: Sequence[Row]) -> pl.DataFrame:
    """One row per (step, split, role, task): the outcome of every episode or claim, in [0, 1], and their mean.

    `role` is null for the team.
    """
    found = [
        {"step": row["step"], "split": row["split"], "role": role, "task": task, "outcomes": values}
        | {"mean": fmean(values)}
        for row in rows
        for role, outcomes in ((None, row.get("outcomes", {})), *row.get("roles", {}).items())
        for task, values in outcomes.items()
    ]
    schema = {"step": pl.Int64, "split": pl.String, "role": pl.String, "task": pl.String}
    return pl.DataFrame(found, schema={**schema, "outcomes": pl.List(pl.Float64), "mean": pl.Float64})


def calls_frame(episodes: pl.DataFrame) -> pl.DataFrame:
    """One row per call, in the order they were made, from the rows of an episodes file."""
    played = episodes.filter(pl.col("calls").list.len() > 0)
    return played.select(*_WHERE, "calls").explode("calls").unnest("calls")


def _floats(names: Mapping[str, None]) -> dict[str, Any]:
    return dict.fromkeys(names, pl.Float64)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
