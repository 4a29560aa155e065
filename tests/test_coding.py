"""Training on programs: judged in the sandbox, told in the run, the same after a kill."""

import asyncio
import shutil

import polars as pl
import pytest
from conftest import micro_run

from counterpoint.errors import SandboxError
from counterpoint.run import Run
from counterpoint.sandboxes._slot import Slot
from counterpoint.training import train

CODE = {"task": {"name": "synthesis", "train": 64, "validation": 4, "test": 6}, "model": {"path": "micro-coder"}}
LITTLE = {"rollout": {"tasks_per_step": 2, "group_size": 2, "max_tokens": 48}, "run": {"steps": 1, "threads": 1}}
"""Enough where only what a run says of its sandbox matters."""


def test_a_run_says_where_its_programs_were_confined(coding_run):
    facts = coding_run.facts
    assert facts["sandbox_name"] == "fork_server"
    assert facts["sandbox_tier"] in ("A", "B")
    assert "seccomp" in facts["sandbox_layers"]


def test_the_metrics_tell_what_became_of_programs(coding_run):
    for row in coding_run.metric_rows():
        verdicts = [name for name in row if name.startswith("episode/part/") and name.count("/") == 2]
        shares = {name.rpartition("/")[2]: row[name] for name in verdicts}
        tests_passed = shares.pop("tests_passed")
        shares.pop("suspicious", None)
        assert sum(shares.values()) == pytest.approx(1.0)
        assert shares.get("accepted", 0.0) <= tests_passed <= 1.0
        assert row["sandbox/tests"] >= 1
        assert row["episode/score"] == pytest.approx(shares.get("accepted", 0.0))


def comparable(run):
    skipped = ("time/", "sandbox/")
    return [{name: value for name, value in row.items() if not name.startswith(skipped)} for row in run.metric_rows()]


def test_a_run_on_programs_goes_on_to_the_same_numbers(coding_run, tmp_path):
    whole = coding_run
    shutil.copytree(whole.path, tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "checkpoints" / "000002")
    with Run.open(tmp_path / "again") as again:
        asyncio.run(train(again))
    assert comparable(again) == comparable(whole)
    assert again.evaluation_rows() == whole.evaluation_rows()
    assert again.facts == whole.facts
    episodes = [pl.read_parquet(run.path / "episodes" / "000002.parquet") for run in (whole, again)]
    assert episodes[0].equals(episodes[1])


@pytest.fixture
def _without_landlock(monkeypatch):
    """The host's servers find no Landlock. (`sandbox_host` has real hosts like that.)"""
    start = Slot.start

    async def started(command, environment, setting):
        slot = await start(command, environment, setting)
        slot.facts |= {"tier": "C", "layers": ["limits", "seccomp"]}
        return slot

    monkeypatch.setattr(Slot, "start", started)


@pytest.mark.usefixtures("_without_landlock")
def test_training_refuses_a_host_that_confines_too_little_unless_told_otherwise(tmp_path):
    with pytest.raises(SandboxError, match=r'tier C, but tier B is required.*sandbox\.require = "C"'):
        micro_run(tmp_path / "run", **CODE)
    with pytest.warns(UserWarning, match="only limits, seccomp confine the programs that models write: tier C"):
        run = micro_run(tmp_path / "lax", **{**CODE, **LITTLE, "sandbox": {"name": "fork_server", "require": "C"}})
    assert run.facts["sandbox_tier"] == "C"
