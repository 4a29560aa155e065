import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from torch_build import PEFT, session_folder, start, tiny_folder, trained

from counterpoint.errors import RunError
from counterpoint.learners.peft import Peft
from counterpoint.run import Run
from counterpoint.training import Watch

STEPS = {
    "task": {"validation": 2, "test": 2},
    "policies": {"sharing": "isolated", "schedule": "linear", "warmup": 2},
    "rollout": {"tasks_per_step": 2, "group_size": 4, "max_tokens": 5},
    "evaluation": {"every": 3},
    "diagnostics": [
        "behaviour",
        {"name": "role_gradients", "every": 2},
        "persistence",
        {"name": "distance", "every": 4},
    ],
    "interventions": [{"name": "damp_coherence", "memory": 0.5}, {"name": "limit_amplification", "every": 2}],
    "run": {"steps": 6, "save_every": 3, "proof_calls": 2},
}


def started(path: Path) -> Run:
    return start(path, STEPS)


@cache
def unbroken() -> Run:
    """The run that nothing interrupts, made once a session."""
    run = trained(started(session_folder() / "unbroken"))
    for policy in ("soprano", "alto", "conductor"):
        trained_in = [row["step"] for row in run.metric_rows() if row[f"policy/{policy}/trained"]]
        assert min(trained_in) <= 3 < max(trained_in), "a comparison across step 3 needs momentum to carry across it"
    return run


def resumed(path: Path) -> Run:
    return trained(Run.open(path))


def files(run: Run) -> list[str]:
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*"))


def without_times(run: Run) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in run.metric_rows()]


def assert_same(run: Run, other: Run) -> None:
    """Everything but the clock is the same, bit for bit."""
    assert files(run) == files(other)
    assert without_times(run) == without_times(other)
    assert run.evaluation_rows() == other.evaluation_rows()
    for name in ("config.toml", "run.json", "summary.json"):
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes(), name
    for folder in ("episodes", "samples"):
        for file in (run.path / folder).iterdir():
            assert pl.read_parquet(file).equals(pl.read_parquet(other.path / folder / file.name)), file
    for file in (run.path / "checkpoints").rglob("*"):
        if file.is_file():
            assert file.read_bytes() == (other.path / file.relative_to(run.path)).read_bytes(), file


DRIVER = """
import asyncio, os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import torch_build
from torch_build import Run, tiny_config, train
from test_resume import STEPS
from counterpoint import run as run_module
from counterpoint.learners.peft import Peft
import safetensors.torch as files

recipe = tiny_config(Path(sys.argv[2]), {**torch_build.CHOIR, **STEPS})


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner, name, when, act=die):
    original = getattr(owner, name)

    def wrapped(*arguments, **options):
        if when(*arguments, **options):
            act(*arguments, **options)
        return original(*arguments, **options)

    setattr(owner, name, wrapped)


def after(owner, name, when):
    original = getattr(owner, name)

    def wrapped(*arguments, **options):
        found = original(*arguments, **options)
        if when(*arguments, **options):
            die()
        return found

    setattr(owner, name, wrapped)


def half_a_line(path, row):
    with path.open("a") as file:
        file.write('{"step": 5, "episode/score": 0.')


DEATHS = {
    "before the first checkpoint": lambda: before(Run, "checkpoint", lambda *_: True),
    "in the first checkpoint": lambda: after(files, "save_file", lambda *_, **__: True),
    "in a step": lambda: after(Peft, "step", lambda *_, step: step == 5),
    "in a line": lambda: before(
        run_module, "append_row", lambda path, row: path.name == "metrics.jsonl" and row["step"] == 5,
        lambda *arguments: (half_a_line(*arguments), die()),
    ),
    "between evaluation and checkpoint": lambda: before(Run, "checkpoint", lambda run, step, *_: step == 6),
    "in a checkpoint": lambda: after(files, "save_file", lambda tensors, path, **_: "000006" in str(path)),
    "before the summary": lambda: before(Run, "write_summary", lambda *_: True),
}

for death, arrange in DEATHS.items():
    child = os.fork()
    if child == 0:
        arrange()
        run = Run.create(Path(sys.argv[3]) / death.replace(" ", "-"), recipe, {})
        asyncio.run(train(run))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (death, status)
"""
DEATHS = [line.split('"')[1] for line in DRIVER.splitlines() if line.startswith('    "')]


