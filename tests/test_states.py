"""The state of a run, read from its directory alone."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from counterpoint import run_files
from counterpoint.errors import RunError
from counterpoint.experiments.attempts import Attempts, failure_of, write_failure
from counterpoint.experiments.jobs import Training
from counterpoint.experiments.states import own_state, state_of
from counterpoint.files import append_row
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.starting import failure_recorded

CONFIG = config_from({"run": {"steps": 6, "seed": 3}})
FACTS = {"recipe": "voting_arithmetic"}


def evaluation(step, split, accuracy, **more):
    return {"step": step, "split": split, "accuracy": accuracy, "outcomes": {}, "roles": {}, "numbers": {}, **more}


def test_the_state_follows_the_life_of_a_run(tmp_path):
    path = tmp_path / "run"
    assert state_of(path).state == "absent"
    with Run.create(path, CONFIG, FACTS) as run:
        assert state_of(path).state == "running"
        run.add_evaluation(evaluation(0, "validation", 0.25))
        run.add_metrics(1, {"time/step": 2.0})
    found = state_of(path)
    assert (found.state, found.step, found.steps, found.validation) == ("interrupted", 1, 6, 0.25)
    assert (found.seconds, found.left, found.problem, found.attempt) == (2.0, 10.0, "", 0)
    assert 0 <= found.age < 60
    run.note({"error": "ValueError: no"})
    assert (state_of(path).state, state_of(path).problem) == ("failed", "ValueError: no")
    write_failure(path / "failure.json", failure_of(-9, (), step=1, attempt=2))
    found = state_of(path)
    assert (found.state, found.attempt) == ("failed", 2)
    assert found.problem.startswith("SIGKILL")
    run.write_summary({})
    assert state_of(path).state == "finished", "it was resumed by hand"
    with Run.open(path):
        assert state_of(path).state == "running", "it is made longer"


def test_a_run_that_an_intervention_stopped_is_finished_and_says_why(tmp_path):
    run = Run.create(tmp_path / "run", CONFIG, FACTS)
    run.checkpoint(3, {}, {"stopped": "accuracy fell"})
    run.write_summary({})
    run.close()
    assert (state_of(run.path).state, state_of(run.path).problem) == ("finished", "stopped: accuracy fell")


class Killed(BaseException):
    """The process that creates a run ends here."""


def prefixes(tmp_path, monkeypatch):
    """The directory after every prefix of the writes with which a run is created."""
    copies = {"mine.py": b"x = 1\n", "deep/other.py": b""}
    number = 0
    while True:
        path, left = tmp_path / f"run-{number}", [number]
        with monkeypatch.context() as patch:
            _kill_after(patch, left)
            try:
                Run.create(path, CONFIG, FACTS, copies).close()
                whole = True
            except Killed:
                whole = False
        if whole:
            return
        yield path
        number += 1


def _kill_after(patch, left):
    """The functions that write end the process once `left[0]` of them have done their work."""

    def counted(original):
        def call(*arguments, **options):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(*arguments, **options)

        return call

    patch.setattr(run_files, "clear", lambda path, keep: None)
    patch.setattr("counterpoint.run.clear", lambda path, keep: None)  # nobody tidies up after a kill
    for name in ("mkdir", "write_bytes", "write_text", "replace"):
        patch.setattr(f"pathlib.Path.{name}", counted(getattr(Path, name)))
    patch.setattr("counterpoint.files.os.open", counted(os.open))


def test_what_every_prefix_of_a_creation_leaves_is_debris_and_can_be_cleared(tmp_path, monkeypatch):
    found = 0
    for path in prefixes(tmp_path, monkeypatch):
        found += 1
        if not path.exists():
            continue
        assert state_of(path).state == "debris", sorted(os.listdir(path))
        cell = Training(_cell(path.name), tmp_path)
        cell.clear()
        assert not path.exists()
        Run.create(path, CONFIG, FACTS).close()
    assert found > 12


def _cell(name):
    from fake_studies import cell

    return cell("any", 0, name=name)


def test_what_a_killed_removal_leaves_is_debris_too(tmp_path, monkeypatch):
    """A run that failed before its first evaluation is discarded; a kill meanwhile leaves no half of a run."""
    for made in (True, False):
        path = tmp_path / f"run-{made}"
        if not made:
            path.mkdir()
        run = Run.create(path, CONFIG, FACTS)
        (path / "evaluations" / "test").mkdir()
        (path / "evaluations" / "test" / "000000.parquet").write_bytes(b"x")
        with monkeypatch.context() as patch:
            patch.setattr(run_files.shutil, "rmtree", _killed_in_it)
            with pytest.raises(Killed), failure_recorded(run):
                raise ValueError("it cannot work")
        run.close()
        assert state_of(path).state in ("absent", "debris")
        shutil.rmtree(path, ignore_errors=True)


def _killed_in_it(path, **_):
    if path.exists():
        raise Killed


def test_a_run_that_failed_before_its_first_evaluation_leaves_the_failure_of_its_runner(tmp_path):
    run = Run.create(tmp_path / "run", CONFIG, FACTS)
    with pytest.raises(ValueError, match="no"), failure_recorded(run):
        raise ValueError("no")
    assert state_of(run.path).state == "absent"
    write_failure(run.path / "failure.json", failure_of(1, ("error: no",), step=0, attempt=1))
    assert (state_of(run.path).state, state_of(run.path).problem) == ("failed", "exit status 1: error: no")
    Training(_cell("run"), tmp_path).clear()
    Run.create(run.path, CONFIG, FACTS).close()


def test_what_is_no_run_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file is a file: the directory of a run is expected"):
        state_of(tmp_path / "file")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("")
    with pytest.raises(RunError, match=r"holds no run, but todo\.txt: move it away"):
        state_of(tmp_path / "notes")
    run = Run.create(tmp_path / "run", CONFIG, FACTS)
    run.checkpoint(2, {}, {"stopped": None})
    run.close()
    (run.path / "config.toml").unlink()
    with pytest.raises(RunError, match=r"has checkpoints but no config\.toml: put it back"):
        state_of(run.path)


def test_a_run_without_its_facts_has_failed(tmp_path):
    Run.create(tmp_path / "run", CONFIG, FACTS).close()
    (tmp_path / "run" / "run.json").unlink()
    assert state_of(tmp_path / "run").problem == "it is damaged: it has no run.json"


@pytest.mark.parametrize(
    "text", ["OSError: [Errno 28] No space left on device", "OSError: [Errno 122] Disk quota exceeded"]
)
def test_a_run_that_met_a_full_disk_is_interrupted_not_failed(tmp_path, text):
    Run.create(tmp_path / "run", CONFIG, {**FACTS, "error": text}).close()
    assert state_of(tmp_path / "run").state == "interrupted"


def test_a_process_that_has_not_taken_the_lock_of_its_run_yet_is_running(tmp_path):
    lock = Attempts(tmp_path, "run").take()
    assert state_of(tmp_path / "run").state == "running"
    assert own_state(tmp_path / "run").state == "absent"
    os.close(lock)
    assert state_of(tmp_path / "run").state == "absent"


def test_only_whole_lines_count_and_long_ones_are_read_whole(tmp_path):
    with Run.create(tmp_path / "run", CONFIG, FACTS) as run:
        outcomes = {f"task-{number}": [1.0] for number in range(20_000)}
        run.add_evaluation(evaluation(0, "validation", 0.5, outcomes=outcomes))
        run.add_evaluation(evaluation(0, "test", 0.75, outcomes=outcomes))
        for step in (1, 2):
            run.add_metrics(step, {f"number/{name}": 0.5 for name in range(10_000)})
        with (run.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write('{"step": 3, "time/st')
    found = state_of(run.path)
    assert (found.step, found.validation) == (2, 0.5)


def test_warnings_of_the_last_step_are_told_with_their_role(tmp_path):
    with Run.create(tmp_path / "run", CONFIG, FACTS) as run:
        run.add_metrics(1, {"warning/cliff": 1.0})
        run.add_metrics(2, {"warning/cliff": 0.0, "warning/silent_role/aggregator": 1.0})
    assert state_of(run.path).warning == "silent role (aggregator)"


def test_a_hundred_runs_are_read_in_a_fraction_of_a_second(tmp_path):
    with Run.create(tmp_path / "run-0", CONFIG, FACTS) as run:
        outcomes = {f"task-{number}": [1.0, 0.0, 1.0, 1.0] for number in range(256)}
        for step in range(101):
            for split in ("validation", "test"):
                append_row(run.path / "evaluations.jsonl", evaluation(step, split, 0.5, outcomes=outcomes))
            append_row(run.path / "metrics.jsonl", {"step": step, **{f"some/number/{n}": 0.125 for n in range(150)}})
    for number in range(1, 100):
        (tmp_path / f"run-{number}").mkdir()
        for entry in run.path.iterdir():
            if entry.is_file():
                os.link(entry, tmp_path / f"run-{number}" / entry.name)
    began = time.process_time()
    assert {state_of(tmp_path / f"run-{number}").step for number in range(100)} == {100}
    assert time.process_time() - began < 0.8


def test_the_journal_survives_a_torn_line(tmp_path):
    attempts = Attempts(tmp_path, "cell")
    attempts.began(step=-1, place=0, asked=False)
    with (tmp_path / "logs" / "cell.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"ended": "st')
    assert attempts.is_unwatched
    assert attempts.began(step=3, place=1, asked=False) == 2
    assert attempts.last_place == 1
    attempts.ended("finished")
    assert (attempts.count, attempts.is_unwatched) == (2, False)


def test_kills_count_until_something_new_is_saved_or_a_user_asks(tmp_path):
    attempts = Attempts(tmp_path, "cell")
    attempts.began(step=2, place=0, asked=False)
    attempts.began(step=2, place=0, asked=False)
    assert (attempts.killed_since(2), attempts.killed_since(3)) == (2, 0)
    attempts.began(step=2, place=0, asked=True)
    assert attempts.killed_since(2) == 1
    attempts.began(step=2, place=0, asked=False)
    attempts.ended("stopped")
    assert attempts.killed_since(2) == 1


def test_the_end_of_a_log_is_kept_and_no_more(tmp_path):
    attempts = Attempts(tmp_path, "cell")
    attempts.log.parent.mkdir()
    attempts.log.write_text("of an earlier attempt\n" + "".join(f"line {n}\n\n" for n in range(100)), encoding="utf-8")
    printed = attempts.printed_since(len("of an earlier attempt\n"))
    assert (len(printed), printed[-1], printed[0]) == (40, "line 99", "line 60")
    told = failure_of(2, printed, step=1, attempt=1)
    assert told.reason == "exit status 2: line 99"
    write_failure(tmp_path / "new" / "failure.json", told)
    assert json.loads((tmp_path / "new" / "failure.json").read_text())["output"] == list(printed)


def test_a_directory_that_goes_while_it_is_read_is_absent(tmp_path, monkeypatch):
    """A run that fails before its first evaluation removes its directory, at any moment."""
    (tmp_path / "run").mkdir()

    def gone(self):
        raise FileNotFoundError(str(self))

    monkeypatch.setattr(Path, "iterdir", gone)
    assert own_state(tmp_path / "run").state == "absent"
