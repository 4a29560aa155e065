"""Trackers: a run's numbers on the dashboards of others, once each, whatever happens to either."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time

import pytest

import counterpoint as cp
from counterpoint import trackers
from counterpoint.errors import ConfigError
from counterpoint.event_loop import Terminated
from counterpoint.options import Spec
from counterpoint.plan.check import looked_up
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.trackers import build, follow, tracking
from counterpoint.trackers._names import GROUPS, OTHERS, escaped, tracked_name
from counterpoint.trackers.base import Tracked, Tracker
from counterpoint.trackers.mlflow import _found_anywhere
from counterpoint.trackers.rows import Rows, about, summary_of
from counterpoint.trackers.state import read_state
from counterpoint.trackers.wandb import _forget_offline, _is_logged_in

MINE = """
import os, sys, time
from pathlib import Path
from counterpoint import Tracked, Tracker


class Writes(Tracker):
    def __init__(self, *, file: str) -> None:
        self.file = Path(file)

    def begin(self, about):
        self.add(f"begin {about.name} {about.id}")
        return Tracked(id=about.id or "first", place=str(self.file))

    def log(self, step, numbers):
        self.add(f"log {step} {sorted(numbers)[0]}")

    def summarize(self, values):
        self.add(f"summarize {values['fell']}")

    def end(self, ending):
        self.add(f"end {ending}")

    def add(self, line):
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line + "\\n")


class Numbered(Writes):
    def begin(self, about):
        self.add(f"process {os.getpid()}")
        return super().begin(about)


class Raises(Writes):
    def log(self, step, numbers):
        raise OSError("no space left on the device")


class Hangs(Writes):
    def log(self, step, numbers):
        self.add("hangs")
        time.sleep(600)


class Floods(Writes):
    def log(self, step, numbers):
        print("x" * 3_000_000, file=sys.stderr)
        super().log(step, numbers)


class Dies(Writes):
    def begin(self, about):
        os._exit(3)


class Lacks(Writes):
    package = "a_package_that_nobody_has"
