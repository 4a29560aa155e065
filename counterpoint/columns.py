"""Nested columns of a table, made level by level: row by row, as polars makes them, they take three times as long."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    # As in `counterpoint.episode`: processes that make no frame do without the memory of polars.
    import polars as pl


def frame_of(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> "pl.DataFrame":
    """The rows, each of which has every column of `schema`: name -> polars type. No list in them is None.

    Raises TypeError or a PolarsError if a value does not fit its type.
    """
    import polars as pl

    return pl.DataFrame([_column(name, [row[name] for row in rows], kind) for name, kind in schema.items()])


def _column(name: str, values: Sequence[Any], kind: Any) -> "pl.Series":
    import polars as pl

    if isinstance(kind, pl.Struct):
        return frame_of(values, dict(kind)).to_struct(name)
    if isinstance(kind, pl.List):
        inner = _column(name, list(chain.from_iterable(values)), kind.inner)
        return _cut(inner, [len(one) for one in values])
    made = pl.Series(name, values, dtype=kind, strict=kind != pl.String())
    if made.null_count() != sum(one is None for one in values):  # as bytes would be, in a column of text
        raise TypeError(f"column {name!r}: a value is not {kind}")
    return made


def _cut(values: "pl.Series", lengths: Sequence[int]) -> "pl.Series":
    """The values one after the other in lists of these lengths."""
    import polars as pl

    rows = np.repeat(np.arange(len(lengths)), lengths)
    lists = pl.DataFrame({"row": rows, "list": values}).group_by("row", maintain_order=True).agg("list")
    if 0 in lengths:
        every = pl.DataFrame({"row": np.arange(len(lengths))})
        lists = every.join(lists, on="row", how="left", maintain_order="left").with_columns(
            pl.col("list").fill_null(pl.Series([[]], dtype=lists["list"].dtype).first())
        )
    return lists["list"].rename(values.name)
