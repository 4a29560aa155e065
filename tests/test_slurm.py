"""Arrays for SLURM, executed by a stand-in for `sbatch` that runs every task of the script."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_studies import QUICK, cell, starter, starts, study, swap

from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments import slurm
from counterpoint.experiments.launch import launch_one, survey
from counterpoint.experiments.slurm import read_site, write_arrays

SBATCH = """#!/bin/bash
# Runs every task of an array script, one after the other, and prints the number of the job.
set -eu
for word in "$@"; do
    case "$word" in
        --dependency=*) echo "$word" >> "$QUEUE.after" ;;
        --parsable) ;;
        *) script=$word ;;
    esac
done
last=$(sed -n 's/^#SBATCH --array=1-\\([0-9]*\\).*/\\1/p' "$script")
for task in $(seq 1 "$last"); do
    SLURM_ARRAY_TASK_ID=$task bash "$script" >> "$QUEUE" 2>&1 || echo "task $task: $?" >> "$QUEUE"
done
echo 7
"""
COUNTERPOINT = """#!/bin/bash
echo "$PWD ${MODULE:-} $*"
case "$*" in *isolated-s1*) exit 3 ;; esac
"""


def program(path, text):
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def submitted(tmp_path, monkeypatch, lines):
    """The output of all tasks of the submitted scripts."""
    program(tmp_path / "sbatch", SBATCH)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "QUEUE": str(tmp_path / "queue")}
    subprocess.run(["bash", "-euc", "\n".join(lines)], env=environment, check=True, timeout=20, cwd="/")
    return (tmp_path / "queue").read_text().splitlines()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder of a study with a space in its name; the scripts call a stand-in for Python."""
    monkeypatch.setattr(slurm.sys, "executable", str(program(tmp_path / "python", COUNTERPOINT)))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "my runs" / "fake"


def site(tmp_path, text):
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return read_site(path)


def test_every_cell_is_a_task_of_the_array_of_its_group(tmp_path, monkeypatch, place):
    large = replace(cell("large", 0), labels={"sharing": "shared", "scale": "4b"})
    fake = study()
    fake = replace(fake, cells=(*fake.cells, large))
    text = (
        '[default]\nparallel = 2\nsetup = ["export MODULE=loaded"]\n[groups.big]\nwhere = { scale = "4b" }\ngpus = 4\n'
    )
    lines = write_arrays(fake, place, site(tmp_path, text), "fake")
    assert len(lines) == 2
    script = (place / "slurm" / "default.sbatch").read_text()
    for option in (
        "--array=1-4%2",
        "--requeue",
        "--open-mode=append",
        "--signal=B:TERM@120",
        "--job-name=fake-default",
    ):
        assert f"#SBATCH {option}\n" in script
    assert "--gres" not in script
    assert "#SBATCH --gres=gpu:4\n" in (place / "slurm" / "big.sbatch").read_text()
    said = submitted(tmp_path, monkeypatch, lines)
    began = f"{tmp_path} loaded -m counterpoint study fake --seeds 0,1 --out {place} --cell"
    names = ["shared-s0", "isolated-s0", "shared-s1", "isolated-s1"]
    assert said == [*(f"{began} {name}" for name in names), "task 4: 3", f"{began} large-s0"]


@pytest.mark.slow
def test_the_tasks_create_and_resume_the_cells_and_submitted_again_they_run_nothing_twice(tmp_path, monkeypatch):
    root = Path(__file__).parent.parent
    runner = f"exec {sys.executable} {root / 'tests' / 'fake_studies.py'}"
    python = f'#!/bin/bash\nexport PYTHONPATH={root}:{root / "tests"}\n{runner} "$@"\n'
    monkeypatch.setattr(slurm.sys, "executable", str(program(tmp_path / "python", python)))
    fake, folder = study(seeds=(0,)), tmp_path / "study"
    lines = write_arrays(fake, folder, site(tmp_path, ""), "fake")
    monkeypatch.undo()
    started(tmp_path, fake, folder)
    for _ in range(2):
        assert submitted(tmp_path, monkeypatch, lines) == []
        assert starts(folder) == [("train", "shared-s0"), ("resume", "shared-s0"), ("train", "isolated-s0")]
    assert [found.state for found in survey(fake, folder).values()] == ["finished", "finished"]


def started(tmp_path, fake, folder):
    """The first cell was interrupted in its third step."""
    start = starter(fake, tmp_path / "scratch", {"shared-s0": "fails late"})
    launch_one(fake, folder, "shared-s0", rules=QUICK, start=start)
    (folder / "shared-s0" / "failure.json").unlink()


def test_the_controls_are_an_array_that_starts_after_the_others(tmp_path, monkeypatch, place):
    fake = study(groups=("shared",), measures=(swap("shared-s0"),))
    lines = write_arrays(fake, place, site(tmp_path, ""), "fake")
    said = submitted(tmp_path, monkeypatch, lines)
    assert said[-1].endswith("--cell shared-s0/swap")
    assert (tmp_path / "queue.after").read_text() == "--dependency=afterany:7\n"


