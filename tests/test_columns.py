"""Nested columns: the frame that polars makes row by row, from fresh random rows."""

import random

import polars as pl
import pytest

from counterpoint.columns import frame_of

INNER = pl.Struct({"name": pl.String(), "ids": pl.List(pl.Int32()), "logs": pl.List(pl.Float32())})
SCHEMA = {"number": pl.Int64(), "value": pl.Float64(), "text": pl.String(), "calls": pl.List(INNER)}


def random_rows(source, count, most):
    def call():
        ids = [source.randrange(1000) for _ in range(source.randrange(most + 1))]
        return {"name": source.choice(["a", "", "ü"]), "ids": tuple(ids), "logs": [-source.random() for _ in ids]}

    return [
        {
            "number": source.randrange(2**62),
            "value": source.choice([None, 1, 0.25]),
            "text": source.choice([None, "x", "two words"]),
            "calls": [call() for _ in range(source.randrange(most + 1))],
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize(("count", "most"), [(0, 3), (1, 0), (1, 1), (5, 0), (40, 1), (40, 4)])
def test_the_frame_is_the_one_that_polars_makes_row_by_row_and_so_is_its_file(count, most, tmp_path):
    rows = random_rows(random.Random(), count, most)
    mine, theirs = frame_of(rows, SCHEMA), pl.DataFrame(rows, schema=SCHEMA, orient="row")
    assert mine.schema == theirs.schema
    assert mine.equals(theirs)
    for name, frame in (("mine", mine), ("theirs", theirs)):
        frame.write_parquet(tmp_path / name, compression="zstd")
    assert (tmp_path / "mine").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("wrong", [{"number": 2**70}, {"text": b"bytes"}])
def test_a_value_of_another_type_raises_and_is_not_left_out(wrong):
    row = {"number": 1, "value": None, "text": None, "calls": []} | wrong
    with pytest.raises((TypeError, OverflowError, pl.exceptions.PolarsError)):
        frame_of([row], SCHEMA)
