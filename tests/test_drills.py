"""A runner is killed, interrupted, left without disk or rights: nothing is lost, nothing is done twice."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fake_studies import QUICK, Heard, starter, starts, study, swap

from counterpoint.errors import RunError
from counterpoint.experiments import attempts
from counterpoint.experiments.attempts import Attempts
from counterpoint.experiments.launch import launch, survey

RUNNER = Path(__file__).parent / "fake_studies.py"
ROOT = Path(__file__).parent.parent
WITHOUT_TIME = ("metrics.jsonl", "evaluations.jsonl", "summary.json", "config.toml")


@contextmanager
def runner(tmp_path, fake, **table):
    """A runner in a process of its own, killed at the end if it is still there."""
    asked = {"folder": str(tmp_path / "study"), "jobs": 2, "seeds": fake.seeds, "groups": fake.axes["sharing"], **table}
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    process = subprocess.Popen(
        [sys.executable, str(RUNNER), json.dumps(asked)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def children(process):
    try:
        return [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except OSError:
        return []


def files_of(run):
    found = {name: (run / name).read_text() for name in WITHOUT_TIME}
    return found | {"checkpoints": sorted(os.listdir(run / "checkpoints"))}


def run(fake, tmp_path, behaviours=None, **options):
    options.setdefault("rules", QUICK)
    start = starter(fake, tmp_path / "scratch", behaviours)
    return launch(fake, tmp_path / "study", start=start, **options)


def test_a_child_that_outlives_its_runner_is_waited_for_and_not_doubled(tmp_path):
    fake, folder, heard = study(groups=("shared",), seeds=(0,)), tmp_path / "study", Heard()
    with runner(tmp_path, fake, behaviours={"shared-s0": "slow"}) as process:
        until(lambda: (folder / "shared-s0" / "metrics.jsonl").is_file())
        process.kill()
    outcome = run(fake, tmp_path, watcher=heard)
    assert (outcome.finished, starts(folder)) == (("shared-s0",), [("train", "shared-s0")])
    assert "shared-s0 is running already; it is waited for" in heard.lines


def test_a_child_that_has_not_begun_its_run_when_its_runner_is_killed_is_not_doubled_either(tmp_path):
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    with runner(tmp_path, fake, behaviours={"shared-s0": "slow to start"}) as process:
        until(lambda: starts(folder))
        process.kill()
    assert not (folder / "shared-s0").exists()
    assert survey(fake, folder)["shared-s0"].state == "running"
    assert run(fake, tmp_path).finished == ("shared-s0",)
    assert len(starts(folder)) == 1


def test_the_lock_of_the_study_is_free_as_soon_as_its_runner_is_killed(tmp_path):
    fake = study(groups=("shared",), seeds=(0,))
    with runner(tmp_path, fake, behaviours={"shared-s0": "slow"}) as process:
        until(lambda: starts(tmp_path / "study"))
        with pytest.raises(RunError, match="is in use: another runner works on this study"):
            run(fake, tmp_path)
        process.kill()
        process.wait(10)
        run(fake, tmp_path)


def test_an_orphan_keeps_its_place(tmp_path):
    """One job at a time means one, also where an earlier runner has left it."""
    fake, folder = study(seeds=(0,)), tmp_path / "study"
    with runner(tmp_path, fake, jobs=1, behaviours={"shared-s0": "slow"}) as process:
        until(lambda: (folder / "shared-s0" / "metrics.jsonl").is_file())
        process.kill()
    seen = Heard()
    run(fake, tmp_path, jobs=1, watcher=seen)
    running = [[name for name, one in found.items() if one.state == "running"] for found in seen.shown]
    assert max(map(len, running)) == 1
    assert len(starts(folder)) == 2


def test_an_orphan_that_failed_is_started_again_with_a_word(tmp_path):
    fake, folder, heard = study(groups=("shared",), seeds=(0,)), tmp_path / "study", Heard()
    held = Attempts(folder, "shared-s0")
    held.began(step=-1, place=0, asked=False)  # its runner was killed, and it left nothing
    assert run(fake, tmp_path, watcher=heard).finished == ("shared-s0",)
    assert "shared-s0: attempt 1 ended while no runner watched it" in heard.lines
    assert survey(fake, folder)["shared-s0"].attempt == 2


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_runner_that_is_told_to_stop_leaves_interrupted_runs_that_it_resumes(tmp_path, number):
    fake, folder = study(groups=("shared", "isolated"), seeds=(0,)), tmp_path / "study"
    with runner(tmp_path, fake, jobs=1, behaviours={"shared-s0": "slow"}) as process:
        until(lambda: (folder / "shared-s0" / "checkpoints" / "000001").is_dir())
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        assert "each keeps its last step" in process.stdout.read()
    found = survey(fake, folder)
    assert [one.state for one in found.values()] == ["interrupted", "absent"]
    assert run(fake, tmp_path).exit_status == 0
    assert starts(folder) == [("train", "shared-s0"), ("resume", "shared-s0"), ("train", "isolated-s0")]


def test_a_second_signal_ends_what_does_not_end_in_order(tmp_path):
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    with runner(tmp_path, fake, behaviours={"shared-s0": "is stopped"}, rules={"grace": 60.0}) as process:
        until(lambda: (folder / "shared-s0" / "config.toml").is_file())
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        until(lambda: "again to end them at once" in process.stdout.readline())
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
    assert survey(fake, folder)["shared-s0"].state == "interrupted"
    assert Attempts(folder, "shared-s0").killed_since(-1) == 0


@pytest.mark.slow
def test_what_does_not_end_in_order_is_killed_after_a_while(tmp_path):
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    with runner(tmp_path, fake, behaviours={"shared-s0": "is stopped"}, rules={"grace": 0.3}) as process:
        until(lambda: (folder / "shared-s0" / "config.toml").is_file())
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    assert survey(fake, folder)["shared-s0"].state == "interrupted"


@pytest.mark.slow
def test_a_cell_that_is_killed_twice_without_a_newer_checkpoint_has_failed(tmp_path):
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    for count in (1, 2):
        with runner(tmp_path, fake, behaviours={"shared-s0": "is stopped"}) as process:
            until(lambda count=count: len(starts(folder)) == count and (folder / "shared-s0" / "config.toml").is_file())
            (child,) = children(process)
            process.kill()
            os.kill(child, signal.SIGKILL)
            until(lambda: survey(fake, folder)["shared-s0"].state == "interrupted")
    outcome = run(fake, tmp_path)
    assert outcome.failed == {"shared-s0": "no progress: killed 2 times without a newer checkpoint"}
    assert len(starts(folder)) == 2
    assert run(fake, tmp_path).failed == outcome.failed
    assert run(fake, tmp_path, rules=replace(QUICK, retry=True)).exit_status == 0


def drill(tmp_path, seed, kills, groups=("a", "b", "c"), seeds=(0, 1, 2)):
    """Kills at random moments, then a run to the end: every cell finished once, and equal to an unbroken one."""
    chance = random.Random(seed)
    fake = study(groups=groups, seeds=seeds)
    folder, done = tmp_path / "study", 0
    starter(fake, tmp_path / "scratch")
    while done < kills:
        with runner(tmp_path, fake, rules={"retry": True}) as process:
            until(lambda process=process: children(process) or process.poll() is not None)
            time.sleep(chance.uniform(0.0, 0.15))
            what = chance.choice(("runner", "child", "both"))
            for child in children(process)[: 1 if what != "runner" else 0]:
                os.kill(child, signal.SIGKILL)
            if what != "child":
                process.kill()
            done += 1
        if all(found.state == "finished" for found in survey(fake, folder).values()):
            break
    while run(fake, tmp_path, jobs=2, rules=replace(QUICK, retry=True)).exit_status:
        pass
    return fake, folder, done


def assert_once_and_whole(tmp_path, fake, folder):
    whole = study(groups=("a",), seeds=(0,), name="whole")
    launch(whole, tmp_path / "whole", start=starter(whole, tmp_path / "scratch"), rules=QUICK)
    wanted = files_of(tmp_path / "whole" / "a-s0")
    began = [name for command, name in starts(folder) if command == "train"]
    for one in fake.cells:
        made = files_of(folder / one.name)
        assert {**made, "config.toml": ""} == {**wanted, "config.toml": ""}, one.name
        finished = [row for row in Attempts(folder, one.name)._rows() if row.get("ended") == "finished"]
        assert len(finished) <= 1
    assert set(began) == {one.name for one in fake.cells}
    before = len(starts(folder))
    assert run(fake, tmp_path).exit_status == 0
    assert len(starts(folder)) == before


def test_a_study_that_is_killed_a_few_times_is_whole_in_the_end(tmp_path):
    fake, folder, _ = drill(tmp_path, seed=1, kills=2, groups=("a", "b"), seeds=(0, 1))
    assert_once_and_whole(tmp_path, fake, folder)


@pytest.mark.slow
def test_a_study_that_is_killed_thirty_times_is_whole_in_the_end(tmp_path):
    kills, seed = 0, 0
    while kills < 30:
        fake, folder, done = drill(tmp_path / str(seed), seed, 30 - kills)
        assert_once_and_whole(tmp_path / str(seed), fake, folder)
        kills, seed = kills + done, seed + 1


@pytest.mark.slow
@pytest.mark.parametrize("rules", [{}, {"restart": True}])
def test_a_runner_that_is_killed_at_any_of_its_changes_of_a_file_leaves_nothing_undone(tmp_path, rules):
    """Also where it restarts a failed run; what was started is finished, or waited for, and never started twice."""
    fake = study(groups=("shared",), seeds=(0,), measures=(swap("shared-s0"),))
    for moment in range(1, 60):
        place = tmp_path / str(moment)
        if rules:
            run(fake, place, {"shared-s0": "fails late"})
        with runner(place, fake, rules=rules, killed_at=moment, swapped=["shared-s0"]) as process:
            if process.wait(20) != -signal.SIGKILL:
                break
        outcome = run(fake, place)
        if outcome.failed:
            outcome = run(fake, place, rules=replace(QUICK, **rules))
        assert outcome.finished == ("shared-s0", "shared-s0/swap"), moment
        began = starts(place / "study")
        assert len(began) == len(set(began)) + bool(rules), (moment, began)
        assert not list((place / "study").rglob(".*")), moment
    assert moment > 15


def test_a_full_disk_stops_the_study_in_one_line_and_blames_no_cell(tmp_path):
    fake, folder = study(seeds=(0, 1)), tmp_path / "study"
    with pytest.raises(RunError, match="isolated-s0 ended because the disk is full: free some space") as told:
        run(fake, tmp_path, {"isolated-s0": "fills the disk"})
    assert len(str(told.value).splitlines()) == 1
    assert [one.state for one in survey(fake, folder).values()] == ["finished", "absent", "absent", "absent"]
    assert run(fake, tmp_path).exit_status == 0
    assert [name for _, name in starts(folder)].count("shared-s0") == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_runner_that_cannot_write_ends_its_processes_and_says_so_in_one_line(tmp_path, monkeypatch, number):
    fake, folder = study(seeds=(0, 1)), tmp_path / "study"
    original, count = attempts.append_row, iter(range(100))

    def append(path, row):
        if next(count) >= 3:
            raise OSError(number, os.strerror(number), str(path))
        original(path, row)

    with monkeypatch.context() as patch:
        patch.setattr(attempts, "append_row", append)
        with pytest.raises(RunError, match=os.strerror(number)) as told:
            run(fake, tmp_path, {"shared-s0": "slow"}, jobs=2)
    assert len(str(told.value).splitlines()) == 1
    assert not any(Attempts(folder, one.name).is_running for one in fake.cells)
    assert run(fake, tmp_path).exit_status == 0


def test_a_failure_that_cannot_be_written_down_is_told(tmp_path, monkeypatch):
    fake, heard = study(seeds=(0,)), Heard()

    def write(path, failure):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("counterpoint.experiments.runner.write_failure", write)
    outcome = run(fake, tmp_path, {"shared-s0": "fails"}, watcher=heard)
    assert outcome.exit_status == 1
    assert outcome.finished == ("isolated-s0",)
    assert any("that shared-s0 failed cannot be written down" in line for line in heard.lines)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "study"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match="Read-only file system: choose a place that can be written to"):
        launch(study(), tmp_path / "study", start=lambda command: None, rules=QUICK)


def test_a_run_in_use_is_no_failure_and_is_waited_for(tmp_path):
    """Somebody resumes the run by hand between the look of the runner and the start of its process."""
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    run(fake, tmp_path, {"shared-s0": "fails late"})
    (folder / "shared-s0" / "failure.json").unlink()
    begin, by_hand = starter(fake, tmp_path / "scratch"), []

    def start(command):
        if not by_hand:
            by_hand.append(_lock_of(folder / "shared-s0"))
            threading.Timer(0.3, lambda: os.close(by_hand[0])).start()
        return begin(command)

    outcome = launch(fake, folder, start=start, rules=QUICK)
    assert outcome.finished == ("shared-s0",)
    rows = [row["ended"] for row in Attempts(folder, "shared-s0")._rows() if "ended" in row]
    assert rows == ["failed", "in use", "finished"]


def _lock_of(path):
    from counterpoint.files import lock

    return lock(path / "run.lock")
