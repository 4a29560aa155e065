"""A start that fails leaves nothing behind; a run that fails later says why; a run without a place gets a name."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from time import process_time

import pytest
import torch
from command_line import command_line

import counterpoint as cp
from counterpoint.adapter import Adapter, tensor_names
from counterpoint.cli.runs import print_runs
from counterpoint.cli.train import go_on
from counterpoint.errors import CounterpointError, RunError, RunInUseError
from counterpoint.plan.plan import plan
from counterpoint.recipe import config_from, load_config
from counterpoint.run import Run
from counterpoint.run_files import locked, refuse_occupied
from counterpoint.runs import read_header
from counterpoint.starting import begin, cpu_recorded, default_path, failure_recorded, reopen

SMALL = [
    "task.train=64",
    "task.validation=4",
    "task.test=6",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "rollout.max_tokens=16",
    "evaluation.every=1",
    "run.steps=2",
    "run.threads=1",
]
MODULE = """
import sys

from counterpoint import Intervention, Problem, Role, workflow


def score(answer, key):
    return 1.0


if "worker" in sys.argv[0]:
    def __getattr__(name):
        raise RuntimeError("not in this process")
    del score


@workflow
async def broken(problem: Problem, *, solver: Role) -> str | None:
    if problem.text != "What is 1 + 1?":
        raise KeyError("broken")
    return (await solver(problem.text)).text


class Late(Intervention):
    name = "late"

    def stop(self, numbers):
        raise RuntimeError("too late")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current directory with a module of ones own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starting_mine.py").write_text(MODULE)
    yield tmp_path
    sys.modules.pop("starting_mine", None)


def refused(*overrides, **objects):
    with pytest.raises(CounterpointError) as raised:
        cp.train("voting_arithmetic", *SMALL, *overrides, out="runs/mine", progress=False, **objects)
    return str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.device=cuda:99"], "model.device = 'cuda:99' cannot be used"),
        (["model.device=abacus"], "model.device = 'abacus' cannot be used"),
        (["sampler=nope"], "unknown sampler 'nope'"),
        (["runtime=nope"], "unknown runtime 'nope'"),
        (["judge=starting_mine:score"], "judge 'starting_mine:score' does not start in a process of its own"),
        (["algorithm.advantage=hierarchical"], "algorithm.advantage = 'hierarchical' needs a role that proposes"),
        (["policies.adapter=starting_mine.py"], "holds no adapter"),
        (["policies.adapter=nowhere"], "policies.adapter = 'nowhere': there is no such file or folder; looked in"),
    ],
)
def test_what_keeps_a_run_from_starting_is_found_before_its_directory_is_made(here, overrides, message):
    assert message in refused(*overrides)
    assert not (here / "runs").exists()


def test_an_adapter_of_another_scale_is_found_before_the_runs_directory_is_made(here):
    name_A, name_B = tensor_names("model.layers.0.self_attn.q_proj")
    pair = {name_A: torch.zeros(4, 8), name_B: torch.zeros(8, 4)}
    Adapter(policy="one", version=0, scale=4.0, tensors=pair).write(here / "mine")
    assert "set its alpha to 16" in refused("policies.adapter=mine", "policies.rank=4", "policies.alpha=8")
    assert not (here / "runs").exists()


