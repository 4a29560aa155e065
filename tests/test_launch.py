"""The runner of a study: what it starts, in which order, and what it makes of every end."""

import errno
import json
import os
import sys
import threading
import time
from dataclasses import replace

import pytest
from fake_studies import QUICK, Heard, cell, starter, starts, study, swap

from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments import processes
from counterpoint.experiments.attempts import Attempts
from counterpoint.experiments.folder import read_cells, taken
from counterpoint.experiments.launch import launch, launch_one, survey
from counterpoint.experiments.measured import controls_of
from counterpoint.experiments.processes import places
from counterpoint.experiments.runner import Outcome
from counterpoint.recipe import find_recipe


def run(fake, tmp_path, behaviours=None, **options):
    folder = tmp_path / "study"
    options.setdefault("rules", QUICK)
    return launch(fake, folder, start=starter(fake, tmp_path / "scratch", behaviours), **options)


def test_every_cell_is_trained_once_seed_by_seed(tmp_path):
    fake = study(seeds=(0, 1))
    outcome = run(fake, tmp_path)
    assert (outcome.failed, outcome.left, outcome.exit_status) == ({}, {}, 0)
    assert starts(tmp_path / "study") == [
        ("train", "shared-s0"), ("train", "isolated-s0"), ("train", "shared-s1"), ("train", "isolated-s1")
    ]  # fmt: skip
    again = run(fake, tmp_path)
    assert again.finished == outcome.finished
    assert len(starts(tmp_path / "study")) == 4
    found = survey(fake, tmp_path / "study")
    one = found["shared-s0"]
    assert (one.state, one.step, one.steps, one.validation, one.attempt) == ("finished", 6, 6, 0.6, 1)
    assert (one.warning, one.seconds) == ("cliff", 0.5)


def test_the_longest_cell_of_a_seed_comes_first_where_the_costs_are_known(tmp_path):
    fake = study(groups=("a", "b", "c"), seeds=(0, 1))
    run(fake, tmp_path, costs={"b-s0": 5.0, "c-s0": 9.0, "c-s1": 1.0})
    order = [name for _, name in starts(tmp_path / "study")]
    assert order == ["c-s0", "b-s0", "a-s0", "c-s1", "a-s1", "b-s1"]


def test_a_measure_starts_when_its_run_is_finished_and_is_whole(tmp_path):
    fake = study(seeds=(0,), measures=(swap("shared-s0", ("shared-s0", "isolated-s0")),))
    outcome = run(fake, tmp_path)
    folder = tmp_path / "study"
    assert starts(folder)[-1] == ("evaluate", "shared-s0/controls/swap.json")
    written = json.loads((folder / "shared-s0" / "controls" / "swap.json").read_text())
    assert written[:4] == ["evaluate", str(folder / "shared-s0"), "--swap", "a,b"]
    assert "shared-s0/swap" in outcome.finished
    run(fake, tmp_path)
    assert len(starts(folder)) == 3


def test_a_measure_starts_before_the_runs_that_wait(tmp_path):
    run(study(groups=("a", "b"), seeds=(0, 1), measures=(swap("b-s1"), swap("a-s0"))), tmp_path)
    assert [name.partition("/")[0] for _, name in starts(tmp_path / "study")] == [
        "a-s0", "a-s0", "b-s0", "a-s1", "b-s1", "b-s1"
    ]  # fmt: skip


def test_a_measure_of_a_run_that_failed_is_left_and_says_so(tmp_path):
    fake = study(seeds=(0,), measures=(swap("shared-s0"),))
    outcome = run(fake, tmp_path, {"shared-s0": "fails"})
    assert outcome.left == {"shared-s0/swap": "it needs shared-s0, which is not finished"}
    assert outcome.exit_status == 1


def test_a_measure_that_fails_is_not_tried_again_unless_asked(tmp_path):
    fake = study(groups=("shared",), seeds=(0,), measures=(swap("shared-s0"),))
    outcome = run(fake, tmp_path, {"shared-s0/swap": "fails"})
    assert outcome.failed == {"shared-s0/swap": "exit status 1: error: it cannot be evaluated"}
    assert run(fake, tmp_path).failed == outcome.failed
    assert len(starts(tmp_path / "study")) == 2
    assert run(fake, tmp_path, rules=replace(QUICK, retry=True)).exit_status == 0


