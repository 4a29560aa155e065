"""docs/workflows.md: its code is run, its commands are run, its tables name what there is."""

import ast
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import command_line

from counterpoint.testing import workflow_conformance
from counterpoint.testing.workflow_conformance import check_workflow
from counterpoint.workflows import WORKFLOWS
from counterpoint.workflows.base import Reply, Workflow

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "workflows.md").read_text()
SMALL = [
    "task.train=64",
    "task.validation=4",
    "task.test=6",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "rollout.max_tokens=24",
    "run.steps=1",
    "run.threads=1",
]
MODULES = ("second_opinion", "asks_again", "jury", "second_try", "planner_coder_tester")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def files():
    """File name -> code, of the blocks whose first line names their file."""
    named = [re.match(r"# (\w+\.py)\n", block) for block in blocks("python")]
    return {match[1]: block for match, block in zip(named, blocks("python"), strict=True) if match}


def commands():
    """Every command, in order, as a list of words."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
    return [shlex.split(line) for line in lines]


@pytest.fixture
def folder(tmp_path):
    """A folder with the page's files in it."""
    for name, code in files().items():
        (tmp_path / name).write_text(code)
    return tmp_path


@pytest.fixture
def modules(folder, monkeypatch):
    """The page's modules, forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name, None)


def run(arguments, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def test_the_page_has_the_files_it_speaks_of():
    assert set(files()) == {*(f"{name}.py" for name in MODULES), "test_planner_coder_tester.py"}


def test_every_block_of_code_is_python():
    for block in blocks("python"):
        ast.parse(block)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("second_opinion", {}),
        ("asks_again", {}),
        ("jury", {}),
        ("jury", {"led": False, "jurors": 2}),
        ("jury", {"jurors": 1}),
        ("planner_coder_tester", {}),
        ("planner_coder_tester", {"repairs": 2}),
    ],
)
def test_every_workflow_of_the_page_keeps_its_promises(modules, name, options):
    found = getattr(modules[name], name)
    assert isinstance(found, Workflow)
    check_workflow(found.with_options(options))


def test_the_calls_of_the_suite_on_the_page_pass(modules):
    (block,) = [block for block in blocks("python") if "check_workflow(jury)" in block]
    exec(compile(block, "workflows.md", "exec"), {"jury": modules["jury"].jury})


def test_the_tests_of_the_page_pass(folder):
    assert ["python", "-m", "pytest", "test_planner_coder_tester.py"] in commands()
    printed = run([sys.executable, "-m", "pytest", "-W", "error", "test_planner_coder_tester.py"], folder)
    assert "3 passed" in printed


def test_the_tests_of_the_page_fail_without_the_repair(folder):
    code = files()["planner_coder_tester.py"]
    broken = code.replace("return solutions[-1].answer", "return solutions[0].answer")
    assert broken != code
    (folder / "planner_coder_tester.py").write_text(broken)
    arguments = [sys.executable, "-m", "pytest", "test_planner_coder_tester.py"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout


def test_the_page_names_every_check_of_the_suite_in_order():
    named = re.findall(r"^\| `([a-z_]+)` \|", PAGE, flags=re.MULTILINE)
    assert named == [check.__name__ for check in workflow_conformance.CHECKS]


def test_the_page_names_every_claim_that_a_reply_can_make():
    named = set(re.findall(r"^\| `reply\.(\w+)\(", PAGE, flags=re.MULTILINE))
    methods = inspect.getmembers(Reply, inspect.isfunction)
    assert named == {name for name, method in methods if "self._set(" in inspect.getsource(method)}


def test_nobody_here_wrote_the_workflow_of_the_walk_through():
    assert not set(MODULES) & set(WORKFLOWS)


def test_the_page_has_a_command_to_train_and_one_to_look():
    used = [words[1] for words in commands() if words[0] == "counterpoint"]
    assert used == ["init", "train", "train", "train", "show"]


@pytest.mark.slow
def test_every_command_works_as_it_stands(folder):
    for words in commands():
        if words[0] == "python":
            run([sys.executable, *words[1:]], folder)
        else:
            small = SMALL if words[1] == "train" else []
            done = command_line(*words[1:], *small, folder=folder)
            assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
            assert "Warning" not in done.stderr, done.stderr
    assert {path.name for path in (folder / "runs").iterdir()} == {"planned"}