"""


class Keeps(Tracker):
    """Keeps what it is sent, and fails as often as it is told."""

    def __init__(self, live=True, is_empty=False):
        self.live, self.is_empty = live, is_empty
        self.sent, self.endings, self.values, self.failures = [], [], {}, 0

    def begin(self, about):
        self.about = about
        return Tracked(id=about.id or "first", place="here", is_empty=self.is_empty)

    def log(self, step, numbers):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the server is down")
        self.sent.append((step, dict(numbers)))

    def summarize(self, values):
        self.values = values

    def end(self, ending):
        self.endings.append(ending)


@pytest.fixture
def run(tmp_path):
    """A run that has begun: its base is evaluated and saved, and two steps are done."""
    with Run.create(tmp_path / "runs" / "mine", config_from({}), {}) as run:
        add_evaluation(run, 0)
        run.checkpoint(0, {}, {"digests": {}, "stopped": None})
        for step in (1, 2):
            run.add_metrics(step, {"episode/score": step / 4, "time/step": 0.5})
        yield run


def add_evaluation(run, step):
    for split in ("validation", "test"):
        run.add_evaluation(
            {"step": step, "split": split, "accuracy": 0.5, "outcomes": {"a": [0, 1]}, "roles": {}, "numbers": {}}
        )


def follower(run, tracker):
    found = follow.Follower(run, "keeps", tracker, os.getpid())
    found.look()
    return found


def steps(tracker):
    return [step for step, _ in tracker.sent]


def test_names_are_grouped_and_can_be_turned_back():
    recorded = [
        "episode/score",
        "role/a b/accuracy",
        "gradient/p/a+b/cosine",
        "eval/test/role/a/accuracy",
        "final/test/role/a/b/x",
        "eval/test/episode/score",
        "own/x",
        "x",
    ]
    names = [tracked_name(name) for name in recorded]
    assert names[:3] == ["team/score", "roles/a b/accuracy", "gradients/p/a+b/cosine"]
    assert names[3:5] == ["evaluation_roles/test/a/accuracy", "final_roles/test/a/b/x"]
    assert names[5:] == ["evaluation/test/episode/score", "own/own/x", "own/x"]
    assert [recorded_name(name) for name in names] == recorded


def recorded_name(name):
    """The inverse of `tracked_name`."""
    parts = {group: part for part, group in GROUPS.items()}
    first, _, rest = name.partition("/")
    if first.endswith("_roles"):
        split, _, number = rest.partition("/")
        return f"{parts[first.removesuffix('_roles')]}/{split}/role/{number}"
    return rest if first == OTHERS else f"{parts[first]}/{rest}"


def unescaped(name: str) -> str:
    """The inverse of `escaped`."""
    marked = re.sub(":([0-9A-F]{2})", lambda found: chr(int(found.group(1), 16)), name)
    return marked.encode("latin-1").decode("utf-8")


@pytest.mark.parametrize("name", ["a+b", "a:b", 'q"uote', "раз", "a b", "", "x/y.z_-1", "🙂", ":2B"])
def test_a_name_that_mlflow_refuses_is_escaped_and_can_be_turned_back(name):
    assert re.fullmatch(r"[/\w.\- :]*", escaped(name), re.ASCII)
    assert unescaped(escaped(name)) == name


@pytest.mark.parametrize("name", ["own/a//b", "own/a/", "own/./b", "own/../b", "own/..", "own///", "own/.x/y./..."])
def test_a_name_that_would_be_another_path_is_escaped_and_can_be_turned_back(name):
    assert os.path.normpath(escaped(name)) == escaped(name)
    assert unescaped(escaped(name)) == name


def test_each_row_is_sent_once_and_an_evaluation_after_its_step(run):
    one = follower(run, tracker := Keeps())
    assert one.send()
    run.add_metrics(3, {"episode/score": math.nan})
    add_evaluation(run, 3)
    one.look()
    one.look()
    assert one.send()
    assert steps(tracker) == [0, 0, 1, 2, 3, 3, 3]
    assert [sorted(numbers)[0] for _, numbers in tracker.sent[-3:]] == [
        "team/score",
        "evaluation/validation/accuracy",
        "evaluation/test/accuracy",
    ]
    assert one.state.sent == 7


def test_what_failed_is_sent_again_and_nothing_is_lost(run):
    tracker = Keeps()
    tracker.failures = 2
    one = follower(run, tracker)
    assert not one.send()
    assert read_state(run, "keeps").error == "ConnectionError: the server is down"
    assert not one.send()
    assert one.send()
    assert steps(tracker) == [0, 0, 1, 2]
    assert read_state(run, "keeps").error == ""


def test_a_resumed_run_continues_the_tracked_one_and_repeats_nothing(run):
    one = follower(run, Keeps())
    one.send()
    again = follower(run, tracker := Keeps())
    run.add_metrics(3, {"episode/score": 1.0})
    again.look()
    again.send()
    assert tracker.about.id == "first"
    assert steps(tracker) == [3]
    assert again.state.sent == 5


def test_a_tracker_that_begins_anew_is_sent_everything_again(run):
    follower(run, Keeps()).send()
    one = follower(run, tracker := Keeps(is_empty=True))
    one.send()
    assert steps(tracker) == [0, 0, 1, 2]
    assert one.state.sent == 4


def test_a_tracker_that_is_not_live_is_sent_a_step_when_it_is_saved(run):
    one = follower(run, tracker := Keeps(live=False))
    one.send()
    assert steps(tracker) == [0, 0]
    run.checkpoint(2, {}, {"digests": {}, "stopped": None})
    one.send()
    assert steps(tracker) == [0, 0, 1, 2]


def test_steps_that_an_endpoint_would_repeat_differently_wait_until_they_are_saved(run):
    table = {"policy": {"solver": {"endpoint": {"url": "http://localhost:1/v1", "model": "m"}}}}
    run.config = config_from(table)
    one = follower(run, waits := Keeps())
    one.send()
    assert steps(waits) == [0, 0]
    one = follow.Follower(run, "other", anew := Keeps(is_empty=True), 1)
    one.look()
    one.send()
    assert steps(anew) == [0, 0, 1, 2]


def test_a_copy_of_a_run_is_another_tracked_run_and_a_moved_one_is_the_same(run, tmp_path):
    follower(run, Keeps()).send()
    shutil.copytree(run.path, tmp_path / "copy")
    assert read_state(Run.read(tmp_path / "copy"), "keeps").id == ""
    moved = run.path.rename(tmp_path / "moved")
    state = read_state(Run.read(moved), "keeps")
    assert (state.id, state.marks["training"]) == ("first", 2)


def test_a_damaged_state_is_none(run):
    follower(run, Keeps()).send()
    (run.path / "trackers" / "keeps.json").write_text('{"run": ', encoding="utf-8")
    assert read_state(run, "keeps").id == ""


def test_final_evaluations_are_sent_once_each_though_their_steps_go_back(run):
    one = follower(run, tracker := Keeps())
    one.send()
    for step in (0, 2):
        run.add_final({"step": step, "split": "test", "accuracy": 1.0, "outcomes": {}, "roles": {}, "numbers": {}})
    one.look()
    one.send()
    again = follower(run, Keeps())
    assert again.send()
    assert tracker.sent[-2:] == [(0, {"final/test/accuracy": 1.0}), (2, {"final/test/accuracy": 1.0})]
    assert again.state.sent == 6


def test_final_evaluations_with_more_episodes_than_before_are_sent_too(run):
    row = {"step": 0, "split": "test", "accuracy": 1.0, "roles": {}, "numbers": {}}
    run.add_final({**row, "outcomes": {"a": [1.0], "b": [1.0, 1.0]}})
    assert follower(run, Keeps()).send()
    run.path.joinpath("final.jsonl").unlink()
    run.add_final({**row, "accuracy": 0.5, "outcomes": {"a": [1.0, 0.0, 0.0], "b": [1.0, 1.0, 0.0]}})
    again = follower(run, tracker := Keeps())
    assert again.send()
    assert tracker.sent == [(0, {"final/test/accuracy": 0.5})]


def test_a_run_of_a_study_is_named_and_grouped_by_it(run):
    plain = about(run, id="", place="", process=1)
    assert (plain.name, plain.group) == ("mine", "voting-isolated-micro-medium-arithmetic")
    assert plain.tags == ("voting", "isolated", "arithmetic", "micro-medium", "s0")
    (run.path.parent / "cells.json").write_text("{}", encoding="utf-8")
    cell = run.path.rename(run.path.with_name("voting-x1-s0"))
    of_study = about(Run.read(cell), id="", place="", process=1)
    assert (of_study.name, of_study.group) == ("runs/voting-x1-s0", "runs/voting-x1")
    assert of_study.tags[-2:] == ("runs", "voting-x1")


def test_a_run_without_a_summary_has_no_values_at_its_end(run):
    one = follower(run, tracker := Keeps())
    one.send()
    one.end("finished")
    assert (tracker.values, tracker.endings) == ({}, ["finished"])
    assert summary_of(run) == {}


# ---- in processes of their own


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of one's own in the current directory, and a function that follows a run with one of its trackers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_trackers.py").write_text(MINE, encoding="utf-8")
    monkeypatch.setattr(tracking, "FINISH", 15.0)

    def tracked(run, name, *, wait=False):
        said, shown = [], []
        file = tmp_path / "sent.txt"
        run.config = config_from({"track": [{"name": f"mine_trackers:{name}", "file": str(file)}]})
        (run.path / "config.toml").write_text(run.config.toml(), encoding="utf-8")
        with tracking.tracked(run, said.append, shown.append) as told:
            told(2, {})
            until = time.monotonic() + 10
            while wait and not file.is_file() and time.monotonic() < until:
                time.sleep(0.02)
            began = time.monotonic()
            told(2, {})
            assert time.monotonic() - began < 0.5
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        return lines, said, run.facts["tracked"][name]

    return tracked


def test_a_tracker_of_ones_own_follows_a_run_in_a_process_of_its_own(run, mine):
    lines, said, facts = mine(run, "Writes")
    assert lines == [
        "begin mine ",
        "log 0 evaluation/validation/accuracy",
        "log 0 evaluation/test/accuracy",
        "log 1 team/score",
        "log 2 team/score",
        "end finished",
    ]
    assert said == []
    assert (facts["id"], facts["sent"], facts["dropped"], facts["error"]) == ("first", 4, 0, None)


def test_a_place_in_the_path_of_python_that_is_no_text_stops_no_tracker(run, mine, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    _, said, facts = mine(run, "Writes")
    assert (said, facts["sent"]) == ([], 4)


def test_a_tracker_that_raises_is_named_and_what_it_lacks_is_counted(run, mine, monkeypatch):
    monkeypatch.setattr(follow, "_PATIENCE", 0.1)
    lines, said, facts = mine(run, "Raises")
    assert lines == ["begin mine ", "end finished"]
    assert (facts["sent"], facts["dropped"]) == (0, 4)
    assert facts["error"] == "OSError: no space left on the device"
    assert said[-1] == (
        "warning: tracker Raises: OSError: no space left on the device; 4 of the run's rows were not sent"
    )


def test_a_tracker_that_hangs_is_ended_after_a_while(run, mine, monkeypatch):
    monkeypatch.setattr(tracking, "FINISH", 0.5)
    monkeypatch.setattr(tracking, "_SILENT", 0.1)
    began = time.monotonic()
    lines, said, facts = mine(run, "Hangs", wait=True)
    assert time.monotonic() - began < 12
    assert lines[0] == "begin mine "
    assert facts["error"] == "not done 0.5 seconds after the run had ended"
    assert "sending the rest to Hangs, for at most 0.5 seconds ..." in said


def test_a_tracker_that_floods_its_output_neither_garbles_nor_stops_the_run(run, mine, capfd):
    lines, _, facts = mine(run, "Floods")
    assert len(lines) == 6
    assert facts["dropped"] == 0
    assert capfd.readouterr() == ("", "")
    assert (run.path / "trackers" / "Floods.log").stat().st_size > 9_000_000


def test_a_tracker_whose_process_dies_is_named(run, mine):
    _, said, facts = mine(run, "Dies")
    assert facts["error"] == "its process ended with status 3: it printed nothing"
    assert facts["dropped"] == 4
    assert len(said) == 1


def test_an_interrupted_run_says_so_and_leaves_no_process(run, mine, tmp_path):
    run.config = config_from({"track": [{"name": "mine_trackers:Writes", "file": str(tmp_path / "sent.txt")}]})
    (run.path / "config.toml").write_text(run.config.toml(), encoding="utf-8")

    def interrupted():
        with tracking.tracked(run, print, print) as told:
            told(2, {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "sent.txt").read_text(encoding="utf-8").endswith("end interrupted\n")


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()


def following(run, name, tmp_path):
    """The recipe of the run names this tracker, which writes what it is told into the file that is returned."""
    file = tmp_path / "sent.txt"
    run.config = config_from({"track": [{"name": f"mine_trackers:{name}", "file": str(file)}]})
    (run.path / "config.toml").write_text(run.config.toml(), encoding="utf-8")
    return file


def test_a_tracker_whose_process_is_killed_is_named_started_again_and_lacks_nothing(run, mine, tmp_path):
    file = following(run, "Numbered", tmp_path)
    said, shown = [], []
    with tracking.tracked(run, said.append, shown.append) as told:
        told(2, {})
        wait_for(lambda: read_state(run, "Numbered").sent == 4)
        (killed,) = {int(one) for one in re.findall(r"process (\d+)", file.read_text(encoding="utf-8"))}
        os.kill(killed, 9)
        run.add_metrics(3, {"episode/score": 1.0})
        wait_for(lambda: told(3, {}) or said)  # its parent learns of its end once all of its threads have ended
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("log")]
    assert [line.split()[1] for line in lines] == ["0", "0", "1", "2", "3"]
    (warning,) = said
    assert "its process was ended by signal 9" in warning
    assert warning.endswith("the run goes on, and it is tried again")
    assert run.facts["tracked"]["Numbered"] | {"place": ""} == {
        "id": "first",
        "place": "",
        "sent": 5,
        "dropped": 0,
        "error": None,
    }
    assert shown[-1] == f"tracker Numbered: everything was sent to {file}"


def test_a_tracker_that_always_dies_is_started_a_few_times_and_the_run_goes_on_without_it(
    run, mine, tmp_path, monkeypatch
):
    monkeypatch.setattr(tracking, "_STARTS", 2)
    following(run, "Dies", tmp_path)
    said = []
    with tracking.tracked(run, said.append, print) as told:
        until = time.monotonic() + 20
        while time.monotonic() < until and not any("goes on without it" in line for line in said):
            told(2, {})
            time.sleep(0.05)
    assert [("tried again" in line, "goes on without it" in line) for line in said[:-1]] == [
        (True, False),
        (False, True),
    ]
    assert run.facts["tracked"]["Dies"]["dropped"] == 4


def test_a_run_whose_trackers_have_no_folder_goes_on_and_says_so(run, mine, tmp_path):
    following(run, "Writes", tmp_path)
    (run.path / "trackers").touch()
    said = []
    with tracking.tracked(run, said.append, print) as told:
        told(2, {})
    assert "tracker Writes: " in said[0]
    assert said[0].endswith("the run goes on, and it is tried again")
    assert said[-1].endswith("4 of the run's rows were not sent")
    assert "trackers" in run.facts["tracked"]["Writes"]["error"]


def test_a_disk_that_is_full_for_a_while_costs_a_tracker_nothing(run, monkeypatch):
    one = follower(run, tracker := Keeps())
    write, left = follow.write_state, [0]

    def full(*arguments):
        left[0] -= 1
        if left[0] in (0, 1):
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(follow, "write_state", full)
    left[0] = 4
    assert not one.send()
    assert one.send()
    assert steps(tracker) == [0, 0, 1, 2]
    assert read_state(run, "keeps").sent == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_tracker_is_waited_for_ends_the_wait_and_keeps_what_is_known(run, mine, number, tmp_path):
    following(run, "Hangs", tmp_path)
    said = []

    def heard(line):
        said.append(line)
        if "sending the rest" in line:
            os.kill(os.getpid(), number)

    def interrupted():
        with tracking.tracked(run, heard, print) as told:
            told(2, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "_SILENT", 0.1)
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Terminated):
            interrupted()
    assert "it was interrupted before everything was sent" in said[-1]
    assert run.facts["tracked"]["Hangs"]["dropped"] >= 3
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


# ---- what a recipe may say


@pytest.mark.parametrize(
    ("track", "error"),
    [
        (["wand"], "unknown tracker 'wand'; did you mean 'wandb'?"),
        ([{"name": "wandb", "projekt": "x"}], "unknown key in [track.wandb] 'projekt'; did you mean 'project'?"),
        ([{"name": "wandb", "mode": "of"}], "track.wandb.mode = 'of': input should be '', 'online' or 'offline'"),
        (["mlflow", {"name": "mlflow", "experiment": "x"}], "track: 2 trackers have the name 'mlflow'"),
        ([{"name": "mine_trackers:Lacks", "file": ""}], "track: pip install 'a_package_that_nobody_has' first"),
        (["mine_trackers:MINE"], "unknown name in mine_trackers 'MINE'"),
    ],
)
def test_a_tracker_that_cannot_be_made_is_found_before_anything_is_paid_for(track, error, mine):
    with pytest.raises(ConfigError) as raised:
        looked_up(config_from({"track": track}))
    assert error in str(raised.value)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(build, "_is_installed", lambda package: False)
    for name in ("wandb", "trackio", "tensorboard", "mlflow"):
        with pytest.raises(ConfigError, match=re.escape(f"pip install 'counterpoint[{name}]' first")):
            build.check_trackers([Spec(name=name)])


def test_the_folder_that_wandb_leaves_behind_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "a_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not build._is_installed("a_folder")


def test_what_evaluates_a_run_needs_no_tracker(monkeypatch):
    monkeypatch.setattr(build, "_is_installed", lambda package: False)
    from counterpoint.plan.check import check_parts

    check_parts(config_from({"track": ["wandb"]}))


def test_wandb_is_online_only_for_who_is_logged_in(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not _is_logged_in()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai\n  login user\n  password key\n", encoding="utf-8")
    assert _is_logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://elsewhere.example")
    assert not _is_logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert _is_logged_in()


def test_an_offline_run_of_wandb_is_written_anew_unless_a_part_of_it_is_uploaded(tmp_path):
    part = tmp_path / "wandb" / "offline-run-1-abc"
    part.mkdir(parents=True)
    other = tmp_path / "wandb" / "offline-run-1-abcd"
    other.mkdir()
    assert _forget_offline(tmp_path, "abc")
    assert not part.exists()
    assert other.exists()
    assert not _forget_offline(tmp_path, "abc")  # it is elsewhere, such as online
    assert _forget_offline(tmp_path, "")
    (other / "run-abcd.wandb.synced").touch()
    assert not _forget_offline(tmp_path, "abcd")
    assert other.exists()


def test_trackers_may_be_changed_when_a_run_is_resumed_and_are_no_part_of_the_experiment():
    from counterpoint.experiments.labels import _NOT_THE_METHOD
    from counterpoint.extension import MAY_CHANGE
    from counterpoint.starting import _experiment

    assert "track" in MAY_CHANGE
    assert "track" in _NOT_THE_METHOD
    assert _experiment(config_from({"track": ["wandb"]})) == _experiment(config_from({}))


def test_a_database_file_of_mlflow_is_found_from_every_folder(tmp_path, monkeypatch):
    (tmp_path / "my folder").mkdir()
    monkeypatch.chdir(tmp_path / "my folder")
    assert _found_anywhere("sqlite:///deep/mine.db") == f"sqlite:///{tmp_path}/my%20folder/deep/mine.db"
    for kept in ("", "http://host:5000", "sqlite:////data/mine.db", "sqlite:///:memory:", "databricks"):
        assert _found_anywhere(kept) == kept


def test_every_shipped_tracker_says_what_it_needs():
    for name, member in trackers.TRACKERS.shipped().items():
        assert member.extra == name
        assert member.package


# ---- runs that train


SMALL = (
    "model.path=micro-small",
    "run.steps=1",
    "run.threads=1",
    "run.save_every=1",
    "task.train=64",
    "task.validation=2",
    "task.test=2",
    "rollout.tasks_per_step=2",
    "rollout.group_size=4",
    "evaluation.every=2",
)


def numbers_of(run):
    return [{name: value for name, value in row.items() if "time/" not in name} for row in run.metric_rows()]


@pytest.mark.slow
def test_a_run_from_python_is_bit_identical_with_a_tracker_and_is_resumed_with_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "sent.txt"

    class Seeds(Tracker):
        def begin(self, about):
            import random

            random.seed(7)
            return Tracked(id=about.id or "first", place="")

        def log(self, step, numbers):
            import random

            random.random()
            with file.open("a", encoding="utf-8") as out:
                out.write(f"{step} {numbers.get('team/score')}\n")

    plain = cp.train("voting_arithmetic", *SMALL, out="plain", progress=False)
    run = cp.train("voting_arithmetic", *SMALL, out="tracked", progress=False, track=[Seeds])
    assert numbers_of(plain) == numbers_of(run)
    scores = [f"{row['step']} {row['episode/score']}" for row in run.metric_rows()]
    assert [line for line in file.read_text(encoding="utf-8").splitlines() if "None" not in line] == scores
    assert run.facts["tracked"]["Seeds"]["sent"] == 5

    longer = cp.resume("tracked", "run.steps=2", progress=False, track=[Seeds])
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 8
    assert lines[-3] == f"2 {longer.metric_rows()[-1]['episode/score']}"
    assert longer.facts["tracked"]["Seeds"] == {"id": "first", "place": "", "sent": 8, "dropped": 0, "error": None}
    assert len(Rows(longer).new()) == 6


@pytest.mark.slow
def test_a_run_whose_tracker_fails_trains_and_a_tracker_that_is_added_later_gets_the_whole_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_trackers.py").write_text(MINE, encoding="utf-8")
    raises = {"name": "mine_trackers:Dies", "file": "sent.txt"}
    run = cp.train("voting_arithmetic", *SMALL, out="run", progress=False, track=[raises])
    assert run.is_finished
    assert run.facts["tracked"]["Dies"]["error"].startswith("its process ended with status 3")
    assert run.facts["cpu_seconds"] > 0
    again = cp.resume("run", progress=False, track=[{"name": "mine_trackers:Writes", "file": "sent.txt"}])
    lines = (tmp_path / "sent.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == ["begin", *["log"] * 5, "summarize", "end"]
    assert list(again.facts["tracked"]) == ["Writes"]
    same = cp.resume("run", progress=False, track=[{"name": "mine_trackers:Writes", "file": "sent.txt"}])
    assert (tmp_path / "sent.txt").read_text(encoding="utf-8").splitlines()[len(lines) :] == [
        "begin run first",
        "end finished",
    ]
    assert same.facts["tracked"] == again.facts["tracked"]
    assert json.loads((again.path / "run.json").read_text(encoding="utf-8"))["changes"][-1]["what"] == "track"


# ---- the real packages, with a run that is killed in its third step and resumed from its second


KILLED = """
import json, os, sys, time
from pathlib import Path
import counterpoint as cp