def test_a_measure_that_failed_is_left_out_of_what_is_collected(tmp_path):
    fake, run_of = (
        study(groups=("shared",), seeds=(0,), measures=(swap("shared-s0"),)),
        tmp_path / "study" / "shared-s0",
    )
    run(fake, tmp_path, {"shared-s0/swap": "fails"})
    assert (run_of / "controls" / "swap.failure.json").is_file()
    assert controls_of(run_of) == {}


def test_a_damaged_note_of_a_failure_is_still_a_failure(tmp_path):
    fake, folder = study(groups=("shared",), seeds=(0,), measures=(swap("shared-s0"),)), tmp_path / "study"
    run(fake, tmp_path, {"shared-s0/swap": "fails"})
    for text in ("", '{"attempt": null}'):
        (folder / "shared-s0" / "controls" / "swap.failure.json").write_text(text)
        found = survey(fake, folder)["shared-s0/swap"]
        assert (found.state, found.problem) == ("failed", "swap.failure.json cannot be read")


def test_a_failed_cell_stops_no_other_and_is_not_started_again(tmp_path):
    fake, heard = study(seeds=(0, 1)), Heard()
    outcome = run(fake, tmp_path, {"shared-s0": "fails", "isolated-s0": "fails late"}, watcher=heard)
    assert outcome.finished == ("shared-s1", "isolated-s1")
    assert outcome.failed["shared-s0"] == "exit status 1: error: it cannot work"
    assert outcome.exit_status == 1
    assert "isolated-s0 failed: exit status 1: error: it fails late" in heard.lines
    told = json.loads((tmp_path / "study" / "shared-s0" / "failure.json").read_text())
    assert (told["code"], told["signal"], told["step"], told["attempt"]) == (1, None, 0, 1)
    assert told["output"][-2:] == ["Traceback: something of the library's", "error: it cannot work"]
    assert json.loads((tmp_path / "study" / "isolated-s0" / "failure.json").read_text())["step"] == 2
    again = run(fake, tmp_path)
    assert again.failed == outcome.failed
    assert len(starts(tmp_path / "study")) == 4


def test_retry_resumes_what_failed_and_begins_what_left_nothing(tmp_path):
    fake, folder = study(seeds=(0,)), tmp_path / "study"
    run(fake, tmp_path, {"shared-s0": "fails", "isolated-s0": "fails late"})
    outcome = run(fake, tmp_path, rules=replace(QUICK, retry=True))
    assert outcome.exit_status == 0
    assert starts(folder)[2:] == [("train", "shared-s0"), ("resume", "isolated-s0")]
    assert [found.attempt for found in survey(fake, folder).values()] == [2, 2]
    assert not (folder / "isolated-s0" / "failure.json").exists()


def test_what_fails_again_is_tried_once_per_retry(tmp_path):
    fake = study(seeds=(0,))
    for count in (1, 2, 3):
        run(fake, tmp_path, {"shared-s0": "fails late"}, rules=replace(QUICK, retry=True))
        assert [name for _, name in starts(tmp_path / "study")].count("shared-s0") == count


def test_restart_keeps_what_failed_under_another_name(tmp_path):
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    restart = replace(QUICK, restart=True)
    run(fake, tmp_path, {"shared-s0": "fails late"})
    run(fake, tmp_path, {"shared-s0": "fails late"}, rules=restart)
    outcome = run(fake, tmp_path, rules=restart)
    assert outcome.exit_status == 0
    assert [command for command, _ in starts(folder)] == ["train", "train", "train"]
    for kept in ("shared-s0.failed-1", "shared-s0.failed-2"):
        assert (folder / kept / "failure.json").is_file()
        assert (folder / kept / "config.toml").is_file()


def test_retry_and_restart_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="give one of them"):
        run(study(), tmp_path, rules=replace(QUICK, retry=True, restart=True))
    assert not (tmp_path / "study").exists()