def resumed_in_a_shell(path, *overrides):
    go_on(path, overrides, accept_changes=False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (['track=["wandbb"]'], "unknown tracker 'wandbb'"),
        (["model.device=cuda:99"], "model.device = 'cuda:99' cannot be used"),
        (["runtime=nope"], "unknown runtime 'nope'"),
        (["runtime.nope=3"], "takes no options; nope given"),
        (["task.path=nowhere"], "task.path = 'nowhere': there is no such file or folder"),
        ([], "tasks changed since the run began"),
    ],
)
@pytest.mark.parametrize("resume", [partial(cp.resume, progress=False), resumed_in_a_shell])
def test_a_finished_run_is_as_it_was_after_a_change_that_is_refused(here, overrides, message, resume):
    with begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", []) as run:
        run.note({"tasks": {"train": "others"}})
        run.checkpoint(3, {}, {"digests": {}, "stopped": None})
        run.add_evaluation({"step": 3, "split": "test"})
        run.add_final({"step": 3})
        run.write_summary({})
    before = files_of(run.path)
    with pytest.raises(CounterpointError) as raised:
        resume(run.path, "run.steps=60", *overrides)
    assert message in str(raised.value)
    assert files_of(run.path) == before


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_fails_before_its_first_evaluation_leaves_no_directory(here, monkeypatch):
    sound = plan(load_config("voting_arithmetic", ["run.threads=1"]))  # whatever the rehearsal would find
    monkeypatch.setattr("counterpoint.api.planned", lambda setup: replace(sound, setup=setup))
    assert "broken" in refused("workflow=starting_mine:broken")
    assert not (here / "runs" / "mine").exists()
    (here / "runs" / "mine").mkdir(parents=True)
    assert "broken" in refused("workflow=starting_mine:broken")
    assert os.listdir(here / "runs" / "mine") == [], "a directory that was there is left, empty as it was"


def test_a_run_that_fails_later_is_kept_and_listed_with_the_reason(here, capsys):
    assert "too late" in refused('interventions=["starting_mine:Late"]')
    header = read_header(Path("runs/mine"))
    assert header.state == "failed"
    assert "too late" in header.problem
    assert "\n" not in header.problem
    print_runs(Path("runs"))
    out = capsys.readouterr().out
    assert out.splitlines()[1].startswith("failed")
    assert "runs/mine failed: MemberError: " in out
    with reopen("runs/mine") as again, failure_recorded(again):
        assert "error" not in again.facts, "whoever resumes it starts with a clean record"


def test_the_cpu_seconds_of_every_attempt_are_added_up_also_of_one_that_is_interrupted(here):
    def work():
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True, timeout=60)
        end = process_time() + 0.05
        while process_time() < end:
            pass

    def interrupted_work():
        work()
        raise KeyboardInterrupt

    with begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", []) as run:
        with pytest.raises(KeyboardInterrupt), cpu_recorded(run):
            interrupted_work()
        first = run.facts["cpu_seconds"]
        assert first >= 0.07, "that of this process and of the one that it started"
        with cpu_recorded(run):
            work()
        assert run.facts["cpu_seconds"] >= first + 0.07
        shutil.rmtree(run.path)
        with pytest.raises(RunError, match="gone"), cpu_recorded(run):
            raise RunError("gone")


def test_a_run_in_use_is_told_apart_from_other_errors_by_the_exit_status(here):
    with begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", []):
        for arguments in (["resume", "runs/mine"], ["train", "voting_arithmetic", *SMALL, "--out", "runs/mine"]):
            found = command_line(*arguments)
            assert (found.returncode, found.stderr) == (
                75,
                "error: runs/mine is in use: another process works on this run\n",
            )
        with pytest.raises(RunInUseError):
            cp.resume("runs/mine")
        with pytest.raises(RunInUseError):
            begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", [])
    assert command_line("train", "voting_arithmetic", *SMALL, "--out", "runs/mine").returncode == 2
    assert command_line("resume", "runs/nowhere").returncode == 2


def test_a_run_that_another_process_is_creating_is_in_use(here):
    Path("runs/mine").mkdir(parents=True)
    descriptor = locked(Path("runs/mine"))
    found = command_line("resume", "runs/mine")
    assert (found.returncode, "another process is creating it at this moment" in found.stderr) == (75, True)
    with pytest.raises(RunInUseError, match="is in use"):
        begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", [])
    os.close(descriptor)
    begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", []).close()


