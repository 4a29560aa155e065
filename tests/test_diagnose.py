"""`counterpoint diagnose`, warnings while a run goes on, and rolling back, on small real runs."""

import asyncio
import json
import shutil

import pytest
from command_line import command_line
from conftest import micro_run

from counterpoint.analysis.alarm import Alarm
from counterpoint.analysis.signatures import SIGNATURES
from counterpoint.policy import Routing
from counterpoint.run import Run
from counterpoint.training import peak_of, train


def diagnose(path, *options):
    return command_line("diagnose", path, *options)


def test_a_run_of_two_steps_shows_nothing_and_says_so(tiny_run, tmp_path):
    done = diagnose(tiny_run.path, "--out", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2 training steps and 3 evaluations were read"
    assert lines[2] == "most signatures need 10 training steps, capture 20"
    assert lines[-1] == f"none found of: {', '.join(SIGNATURES)}"
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["findings"] == []
    assert found["thresholds"]["dominance"] == 0.8


@pytest.mark.parametrize("command", ["diagnose", "evaluate"])
def test_a_file_that_cannot_be_written_is_an_error_before_the_work(tiny_run, tmp_path, command):
    for out in (tmp_path, tmp_path / "nowhere" / "found.json"):
        done = command_line(command, tiny_run.path, "--out", out)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: --out {out} cannot be written")


@pytest.fixture
def sick(tiny_run, tmp_path):
    """A run whose aggregator approves nothing and whose files end in the middle of a line."""
    path = tmp_path / "sick"
    shutil.copytree(tiny_run.path, path)
    (row, *_) = tiny_run.metrics()
    rows = [json.dumps({**row, "step": step, "role/aggregator/false_rejection": 0.9}) for step in range(1, 31)]
    (path / "metrics.jsonl").write_text("\n".join(rows) + '\n{"step": 31, "role/agg')
    (path / "summary.json").unlink()
    return path


def test_a_run_that_was_killed_is_diagnosed_too(sick):
    done = diagnose(sick)
    assert done.returncode == 0, done.stderr
    assert "over-rejection: aggregator (steps 11 to 30)" in done.stdout
    assert "  evidence: role/aggregator/false_rejection 0.90, threshold 0.5" in done.stdout
    assert SIGNATURES["over-rejection"].advice in done.stdout


def test_a_folder_that_is_no_run_or_has_not_begun_is_an_error_in_a_line(tmp_path, tiny_run):
    assert "is not a run directory" in diagnose(tmp_path).stderr
    with Run.create(tmp_path / "new", tiny_run.config, {}):
        pass
    done = diagnose(tmp_path / "new")
    assert (done.returncode, "has not begun" in done.stderr) == (2, True)


def test_every_step_has_its_warnings(tiny_run):
    for row in tiny_run.metrics():
        assert {name: value for name, value in row.items() if name.startswith("warning/")} == {
            "warning/cliff": 0.0,
            "warning/capture/shared": 0.0,
        }


def test_the_alarm_goes_on_from_what_the_directory_holds(sick):
    run = Run.read(sick)
    fall = [0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1]
    rows = [
        {"step": step, "split": "validation", "accuracy": accuracy, "outcomes": dict.fromkeys(range(64)), "numbers": {}}
        for step, accuracy in enumerate(fall)
    ]
    (sick / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = run.metrics()
    captured = {"gradient/all/dominance": 0.95, "gradient/all/generator/alignment": 0.97}
    captured |= {"gradient/all/generator/share": 0.95, "gradient/all/aggregator/share": 0.05}
    texts = [{**row, **captured, "role/aggregator/tokens": 5.0 if row["step"] < 11 else 60.0} for row in rows]
    (sick / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    alarm = Alarm(run, Routing({"generator": "all", "aggregator": "all"}))
    assert alarm.look(31, {**texts[-1]}) == {"warning/cliff": 1.0, "warning/capture/all": 1.0}


def test_a_run_that_is_warned_ends_with_the_weights_of_its_peak(tmp_path, monkeypatch):
    monkeypatch.setattr(Alarm, "look", lambda self, step, numbers: {"warning/cliff": float(step == 3)})
    run = micro_run(
        tmp_path / "run", run={"steps": 5, "save_every": 1, "threads": 1}, interventions=[{"name": "stop_at_cliff"}]
    )
    assert run.checkpoints() == [0, 1, 2, 3]
    digests = [run.checkpoint_state(step)["digests"] for step in run.checkpoints()]
    before = [row for row in run.evaluations() if row["step"] < 3]
    accuracy = [row["accuracy"] for row in before if row["split"] == "validation"]
    means = [
        sum(accuracy[max(0, place - 1) : place + 2]) / len(accuracy[max(0, place - 1) : place + 2])
        for place in range(3)
    ]
    assert digests[3] == digests[means.index(max(means))]
    assert digests[2] != digests[1] != digests[0]
    assert run.checkpoint_state(3)["stopped"] == "validation accuracy fell off its peak"
    assert {row["rolled_back"] for row in run.evaluations() if row["step"] == 3} == {True}
    at_peak = {row["split"]: row["outcomes"] for row in before if row["step"] == means.index(max(means))}
    assert {row["split"]: row["outcomes"] for row in run.evaluations() if row["step"] == 3} == at_peak
    with Run.open(run.path) as again:
        asyncio.run(train(again))
    assert again.checkpoints() == [0, 1, 2, 3]


def test_the_peak_is_the_best_checkpoint_that_was_evaluated(tiny_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(tiny_run.path, path)
    rows = [
        {"step": step, "split": "validation", "accuracy": accuracy}
        for step, accuracy in ((0, 0.1), (1, 0.9), (2, 0.3), (3, 0.9))
    ]
    (path / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert Run.read(path).checkpoints() == [0, 2]
    assert peak_of(Run.read(path)) == 2  # smoothed: 0.5 at 0, 0.7 at 2; 3 has no checkpoint