def test_a_cell_that_is_killed_by_somebody_has_failed_with_the_signal(tmp_path):
    fake = study(groups=("shared",), seeds=(0,))
    outcome = run(fake, tmp_path, {"shared-s0": "is killed"})
    assert outcome.failed["shared-s0"].startswith("SIGKILL, which no runner sent")
    assert survey(fake, tmp_path / "study")["shared-s0"].state == "failed"


def test_nothing_is_started_after_the_last_hour(tmp_path):
    outcome = run(study(), tmp_path, rules=replace(QUICK, max_hours=0.0))
    assert set(outcome.left.values()) == {"not started: the time of --max-hours is over"}
    assert (outcome.exit_status, starts(tmp_path / "study")) == (75, [])


def test_the_exit_status_says_whether_something_failed_or_is_left():
    ends = {
        0: Outcome(finished=("a",), failed={}, left={}),
        1: Outcome(finished=(), failed={"a": "exit status 2"}, left={"b": "it needs a, which is not finished"}),
        75: Outcome(finished=("a",), failed={}, left={"b": "not started"}),
        143: Outcome(finished=(), failed={"a": "SIGKILL"}, left={"b": "interrupted"}, signal=15),
    }
    assert {status: outcome.exit_status for status, outcome in ends.items()} == {one: one for one in ends}


def test_several_jobs_run_side_by_side_each_on_its_cores_and_its_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda pid: {0, 1, 4, 5, 6})
    assert [sorted(place.cores) for place in places(2, ())] == [[0, 1], [4, 5]]
    assert [place.cores for place in places(6, ())] == [frozenset()] * 6
    assert [(place.gpu, place.threads) for place in places(None, ("0", "3"))] == [("0", 2), ("3", 2)]
    assert len(places(None, ())) == 1
    with pytest.raises(ConfigError, match="--gpus names 2"):
        places(3, ("0", "1"))
    with pytest.raises(ConfigError, match="each GPU can be named once"):
        places(None, ("0", "0"))
    with pytest.raises(ConfigError, match="at least 1"):
        places(0, ())


def test_a_process_is_in_a_session_of_its_own_with_its_cores_its_gpu_and_no_input(tmp_path):
    code = "import os, sys; print(os.getsid(0) == os.getpid(), os.sched_getaffinity(0),"
    code += " os.environ['CUDA_VISIBLE_DEVICES'], sys.stdin.read() == '')"
    core = min(os.sched_getaffinity(0))
    place = processes.Place(number=0, cores=frozenset([core]), gpu="7")
    with (tmp_path / "lock").open("w") as lock:
        command = processes.Command(
            job="a", arguments=(), log=tmp_path / "logs" / "a.log", place=place, lock=lock.fileno()
        )
        process = processes.start_words([sys.executable, "-c", code], command)
    assert process.wait(20) == 0
    assert (tmp_path / "logs" / "a.log").read_text().splitlines()[-1] == f"True {{{core}}} 7 True"
    assert len(os.sched_getaffinity(0)) >= 1


def test_what_a_process_leaves_behind_is_ended_with_it_and_holds_no_lock(tmp_path):
    """A worker that outlives the run would hold the lock that it inherited, and the run would be running for ever."""
    code = "import os, time; os.fork() or time.sleep(60)"
    held = Attempts(tmp_path, "a").take()
    command = processes.Command(
        job="a", arguments=(), log=tmp_path / "a.log", place=processes.Place(number=0), lock=held
    )
    process = processes.start_words([sys.executable, "-c", code], command)
    os.close(held)
    deadline = time.monotonic() + 20
    while process.poll() is None or Attempts(tmp_path, "a").is_running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.returncode == 0


def test_no_more_jobs_run_than_there_are_places_also_where_an_orphan_has_another(tmp_path):
    """An earlier runner with two places left a process on the second; this one has one place."""
    fake, folder, seen = study(seeds=(0,)), tmp_path / "study", Heard()
    orphan = Attempts(folder, "shared-s0")
    held = orphan.take()
    orphan.began(step=-1, place=1, asked=False)
    threading.Timer(0.4, lambda: os.close(held)).start()
    run(fake, tmp_path, watcher=seen, jobs=1)
    running = [[name for name, one in found.items() if one.state == "running"] for found in seen.shown]
    assert max(map(len, running)) == 1
    assert len(starts(folder)) == 2