def test_more_jobs_than_an_array_may_have_are_several_arrays(tmp_path, monkeypatch, place):
    monkeypatch.setattr(slurm, "_MOST", 3)
    fake = study(seeds=(5, 7), measures=(swap("shared-s5"), swap("shared-s7")))
    lines = write_arrays(fake, place, site(tmp_path, ""), "fake")
    said = submitted(tmp_path, monkeypatch, lines)
    names = ["shared-s5", "isolated-s5", "shared-s7", "isolated-s7", "shared-s5/swap", "shared-s7/swap"]
    assert [one.rpartition(" ")[2] for one in said] == names
    assert all("study fake --seeds 5,7 --out" in one for one in said)
    assert (tmp_path / "queue.after").read_text() == "--dependency=afterany:7:7\n"


def test_a_folder_whose_name_has_the_sign_of_a_pattern_keeps_it(tmp_path, place):
    folder = place.with_name("100%A")
    write_arrays(study(), folder, site(tmp_path, ""), "fake")
    assert f'--output="{folder.parent}/100%%A/logs/slurm-%A_%a.out"' in (folder / "slurm/default.sbatch").read_text()


def test_the_lines_of_a_site_may_read_variables_that_are_not_set(tmp_path, monkeypatch, place):
    lines = write_arrays(
        study(seeds=(0,)), place, site(tmp_path, "[default]\nsetup = ['echo \"$NOT_SET\" >&2']\n"), "fake"
    )
    assert len([one for one in submitted(tmp_path, monkeypatch, lines) if "--cell" in one]) == 2


def test_a_list_of_cells_is_frozen(tmp_path, place):
    write_arrays(study(), place, site(tmp_path, ""), "fake")
    write_arrays(study(), place, site(tmp_path, ""), "fake")
    with pytest.raises(RunError, match=r"default\.cells lists other cells than the study has now"):
        write_arrays(study(seeds=(0,)), place, site(tmp_path, ""), "fake")


def test_a_study_by_its_file_is_named_by_its_whole_path(tmp_path, place):
    (tmp_path / "mine.toml").write_text("")
    write_arrays(study(), place, site(tmp_path, ""), "mine.toml")
    assert f"study {tmp_path / 'mine.toml'} --seeds 0,1 --out" in (place / "slurm" / "default.sbatch").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[defaults]\n", "unknown key 'defaults'; did you mean 'default'?"),
        ("[default]\ncpu = 3\n", "unknown key in [default] 'cpu'; did you mean 'cpus'?"),
        ("[default]\ncpus = 0\n", "default.cpus = 0: input should be greater than or equal to 1"),
        ("[groups.big]\ngpus = 1\n", "groups.big.where is required"),
        ("[groups.controls]\nwhere = {}\n", "groups.controls: choose another name"),
        ("[groups.'a b']\nwhere = {}\n", "groups.a b: choose another name"),
        ("default = \n", "site.toml: "),
        ("default = 3\n", "site.toml: default = 3: a table is expected, [default]"),
        ("groups = 3\n", "site.toml: groups = 3: a table is expected, [groups]"),
        ("groups.big = 3\n", "site.toml: groups.big = 3: a table is expected, [groups.big]"),
    ],
)
def test_a_wrong_site_is_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError) as told:
        site(tmp_path, text)
    assert message in str(told.value)
    assert len(str(told.value).splitlines()) == 1


def test_a_group_without_cells_is_named(tmp_path, place):
    with pytest.raises(ConfigError, match=r"groups\.big\.where: no cell of fake has scale = 9b"):
        write_arrays(study(), place, site(tmp_path, '[groups.big]\nwhere = { scale = "9b" }\n'), "fake")
    with pytest.raises(ConfigError, match=r"--slurm .*nowhere\.toml: .*there is no such file"):
        read_site(Path(tmp_path / "nowhere.toml"))


def test_a_group_of_which_a_part_of_the_study_has_no_cell_has_no_array(tmp_path, place):
    text = '[groups.big]\nwhere = { sharing = "shared" }\n'
    whole = study()
    part = replace(whole, cells=tuple(one for one in whole.cells if one.labels["sharing"] == "isolated"))
    (line,) = write_arrays(part, place, site(tmp_path, text), "fake")
    assert line.endswith("default.sbatch'")
    assert sorted(path.name for path in (place / "slurm").iterdir()) == ["default.cells", "default.sbatch"]
    for wrong in ("sharing = 'share'", "sharing = 'shared', scale = '4b'"):
        with pytest.raises(ConfigError, match=r"groups\.big\.where: no cell of fake has sharing = share"):
            write_arrays(part, place, site(tmp_path, f"[groups.big]\nwhere = {{ {wrong} }}\n"), "fake")


def test_the_interpreter_of_the_scripts_is_this_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_arrays(study(), tmp_path / "fake", site(tmp_path, ""), "fake")
    assert sys.executable in (tmp_path / "fake" / "slurm" / "default.sbatch").read_text()