PATH = Path(sys.argv[1])
TRACK = json.loads(sys.argv[2])


def watch(step, numbers):
    states = [PATH / "trackers" / f"{name}.json" for name in TRACK]
    until = time.monotonic() + 100
    while step == 3 and time.monotonic() < until:
        if all(one.is_file() and json.loads(one.read_text())["marks"].get("training") == 3 for one in states):
            os.kill(os.getpid(), 9)
        time.sleep(0.1)


cp.train("voting_arithmetic", *sys.argv[3:], out=PATH, progress=False, watch=watch, track=TRACK)
"""
SHIPPED = ("mlflow", "tensorboard", "trackio", "wandb")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run with every shipped tracker, offline, that was killed after step 3 was sent, and resumed from step 2."""
    folder = tmp_path_factory.mktemp("killed")
    home = {"HOME": str(folder), "TRACKIO_DIR": str(folder / "trackio"), "WANDB_MODE": "offline"}
    kept = [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_", "TRACKIO_"))]
    env = {name: value for name, value in os.environ.items() if name not in kept} | home
    longer = {"run.steps": 4, "run.save_every": 2, "evaluation.final_samples": 2}
    small = [*SMALL, *(f"{key}={value}" for key, value in longer.items())]
    train = [sys.executable, "-c", KILLED, "runs/mine", json.dumps(SHIPPED), *small]
    first = subprocess.run(train, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert first.returncode == -9, first.stderr
    path = folder / "runs" / "mine"
    until = time.monotonic() + 30
    while time.monotonic() < until and not all(read_state(Run.read(path), name).ended for name in SHIPPED):
        time.sleep(0.1)
    before = {name: read_state(Run.read(path), name) for name in SHIPPED}
    assert all(state.ended for state in before.values()), "a tracker outlived the run that was killed"
    assert [row["step"] for row in Run.read(path).metric_rows()] == [1, 2, 3]
    go_on = [sys.executable, "-m", "counterpoint", "resume", "runs/mine"]
    second = subprocess.run(go_on, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert second.returncode == 0, second.stderr
    assert "warning: tracker" not in second.stdout
    assert all(f"tracker {name}: everything was sent to " in second.stdout for name in SHIPPED)
    run = Run.read(path)
    for name in SHIPPED:
        facts = run.facts["tracked"][name]
        assert (facts["dropped"], facts["error"], facts["id"]) == (0, None, before[name].id), name
        assert facts["sent"] == len(Rows(run).new())
    return run


def expected_of(run, *, times=True):
    """Name -> step -> value, of everything that the run recorded."""
    found = {}
    for row in Rows(run).new():
        for name, value in row.numbers.items():
            if times or not name.startswith("time/"):
                assert row.step not in found.setdefault(name, {})
                found[name][row.step] = value
    return found


def collected(points):
    """The same of (name, step, value); no point may be there twice."""
    found = {}
    for name, step, value in points:
        assert step not in found.setdefault(name, {}), (name, step)
        found[name][step] = value
    return found


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-6, nan_ok=True), name


@pytest.mark.slow
def test_tensorboard_has_every_number_of_a_run_that_was_killed_and_resumed(killed):
    from tensorboardX.proto.event_pb2 import Event

    (file,) = (killed.path / "trackers" / "tensorboard").glob("events.*")
    points, data = [], file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + length])
        points += [(one.tag, event.step, one.simple_value) for one in event.summary.value if not one.HasField("tensor")]
        data = data[16 + length :]
    assert_equal(collected(points), expected_of(killed))