def test_a_process_that_cannot_be_started_is_not_to_blame(tmp_path):
    def start(command):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(command.log))

    for _ in range(3):
        with pytest.raises(RunError, match="No space left on device"):
            launch(study(), tmp_path / "study", start=start, rules=QUICK)
    assert run(study(), tmp_path).exit_status == 0


def test_threads_are_a_share_of_the_cores_unless_the_study_names_them(tmp_path):
    asked = {}

    def start(command):
        asked[command.job] = command.arguments
        raise KeyboardInterrupt

    own = cell("own", 0, overrides=("run.threads=3", "run.seed=0"))
    for one in (own, cell("shared", 0)):
        fake = replace(study(), cells=(one,))
        with pytest.raises(KeyboardInterrupt):
            launch(fake, tmp_path / one.name, start=start, rules=QUICK)
    cores = len(os.sched_getaffinity(0))
    assert asked["shared-s0"][:3] == ("train", "voting_arithmetic", f"run.threads={cores}")
    assert [word for word in asked["own-s0"] if word.startswith("run.threads")] == ["run.threads=3"]


def test_a_run_with_another_recipe_stops_the_study_with_the_first_difference(tmp_path):
    fake, folder = study(seeds=(0,)), tmp_path / "study"
    run(fake, tmp_path, {"isolated-s0": "fails"})
    other = replace(
        fake,
        cells=(
            fake.cells[1],
            cell("shared", 0, overrides=("run.steps=6", "policies.learning_rate=2e-3", "run.seed=0")),
        ),
    )
    with pytest.raises(RunError, match=r"shared-s0 is another run .*: policies\.learning_rate is .* there, 0\.002 in"):
        run(other, tmp_path)
    assert len(starts(folder)) == 2
    threads = replace(
        fake, cells=tuple(replace(one, overrides=("run.threads=1", *one.overrides)) for one in fake.cells)
    )
    assert run(threads, tmp_path).finished == ("shared-s0",)


@pytest.mark.parametrize("edited", ["learning_rate = 0.5", "learning_rate = "])
def test_a_recipe_that_is_edited_while_the_study_runs_is_not_that_of_its_later_runs(tmp_path, edited):
    recipe, fake = tmp_path / "mine.toml", study(groups=("shared",))
    text = find_recipe("voting_arithmetic").read_text(encoding="utf-8")
    recipe.write_text(text, encoding="utf-8")
    fake = replace(fake, cells=tuple(replace(cell, recipe=str(recipe)) for cell in fake.cells))
    start, folder = starter(fake, tmp_path / "scratch"), tmp_path / "study"

    def starts_and_edits(command):
        recipe.write_text(text.replace("learning_rate = 1e-3", edited), encoding="utf-8")
        return start(command)

    outcome = launch(fake, folder, rules=QUICK, start=starts_and_edits)
    assert (outcome.finished, outcome.exit_status) == (("shared-s0",), 75)
    assert outcome.left["shared-s1"].startswith("not started: ")
    assert str(recipe) in outcome.left["shared-s1"]
    with pytest.raises((RunError, ConfigError), match=r"another run than the study|mine\.toml"):
        launch_one(fake, folder, "shared-s1", rules=QUICK, start=start)
    assert starts(folder) == [("train", "shared-s0")]


def test_what_is_unknown_in_the_folder_is_left_alone(tmp_path):
    folder = tmp_path / "study"
    (folder / "mine").mkdir(parents=True)
    (folder / "notes.txt").write_text("of mine")
    assert run(study(), tmp_path).exit_status == 0
    assert (folder / "notes.txt").read_text() == "of mine"
    assert (folder / "mine").is_dir()


def test_a_directory_that_holds_something_else_is_not_taken_for_a_run(tmp_path):
    (tmp_path / "study" / "isolated-s1").mkdir(parents=True)
    (tmp_path / "study" / "isolated-s1" / "thesis.tex").write_text("")
    with pytest.raises(RunError, match=r"isolated-s1 holds no run, but thesis\.tex: move it away"):
        run(study(), tmp_path)
    assert starts(tmp_path / "study") == []


