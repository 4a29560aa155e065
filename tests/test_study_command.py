"""`counterpoint study`: its options, its files, and the exit status; the processes are fake cells."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from command_line import command_line
from fake_studies import QUICK, starter, starts

from counterpoint.cli import study as command
from counterpoint.cli.study import Asked, gpus_of, seeds_of, start_all
from counterpoint.errors import ConfigError
from counterpoint.experiments.attempts import Attempts
from counterpoint.experiments.cost import Cost
from counterpoint.experiments.folder import read_cells
from counterpoint.experiments.states import State
from counterpoint.experiments.study import load_study

PAGE = (Path(__file__).parent.parent / "docs" / "studies.md").read_text(encoding="utf-8")
STUDY = """
recipe = "voting_arithmetic"
seeds = [0, 1]
least_evaluations = 2
set = { "run.steps" = 6, "run.threads" = 1, "evaluation.every" = 3 }
[axes.sharing.shared]
"policies.sharing" = "shared"
[axes.sharing.isolated]
"policies.sharing" = "isolated"
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the study `mine.toml`, whose cells are fakes."""
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(STUDY, encoding="utf-8")
    behaviours = {}

    def launch(study, folder, **options):
        start = starter(study, tmp_path / "scratch", behaviours)
        return real(study, folder, **{**options, "rules": _quick(options["rules"]), "start": start})

    def launch_one(study, folder, name, **options):
        start = starter(study, tmp_path / "scratch", behaviours)
        return real_one(study, folder, name, **{**options, "rules": _quick(options["rules"]), "start": start})

    real, real_one = command.launch, command.launch_one
    monkeypatch.setattr(command, "launch", launch)
    monkeypatch.setattr(command, "launch_one", launch_one)
    monkeypatch.setattr(command, "_collect", lambda console, folder, name: console.print(f"collected {folder}"))
    return behaviours


def _quick(rules):
    return replace(QUICK, retry=rules.retry, restart=rules.restart, max_hours=rules.max_hours)


def asked(**options):
    return command.run_study("mine.toml", Asked(**options))


def test_one_job_after_another_and_what_is_said(place, capsys):
    asked(cell="shared-s0")
    with pytest.raises(ConfigError, match="--status and --cell: give one of them"):
        asked(cell="shared-s0", status=True)
    asked(status=True)
    shown = capsys.readouterr().out
    assert re.search(r"^shared-s0 +finished +6/6", shown, flags=re.MULTILINE)
    assert "1 finished, 3 absent" in shown
    assert starts(Path("runs/mine")) == [("train", "shared-s0")]


def test_a_whole_study_is_run_shown_and_collected(place, capsys):
    place["isolated-s1"] = "fails"
    study = load_study("mine.toml")
    outcome = start_all(command.Terminal(goes_on=True), study, Path("runs/mine"), Asked(jobs=2), {}, study)
    said = capsys.readouterr().out
    assert outcome.exit_status == 1
    assert "isolated-s1 failed: exit status 1: error: it cannot work" in said
    assert "--retry resumes what failed, --restart starts it again from its beginning" in said
    assert "collected runs/mine" in said
    assert read_cells(Path("runs/mine")) == study


def test_the_exit_status_of_a_job_that_failed_and_of_one_in_use(place, monkeypatch):
    place["shared-s0"] = "fails late"
    with pytest.raises(SystemExit) as ended:
        asked(cell="shared-s0")
    assert ended.value.code == 1
    held = Attempts(Path("runs/mine"), "shared-s1").take()
    with pytest.raises(SystemExit) as ended:
        asked(cell="shared-s1")
    assert (held > 0, ended.value.code) == (True, 75)


def test_seeds_that_were_added_stay_part_of_the_study(place):
    folder = Path("runs/mine")
    command.write_cells(command.whole_study("mine.toml", load_study("mine.toml", seeds=(7,)), folder), _made(folder))
    assert read_cells(folder).seeds == (0, 1, 7)
    assert command.whole_study("mine.toml", load_study("mine.toml"), folder).seeds == (0, 1, 7)


def _made(folder):
    folder.mkdir(parents=True)
    return folder


def test_arrays_are_written_and_their_lines_printed(place, capsys):
    Path("site.toml").write_text("[default]\ncpus = 2\n", encoding="utf-8")
    asked(slurm=Path("site.toml"))
    assert capsys.readouterr().out == f"sbatch {Path('runs/mine/slurm/default.sbatch').resolve()}\n"
    assert Path("runs/mine/slurm/default.cells").read_text(encoding="utf-8").split() == [
        "shared-s0", "isolated-s0", "shared-s1", "isolated-s1"
    ]  # fmt: skip


def test_arrays_of_a_part_need_no_cell_of_every_group(place, capsys):
    Path("site.toml").write_text('[groups.big]\nwhere = { sharing = "shared" }\n', encoding="utf-8")
    asked(slurm=Path("site.toml"), only=("sharing=isolated",))
    assert capsys.readouterr().out == f"sbatch {Path('runs/mine/slurm/default.sbatch').resolve()}\n"


def test_what_the_user_types_is_read():
    assert (seeds_of(None), seeds_of("0, 1,5")) == (None, (0, 1, 5))
    assert (gpus_of(None), gpus_of("0, MIG-1")) == ((), ("0", "MIG-1"))
    for text in ("", "0,,1", "-1", "a"):
        with pytest.raises(ConfigError, match="--seeds"):
            seeds_of(text)
    with pytest.raises(ConfigError, match="--gpus"):
        gpus_of("0,")


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    return [
        shlex.split(line, comments=True)
        for block in blocks
        for line in block.splitlines()
        if line.startswith("counterpoint study")
    ]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_of_the_page_has_options_that_exist(words, monkeypatch):
    called = []
    monkeypatch.setattr(command, "run_study", lambda named, options: called.append((named, options)))
    assert command_line(*words[1:]).returncode == 0
    assert called[0][0] == "quick"
    assert called[0][1] != Asked()


def test_the_states_of_the_page_are_those_of_the_code():
    table = PAGE.split("## States")[1].split("## Order")[0]
    assert tuple(re.findall(r"^\| (\w+) \|", table, flags=re.MULTILINE)[1:]) == get_args(State)


def test_the_status_names_its_folder(place, capsys):
    asked(status=True)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("folder: runs/mine (there is no such folder yet)", "4 absent")
    Path("runs/mine").mkdir(parents=True)
    asked(status=True)
    assert capsys.readouterr().out.splitlines()[0] == "folder: runs/mine"


@pytest.mark.slow
def test_a_dry_run_checks_and_writes_nothing(place, monkeypatch):
    monkeypatch.setattr(Cost, "problem", lambda cost: "the disk is too small")
    done = command_line("study", "mine.toml", "--dry-run")
    assert done.stdout.splitlines()[-1] == "cannot start here: the disk is too small"
    assert (done.returncode, "now       4 absent" in done.stdout) == (0, True), done.stderr
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["mine.toml"]
