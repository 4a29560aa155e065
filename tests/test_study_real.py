"""A study with the real trainer: killed on the way, it equals one that nothing disturbs, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from counterpoint.experiments.cells import Cell, Study
from counterpoint.experiments.launch import launch, survey
from counterpoint.experiments.runner import Rules
from counterpoint.run import Run

ROOT = Path(__file__).parent.parent
SMALL = (
    "run.steps=2",
    "model.path=micro-small",
    "run.threads=1",
    "run.save_every=1",
    "task.train=64",
    "task.validation=2",
    "task.test=4",
    "rollout.tasks_per_step=2",
    "rollout.group_size=4",
    "rollout.max_tokens=12",
    "evaluation.every=1",
)
OF_THE_CLOCK = ("began", "cpu_seconds", "hardware")
PATIENT = Rules(pause=0.02, period=0.2)


def small_study():
    cells = tuple(
        Cell(
            name=f"{sharing}-s0",
            labels={"sharing": sharing},
            seed=0,
            recipe="voting_arithmetic",
            overrides=(*SMALL, f"policies.sharing={sharing}", "run.seed=0"),
        )
        for sharing in ("shared", "isolated")
    )
    axes = {"sharing": ("shared", "isolated")}
    return Study(name="small", file=None, compare="sharing", axes=axes, seeds=(0,), cells=cells)


def content(run):
    """Everything that a run directory holds except the clock."""
    found = {
        "files": sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*")),
        "metrics": [
            {name: value for name, value in row.items() if not name.startswith("time/")} for row in run.metric_rows()
        ],
        "evaluations": run.evaluation_rows(),
        "facts": {name: value for name, value in run.facts.items() if name not in OF_THE_CLOCK},
        "summary": (run.path / "summary.json").read_bytes(),
        "config": (run.path / "config.toml").read_bytes(),
    }
    for folder in ("episodes", "samples", "evaluations"):
        for file in (run.path / folder).rglob("*.parquet"):
            found[str(file.relative_to(run.path))] = pl.read_parquet(file).to_dicts()
    for file in (run.path / "checkpoints").rglob("*"):
        if file.is_file():
            found[str(file.relative_to(run.path))] = file.read_bytes()
    return found


def killed_at(folder, condition, *, runner, children):
    """A runner in a process of its own, killed with its children, or one of both, once the condition holds."""
    code = "import sys; from pathlib import Path; import test_study_real as real; from dataclasses import replace; "
    code += "real.launch(real.small_study(), Path(sys.argv[1]), rules=replace(real.PATIENT, retry=True))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not condition() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        started = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        if runner:
            process.kill()
        for child in started if children else ():
            os.kill(int(child), signal.SIGKILL)
        process.wait(240)
    finally:
        process.kill()
        process.wait(10)


def wait_for(state, study, folder, name):
    """A process that was killed takes a moment to end."""
    deadline = time.monotonic() + 5
    while survey(study, folder)[name].state != state:
        assert time.monotonic() < deadline, survey(study, folder)[name]
        time.sleep(0.02)


@pytest.mark.slow
def test_a_study_that_is_killed_three_times_equals_an_unbroken_one(tmp_path):
    study, folder = small_study(), tmp_path / "killed"
    first, second = (folder / cell.name for cell in study.cells)
    killed_at(folder, lambda: (first / "checkpoints" / "000001").is_dir(), runner=True, children=True)
    wait_for("interrupted", study, folder, "shared-s0")
    killed_at(folder, lambda: (first / "checkpoints" / "000002").is_dir(), runner=True, children=False)
    killed_at(folder, lambda: (second / "checkpoints" / "000001").is_dir(), runner=False, children=True)
    assert survey(study, folder)["isolated-s0"].state == "failed"
    outcome = launch(study, folder, rules=Rules(retry=True, pause=0.02, period=0.2))
    assert (outcome.exit_status, outcome.left) == (0, {})
    assert [found.attempt for found in survey(study, folder).values()] == [2, 2]
    assert launch(study, tmp_path / "whole", rules=PATIENT).exit_status == 0
    for cell in study.cells:
        made, whole = (content(Run.read(tmp_path / name / cell.name)) for name in ("killed", "whole"))
        assert made.keys() == whole.keys()
        for part, value in whole.items():
            assert made[part] == value, (cell.name, part)
    assert json.loads((folder / "cells.json").read_text(encoding="utf-8"))["name"] == "small"