def test_a_cell_may_be_a_link_to_a_folder_elsewhere_and_to_nothing_else(tmp_path):
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    folder.mkdir()
    link = folder / "shared-s0"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="shared-s0 is a link to nothing: the directory of a run is expected there"):
        run(fake, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    assert run(fake, tmp_path).finished == ("shared-s0",)
    assert (tmp_path / "elsewhere" / "summary.json").is_file()
    link.unlink()
    link.write_text("")
    with pytest.raises(RunError, match="shared-s0 is a file: the directory of a run is expected there"):
        run(fake, tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cells.json", "[]", "cells.json is damaged"),
        ("cells.json", "", "cells.json is damaged"),
        ("shared-s0/config.toml", "run = 3", "shared-s0/config.toml: run = 3: input should be"),
        ("shared-s0/config.toml", "run", "shared-s0/config.toml is not TOML"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path, name, text, message):
    fake, folder = study(groups=("shared",), seeds=(0,)), tmp_path / "study"
    run(fake, tmp_path)
    (folder / name).write_text(text)
    assert survey(fake, folder)["shared-s0"].state == "finished"
    with pytest.raises(RunError, match=message) as told:
        run(fake, tmp_path)
    assert len(str(told.value).splitlines()) == 1


def test_a_study_of_another_name_has_another_folder(tmp_path):
    run(study(), tmp_path)
    with pytest.raises(RunError, match="belongs to the study fake: choose another folder for other with --out"):
        run(study(name="other"), tmp_path)


def test_a_job_alone_lists_the_whole_study_and_adds_itself_to_the_list(tmp_path):
    folder, start = tmp_path / "study", starter(study(seeds=(0, 1, 7)), tmp_path / "scratch")
    launch_one(study(seeds=(1,)), folder, "shared-s1", rules=QUICK, start=start, whole=study)
    assert read_cells(folder) == study()
    more = study(seeds=(0, 1, 7))
    launch_one(study(seeds=(7,)), folder, "shared-s7", rules=QUICK, start=start, whole=lambda: more)
    assert read_cells(folder) == more
    with pytest.raises(RunError, match="belongs to the study fake: choose another folder for other"):
        launch_one(study(name="other"), folder, "shared-s1", rules=QUICK, start=start)


def test_the_cells_are_written_down_and_read_back(tmp_path):
    fake = study(measures=(swap("shared-s0"),))
    run(study(seeds=(0,)), tmp_path, whole=fake)
    assert read_cells(tmp_path / "study") == fake


def test_one_runner_at_a_time_and_the_lock_is_free_once_it_has_ended(tmp_path):
    with taken(tmp_path / "study"), pytest.raises(RunError, match=f"is in use: another .*process {os.getpid()} on"):
        run(study(), tmp_path)
    assert run(study(), tmp_path).exit_status == 0


def test_a_job_is_created_or_resumed_alone_and_left_where_somebody_works_on_it(tmp_path):
    fake, folder = study(measures=(swap("shared-s1"),)), tmp_path / "study"
    start = starter(fake, tmp_path / "scratch")
    early = launch_one(fake, folder, "shared-s1/swap", rules=QUICK, start=start)
    assert early.left == {"shared-s1/swap": "it needs shared-s1, which is not finished"}
    assert early.exit_status == 75
    with taken(folder):  # another runner does not matter
        assert launch_one(fake, folder, "shared-s1", rules=QUICK, start=start).finished == ("shared-s1",)
    assert launch_one(fake, folder, "shared-s1/swap", rules=QUICK, start=start).exit_status == 0
    held = Attempts(folder, "isolated-s0").take()
    assert launch_one(fake, folder, "isolated-s0", rules=QUICK, start=start).left == {
        "isolated-s0": "another process works on it"
    }
    os.close(held)
    with pytest.raises(RunError, match="unknown cell of fake 'shared-s2'; did you mean 'shared-s1'"):
        launch_one(fake, folder, "shared-s2", rules=QUICK, start=start)
    assert len(starts(folder)) == 2