@cache
def killed() -> Path:
    """A folder with one run for each way to die, each killed in a process of its own."""
    folder = session_folder() / "killed"
    folder.mkdir()
    (folder / "driver.py").write_text(DRIVER)
    here = str(Path(__file__).parent)
    found = subprocess.run(
        [sys.executable, str(folder / "driver.py"), here, str(tiny_folder()), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return folder


class StopError(Exception):
    """Somebody pressed a key."""


def stop_at(last: int) -> Watch:
    def stop(step, numbers):
        if step == last:
            raise StopError

    return stop


def broken_off(run: Run, step: int) -> None:
    with pytest.raises(StopError):
        trained(run, watch=stop_at(step))


def test_three_steps_and_three_more_are_six(tmp_path):
    broken_off(started(tmp_path / "run"), 4)
    assert Run.read(tmp_path / "run").checkpoints() == [0, 3]
    assert_same(resumed(tmp_path / "run"), unbroken())


def test_a_run_broken_off_again_and_again_is_the_unbroken_run(tmp_path):
    broken_off(started(tmp_path / "run"), 0)
    assert Run.read(tmp_path / "run").checkpoints() == []
    broken_off(Run.open(tmp_path / "run"), 1)
    broken_off(Run.open(tmp_path / "run"), 4)
    broken_off(Run.open(tmp_path / "run"), 4)
    assert_same(resumed(tmp_path / "run"), unbroken())


@pytest.mark.parametrize("death", DEATHS)
def test_a_run_killed_and_resumed_is_the_unbroken_run(death):
    path = killed() / death.replace(" ", "-")
    assert not (path / "summary.json").exists()
    assert_same(resumed(path), unbroken())


def test_whatever_came_after_the_checkpoint_is_gone_before_the_run_goes_on(tmp_path):
    broken_off(started(tmp_path / "run"), 5)
    with Run.open(tmp_path / "run") as run:
        assert run.restore({}) == 3
        for folder in ("episodes", "samples"):
            assert sorted(file.stem for file in (run.path / folder).iterdir()) == ["000001", "000002", "000003"]
        assert [row["step"] for row in run.metric_rows()] == [1, 2, 3]
        assert {row["step"] for row in run.evaluation_rows()} == {0, 3}


def test_the_comparison_sees_a_resumed_run_that_forgot_its_momentum(tmp_path, monkeypatch):
    class Forgets(Peft):
        def load(self, folder):
            super().load(folder)
            for optimizer in self._optimizers.adamw.values():
                optimizer.state.clear()

    broken_off(started(tmp_path / "run"), 4)
    monkeypatch.setattr(PEFT, "Peft", Forgets)
    assert without_times(resumed(tmp_path / "run")) != without_times(unbroken())


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    path = shutil.copytree(unbroken().path, tmp_path / "run")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    resumed(path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_another_process_cannot_work_on_a_run_in_use(tmp_path):
    code = f"from pathlib import Path; from counterpoint.run import Run; Run.open(Path({str(tmp_path / 'run')!r}))"
    with started(tmp_path / "run"):
        while_open = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        with pytest.raises(RunError, match="is in use"):
            Run.open(tmp_path / "run")
    afterwards = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert while_open.returncode != 0
    assert "is in use: another process works on this run" in while_open.stderr
    assert afterwards.returncode == 0, afterwards.stderr


def test_a_run_whose_tasks_have_changed_is_not_resumed(tmp_path):
    run = started(tmp_path / "run")
    run.close()
    facts = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**facts, "tasks": {"train": "other"}}))
    with pytest.raises(RunError, match="tasks changed since the run began"):
        resumed(tmp_path / "run")