def test_a_run_that_comes_to_be_between_the_look_and_the_lock_is_refused_as_what_it_is(here, monkeypatch):
    """The first look finds nothing; when the lock is taken, the run is there and nobody works on it any more."""
    begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", []).close()
    looks = []

    def looked(path, *, is_mine=False):
        looks.append(is_mine)
        if is_mine:
            refuse_occupied(path, is_mine=True)

    monkeypatch.setattr("counterpoint.run.refuse_occupied", looked)
    with pytest.raises(RunError, match="already holds a run") as raised:
        begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", [])
    assert not isinstance(raised.value, RunInUseError)
    assert looks == [False, True]


def test_the_error_of_a_run_that_is_not_kept_is_on_standard_error(here, monkeypatch):
    sound = plan(load_config("voting_arithmetic", ["run.threads=1"]))
    monkeypatch.setattr("counterpoint.api.planned", lambda setup: replace(sound, setup=setup))
    found = command_line(
        "train", "voting_arithmetic", *SMALL, "workflow=starting_mine:broken", "--out", "runs/mine", folder=here
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert "broken" in found.stderr
    assert not (here / "runs" / "mine").exists()


def test_an_interrupted_start_is_kept_to_be_resumed(here):
    with begin(load_config("voting_arithmetic", SMALL), "runs/mine", "r", []) as run:
        with pytest.raises(KeyboardInterrupt), failure_recorded(run):
            raise KeyboardInterrupt
        assert Run.read(run.path).path.is_dir()
        assert "error" not in run.facts


def named(*overrides):
    return str(default_path(load_config("voting_arithmetic", overrides), overrides))


def test_a_run_is_named_after_its_cell_and_the_overrides_that_the_cell_does_not_show(here):
    assert named() == "runs/voting-isolated-micro-medium-arithmetic-s0"
    assert named("run.seed=2", "policies.sharing=shared") == "runs/voting-shared-micro-medium-arithmetic-s2"
    first = named("policies.learning_rate=1e-4")
    assert first == "runs/voting-isolated-micro-medium-arithmetic-s0-learning_rate=1e-4"
    assert named("policies.learning_rate=1e-3") != first
    assert named("run.threads=1") == named()
    table = 'task={name="arithmetic", operands=2}'
    assert "/" not in named(table).removeprefix("runs/")
    many = [f"policies.{key}={value}" for key, value in (("beta1", 0.8), ("beta2", 0.9), ("weight_decay", 0.1))]
    assert len(named(*many, *SMALL)) < 130
    assert named(*many, *SMALL) != named(*many[:2], *SMALL)


def test_runs_of_one_name_with_other_settings_get_a_digest_and_an_equal_one_is_refused_clearly(here, tmp_path):
    config = load_config("voting_arithmetic")
    begin(config, None, "voting_arithmetic", []).close()
    assert default_path(config, []) == Path(named()), "with the same settings it is the same run"
    with pytest.raises(CounterpointError, match=r"already holds a run: resume it with .*, or choose another"):
        begin(config, None, "voting_arithmetic", [])
    other = load_config("voting_arithmetic", ["run.steps=7"])
    assert default_path(other, []).name.startswith("voting-isolated-micro-medium-arithmetic-s0-")
    threads = load_config("voting_arithmetic", ["run.threads=1"])
    assert default_path(threads, []) == Path(named())


def test_a_date_in_the_options_of_a_member_of_ones_own_tells_runs_apart(here):
    since = [config_from({"task": {"name": "days:days", "since": date(2024, 1, day)}}) for day in (1, 2)]
    Run.create(default_path(since[0], []), since[0], {}).close()
    assert default_path(since[0], []) == Path("runs/voting-isolated-micro-medium-days-s0")
    assert default_path(since[1], []).name.startswith("voting-isolated-micro-medium-days-s0-")


def test_the_list_of_runs_shows_their_overrides(here, capsys):
    overrides = ["policies.learning_rate=1e-4", "run.seed=1"]
    begin(load_config("voting_arithmetic", overrides), None, "voting_arithmetic", overrides).close()
    print_runs(Path("runs"))
    assert capsys.readouterr().out.splitlines()[1].endswith("  policies.learning_rate=1e-4")
    assert json.loads(next(Path("runs").glob("*/run.json")).read_text())["overrides"] == overrides
