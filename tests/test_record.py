"""Runs that older versions recorded can be read: `tests/recorded` holds what they wrote."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from counterpoint.run import Run

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def old(tmp_path):
    """A run of format 4, of which the second of two steps is kept, without its checkpoints."""
    (tmp_path / "old" / "checkpoints").mkdir(parents=True)
    return Run.read(shutil.copytree(RECORDED / "format_4", tmp_path / "old", dirs_exist_ok=True))


def test_the_episodes_of_a_run_of_format_4_are_read_without_keys(old):
    (first, *others) = old.episodes(2)
    assert [len(group.episodes) for group in (first, *others)] == [2, 2]
    assert {episode.key for group in (first, *others) for episode in group.episodes} == {None}
    assert [call.key.role for call in first.episodes[0].calls] == ["generator"] * 3 + ["aggregator"]


def test_the_samples_of_a_run_of_format_4_join_with_its_calls(old):
    samples, calls = old.samples(2), old.calls(2)
    assert samples["step"].unique().to_list() == [2]
    joined = calls.join(samples, on=["step", "task", "rollout", "solo", "role", "slot", "turn"], how="inner")
    assert len(joined) == len(samples) == len(calls) == 16
    assert calls["split"].unique().to_list() == ["train"]


def test_the_numbers_and_the_summary_of_a_run_of_format_4_are_read(old):
    assert old.metrics()["step"].to_list() == [1, 2]
    assert old.evaluations().height == 6
    assert old.summary.peak_step == 2
    assert old.steps_with_episodes("test") == []


def test_a_run_of_format_4_has_the_schema_that_it_was_written_with():
    """Else the other tests would not read what version 4 wrote."""
    episodes = pl.read_parquet_schema(RECORDED / "format_4" / "episodes" / "000002.parquet")
    assert not {"key", "split"} & set(episodes)
    assert "step" not in pl.read_parquet_schema(RECORDED / "format_4" / "samples" / "000002.parquet")
