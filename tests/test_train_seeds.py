"""`counterpoint train RECIPE --seeds ...`, and studies and comparisons from Python; runs are made by hand."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import command_line
from runs_by_hand import run_by_hand, six_by_hand, study_by_hand

import counterpoint as cp
from counterpoint.cli import train_seeds as command
from counterpoint.cli.train_seeds import seeds_study
from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments import folder, front
from counterpoint.experiments.cost import Cost
from counterpoint.experiments.folder import read_cells, write_cells
from counterpoint.experiments.runner import Outcome

NOTHING = Cost(
    jobs=1, by_run={}, seconds={}, runs={}, finished=0, disk=0, free_disk=1, memory=0, memory_unknown=False,
    available=None,
)  # fmt: skip
TOO_MUCH = replace(NOTHING, jobs=2, memory=2**30, available=2**31)


@pytest.fixture
def by_hand(monkeypatch):
    """Nothing is planned, and runs are made by hand in place of being trained; the studies that were launched."""
    launched = []

    def make(study, folder, whole=None):
        folder.mkdir(parents=True, exist_ok=True)
        write_cells(whole or study, folder)
        for cell in study.cells:
            if not (folder / cell.name).exists():
                sharing = cell.labels.get("sharing", "shared")
                run_by_hand(folder / cell.name, seed=cell.seed, policies={"sharing": sharing})
        launched.append(study)
        return Outcome(finished=tuple(cell.name for cell in study.cells), failed={}, left={}, signal=None)

    class Planned:
        warnings = ()

        def refuse_if_missing(self):
            pass

    for module in (command, front):
        monkeypatch.setattr(module, "check", lambda study: Planned())
        monkeypatch.setattr(module, "cost_of", lambda checked, folder, jobs: NOTHING)
        monkeypatch.setattr(module, "refuse_foreign", lambda study, folder: None)
    monkeypatch.setattr(
        command, "start_all", lambda console, study, folder, asked, costs, whole: make(study, folder, whole)
    )
    monkeypatch.setattr(front, "launch", lambda study, folder, jobs, costs, whole: make(study, folder, whole))
    return launched


def test_a_recipe_with_seeds_is_a_study_of_one_cell():
    study, folder = seeds_study("voting_arithmetic", ["policies.learning_rate=1e-4"], [0, 2])
    assert [cell.seed for cell in study.cells] == [0, 2]
    assert folder.as_posix().startswith("runs/voting-")
    assert folder.name.endswith("-learning_rate_1e-4-seeds")
    assert all(cell.overrides[-1] == f"run.seed={cell.seed}" for cell in study.cells)
    other = seeds_study("voting_arithmetic", ["policies.learning_rate=3e-4"], [0])[1]
    assert other != folder
    long = [f"rollout.{key}=7" for key in ("tasks_per_step", "group_size", "max_tokens", "max_calls")]
    assert len(seeds_study("voting_arithmetic", long, [0])[1].name) < 70


def test_the_command_ends_with_the_summary_over_seeds(by_hand, tmp_path):
    words = ("train", "voting_arithmetic", "--seeds", "0,1,2", "--out", "mine")
    done = command_line(*words, folder=tmp_path)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (0, "mine: 3 runs, seeds 0, 1, 2")
    assert [line.split()[0] for line in lines[1:4]] == ["time", "disk", "memory"]
    assert lines[4].startswith("the method gained +")
    assert "(3 seeds, 40 tasks)" in lines[4]


def test_more_seeds_join_those_that_are_there(by_hand, tmp_path):
    for seeds in ("0,1", "3"):
        done = command_line("train", "voting_arithmetic", "--seeds", seeds, "--out", "mine", folder=tmp_path)
    assert [cell.seed for cell in by_hand[-1].cells] == [3]
    assert read_cells(tmp_path / "mine").seeds == (0, 1, 3)
    assert "(3 seeds, 40 tasks)" in done.stdout


def test_a_dry_run_starts_and_writes_nothing(by_hand, tmp_path):
    done = command_line("train", "voting_arithmetic", "--seeds", "0,1", "--dry-run", folder=tmp_path)
    assert (done.returncode, by_hand, list(tmp_path.iterdir())) == (0, [], [])


def test_more_runs_at_once_than_memory_allows_are_refused_and_a_dry_run_says_so(by_hand, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(command, "cost_of", lambda checked, folder, jobs: asked.append(jobs) or TOO_MUCH)
    words = ("train", "voting_arithmetic", "--seeds", "0,1", "--jobs", "2")
    why = "2 runs at once need 2.0 GiB of memory, and 2.0 GiB are available: --jobs 1 would fit"
    done = command_line(*words, "--dry-run", folder=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"cannot start here: {why}")
    done = command_line(*words, folder=tmp_path)
    assert (done.returncode, done.stderr.splitlines()) == (2, [f"error: {why}"])
    assert (by_hand, list(tmp_path.iterdir()), asked) == ([], [], [2, 2])
    monkeypatch.setattr(front, "cost_of", lambda checked, folder, jobs: TOO_MUCH)
    with pytest.raises(ConfigError, match="--jobs 1 would fit"):
        cp.study("quick", out=tmp_path / "out")
    assert by_hand == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0,x"], "'x' is no seed"),
        (["--seeds", "0,0"], "seed 0 is given twice"),
        (["--seeds", ""], "is no seed"),
        (["--seeds", "0", "run.seed=1"], "run.seed and --seeds exclude each other"),
        (["--seeds", "0", "--profile"], "--profile and --all-keys are of one run"),
        (["--jobs", "2"], "--jobs goes with --seeds"),
        (["--seeds", "0", "workflow.votes=0"], "workflow.voting.votes = 0"),
    ],
)
def test_what_is_wrong_with_seeds_is_one_line(tmp_path, words, message):
    done = command_line("train", "voting_arithmetic", *words, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_runs_are_compared_from_python(tmp_path):
    paths = six_by_hand(tmp_path, gap=0.3, tasks=200)
    found = cp.compare(paths, margin=0.05)
    assert isinstance(found, cp.Compared)
    assert found.frame().columns[:5] == ["block", "who", "amount", "one", "other"]
    opened = [cp.Run.read(path) for path in paths]
    assert cp.compare(opened[:3], against=opened[3:]).frame()["value"][0] == pytest.approx(found.frame()["value"][0])
    assert cp.compare(str(paths[0])).team == []
    with pytest.raises(ConfigError, match="a margin of 300 points cannot be"):
        cp.compare(paths, margin=3)


def test_a_study_is_run_and_compared_from_python(by_hand, tmp_path, monkeypatch):
    study = study_by_hand(
        tmp_path / "made",
        {
            f"{sharing}-s{seed}": {"labels": {"sharing": sharing}, "seed": seed, "absent": True}
            for seed in (0, 1)
            for sharing in ("shared", "isolated")
        },
    )
    for module in (front, folder):
        monkeypatch.setattr(module, "load_study", lambda named, only=(), seeds=None: read_cells(study))
    found = cp.study("made", out=tmp_path / "out")
    assert [(one.found.one, one.found.other) for one in found.team] == [("isolated", "shared")] * 2
    assert (tmp_path / "out" / "collected" / "runs.jsonl").is_file()
    assert cp.compare(tmp_path / "out" / "collected").sentences == found.sentences


def test_seeds_that_the_file_does_not_have_are_part_of_the_study_from_python_too(by_hand, tmp_path, monkeypatch):
    asked = []

    def launched(study, folder, jobs, costs, whole):
        asked.append((study.seeds, whole.seeds))
        raise KeyboardInterrupt

    monkeypatch.setattr(front, "launch", launched)
    with pytest.raises(KeyboardInterrupt):
        cp.study("quick", seeds=[7], only=["voting-shared-x1"], out=tmp_path / "out")
    assert asked == [((7,), (0, 1, 2, 7))]


def test_a_study_without_a_finished_run_says_so(tmp_path):
    study = study_by_hand(tmp_path / "made", {"a-s0": {"labels": {}, "seed": 0, "absent": True}})
    with pytest.raises(RunError, match=r"no run is finished and evaluated after its base: a-s0 \(absent\)"):
        cp.compare(study)


def test_the_seeds_end_by_naming_the_report_as_a_shell_reads_it(by_hand, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command.train_seeds("voting_arithmetic", [], (0, 1), Path("odd it's (1)"), None, dry_run=False)
    last = capsys.readouterr().out.splitlines()[-1].removeprefix("report: ")
    assert shlex.split(last) == ["counterpoint", "report", "odd it's (1)"]
