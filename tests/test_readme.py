"""The README's commands and its Python, run in order as they stand there, with less to train."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import command_line

from counterpoint.analysis.signatures import SIGNATURES
from counterpoint.interventions import INTERVENTIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARITHMETIC = [f"{workflow}_arithmetic" for workflow in ("voting", "evaluator_optimizer", "orchestrator_workers")]
TEXTS = {"README": README} | {
    name: (ROOT / "recipes" / name / "README.md").read_text()
    for name in (*ARITHMETIC, "voting_synthesis", "study_parity", "matched")
}
SMALL = [
    "task.train=64",
    "task.validation=4",
    "task.test=6",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "run.steps=2",
    "run.threads=1",
]


def commands(text):
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("counterpoint ")]


def smaller(command):
    """The command, with less to train: two seeds, of advice what fits into seconds; the viewer writes its pages."""
    if command[0] == "advise":
        hurry = ["--minutes", "0.5", "--steps", "2", "--anyway"]
        return [*command[:2], *SMALL, *hurry]
    if command[0] == "view":
        return [*command, "--bundle", "bundle"]  # the same pages as files, so that the command ends
    return [word.replace("0,1,2", "0,1") for word in [*command, *SMALL]] if command[0] == "train" else command


def test_the_readme_has_every_command():
    assert {command[0] for command in commands(README)} == {
        "doctor",
        "train",
        "resume",
        "evaluate",
        "export",
        "show",
        "diagnose",
        "init",
        "recipes",
        "runs",
        "report",
        "view",
        "advise",
        "compare",
        "study",
    }


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_readme_counts_what_there_is():
    signatures, interventions = re.search(r"(\d+) failure signatures and (\d+) interventions", README).groups()
    assert (int(signatures), int(interventions)) == (len(SIGNATURES.members), len(INTERVENTIONS.members))


@pytest.mark.slow
def test_the_python_of_the_readme_is_a_script(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code.splitlines()) <= 24
    smaller_code, places = re.subn(r'^( +)"run.steps=\d+",$', rf"\1*{SMALL!r},", code, flags=re.MULTILINE)
    assert places == 1
    (tmp_path / "script.py").write_text(smaller_code)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run: runs/mine" in done.stdout
    assert "with the base as aggregator" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_every_command_works_as_it_stands(tmp_path, name):
    text = TEXTS[name]
    assert commands(text)
    for command in commands(text):
        done = command_line(*smaller(command), folder=tmp_path)
        allowed = (0, 1) if command[0] == "doctor" else (0,)  # a busy machine is a problem that doctor reports
        assert done.returncode in allowed, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        assert "Warning" not in done.stderr, done.stderr


def test_the_tree_names_every_file_and_folder_of_the_package():
    package = ROOT / "counterpoint"
    page = (ROOT / "docs" / "code.md").read_text()
    tree = page[page.index("```\ncounterpoint/\n") :]
    named = set(re.findall(r"^  ([a-z_]+(?:\.py|/))", tree, flags=re.MULTILINE))
    there = {path.name for path in package.glob("*.py")} | {f"{path.parent.name}/" for path in package.glob("*/*.py")}
    assert named == there - {"__init__.py", "__main__.py"}