def history_of_wandb(file):
    """The rows and the last summary of a file of wandb, whose records are those of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, part, rows, summary = file.read_bytes(), 7, b"", [], {}
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        chunk = data[place + 7 : place + 7 + length]
        part, place = part + chunk if kind in (3, 4) else chunk, place + 7 + length
        if kind in (1, 4):
            record = Record.FromString(part)
            if record.WhichOneof("record_type") == "history":
                rows.append({"/".join(one.nested_key) or one.key: one.value_json for one in record.history.item})
            summary |= {one.key: one.value_json for one in record.summary.update if one.key}
    return [{name: json.loads(value) for name, value in row.items()} for row in rows], summary


@pytest.mark.slow
def test_wandb_has_every_number_of_a_run_that_was_killed_and_resumed(killed):
    (folder,) = (killed.path / "trackers" / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    rows, summary = history_of_wandb(file)
    points = [(name, row["step"], value) for row in rows for name, value in row.items() if "/" in name]
    assert_equal(collected(points), expected_of(killed))
    assert json.loads(summary["peak"]) == killed.summary.team.peak.value
    assert json.loads(summary["fell"]) in ("fell", "held", "cannot tell")


@pytest.mark.slow
def test_trackio_has_every_number_of_a_run_that_was_killed_and_resumed(killed):
    (file,) = (killed.path.parents[1] / "trackio").glob("*.db")
    with contextlib.closing(sqlite3.connect(file)) as database:
        rows = database.execute("select step, metrics, run_name from metrics order by id").fetchall()
    assert {name for _, _, name in rows} == {killed.facts["tracked"]["trackio"]["id"]}
    points = [(name, step, value) for step, text, _ in rows for name, value in json.loads(text).items()]
    found = collected(one for one in points if not one[0].startswith(("time/", "summary/")))
    assert_equal(found, expected_of(killed, times=False))
    assert ("summary/peak", 4, killed.summary.team.peak.value) in points


@pytest.mark.slow
def test_mlflow_has_every_number_of_a_run_that_was_killed_and_resumed(killed):
    (file,) = killed.path.parents[1].glob("mlflow.db")
    with contextlib.closing(sqlite3.connect(file)) as database:
        rows = database.execute("select key, step, value, is_nan from metrics").fetchall()
        (status, name) = database.execute("select status, name from runs").fetchone()
        parameters = dict(database.execute("select key, value from params").fetchall())
    points = [(unescaped(key), step, math.nan if is_nan else value) for key, step, value, is_nan in rows]
    found = collected(one for one in points if not one[0].startswith(("time/", "last/")))
    assert_equal(found, expected_of(killed, times=False))
    assert ("last/peak", 0, killed.summary.team.peak.value) in points
    assert (status, name, parameters["run.steps"]) == ("FINISHED", "mine", "4")
