"""`counterpoint init`: what it writes works as it stands, and it takes nobody's place."""

import json
import os
import subprocess
import sys

import pytest
from command_line import command_line

from counterpoint.cli import init
from counterpoint.cli.main import main
from counterpoint.errors import ConfigError
from counterpoint.tasks.questions import questions

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*command, folder):
    arguments = [sys.executable, *map(str, command)]
    done = subprocess.run(
        arguments, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counterpoint(*arguments, folder):
    done = command_line(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def ask(monkeypatch, capsys, tmp_path):
    """A function that runs the command line in the test's folder, and gives its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["counterpoint", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return command


def refused(ask, *arguments):
    status, _, error = ask("init", *arguments)
    assert status == 2
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    return error.removeprefix("error: ").strip()


def test_the_workflow_written_passes_its_own_test(tmp_path):
    printed = run("-m", "counterpoint", "init", "workflow", "my_flow", folder=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_flow.py", "test_my_flow.py"]
    assert "wrote my_flow.py and test_my_flow.py" in printed
    tested = run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_my_flow.py", folder=tmp_path)
    assert "2 passed" in tested


def test_its_test_fails_if_the_workflow_is_broken(tmp_path):
    counterpoint("init", "workflow", "my_flow", folder=tmp_path)
    code = (tmp_path / "my_flow.py").read_text()
    broken = code.replace("if review.judges(", "if not review.judges(")
    assert broken != code
    (tmp_path / "my_flow.py").write_text(broken)
    arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stdout + done.stderr


def test_the_workflow_written_can_be_trained(tmp_path):
    counterpoint("init", "workflow", "my_flow", folder=tmp_path)
    recipe = ("voting_arithmetic", "workflow=my_flow:my_flow", "run.threads=1")
    planned = counterpoint("train", *recipe, "--dry-run", folder=tmp_path)
    assert "solver -> solver, reviewer -> reviewer" in planned
    assert "x 3 calls" in planned


def test_the_commands_printed_are_those_to_go_on_with(ask):
    status, printed, _ = ask("init", "workflow", "my_flow")
    assert status == 0
    assert printed.splitlines()[2:] == [
        "next:",
        "  python -m pytest test_my_flow.py",
        "  counterpoint train voting_arithmetic workflow=my_flow:my_flow --dry-run",
        "  counterpoint train voting_arithmetic workflow=my_flow:my_flow --out runs/my_flow",
    ]


def test_where_pytest_is_missing_the_first_command_installs_it(ask, monkeypatch):
    monkeypatch.setattr(init, "find_spec", lambda name: None)
    _, printed, _ = ask("init", "workflow", "my_flow")
    assert printed.splitlines()[3:5] == ["  pip install pytest", "  python -m pytest test_my_flow.py"]


def test_files_can_go_elsewhere(ask, tmp_path):
    status, printed, _ = ask("init", "workflow", "my_flow", "--into", "deep/down")
    assert status == 0
    assert "wrote deep/down/my_flow.py and deep/down/test_my_flow.py" in printed
    assert "  cd deep/down\n" in printed
    assert (tmp_path / "deep" / "down" / "my_flow.py").is_file()
    assert "  cd 'my files'\n" in ask("init", "task", "my_task", "--into", "my files")[1]


def test_it_says_the_name_wherever_it_must():
    for template in (init.WORKFLOW, init.WORKFLOW_TEST):
        assert "NAME" not in template.replace("NAME", "my_flow")
    assert "async def my_flow(problem: Problem, *, " in init.WORKFLOW.replace("NAME", "my_flow")


def test_lines_are_short_enough():
    lines = [line for template in (init.WORKFLOW, init.WORKFLOW_TEST) for line in template.splitlines()]
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("there", ["my_flow.py", "test_my_flow.py"])
def test_nothing_is_overwritten(ask, tmp_path, there):
    (tmp_path / there).write_text("mine")
    assert f"{there} exists, and nothing was written" in refused(ask, "workflow", "my_flow")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("my-flow", "must be a Python name"),
        ("my flow", "must be a Python name"),
        ("2flow", "must be a Python name"),
        ("my.flow", "must be a Python name"),
        ("flows/mine", "must be a Python name"),
        ("../mine", "must be a Python name"),
        ("", "must be a Python name"),
        ("flöte", "must be a Python name"),
        ("class", "must be a Python name, such as my_flow, and no keyword"),
        ("None", "and no keyword"),
        ("__init__", "must be a Python name"),
        ("_mine", "must be a Python name"),
        ("random", "of a module of Python's standard library"),
        ("sys", "of a module of Python's standard library"),
        ("torch", "of an installed package's module"),
        ("counterpoint", "of an installed package's module"),
        ("yaml", "of an installed package's module"),
        ("problem", "already means something in the files"),
        ("user", "already means something in the files"),
        ("str", "already means something in the files"),
        ("solver", "already means something in the files"),
        ("read_verdict", "already means something in the files"),
        ("check_workflow", "already means something in the files"),
    ],
)
def test_a_name_that_would_take_the_place_of_another_is_refused(ask, tmp_path, name, reason):
    message = refused(ask, "workflow", name)
    assert message.startswith(repr(name))
    assert reason in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my_flow", "Flow2", "debate_of_mine", "draft_first"])
def test_other_names_are_taken(ask, tmp_path, name):
    assert ask("init", "workflow", name)[0] == 0
    compile((tmp_path / f"{name}.py").read_text(), name, "exec")
    assert (tmp_path / f"test_{name}.py").is_file()


def test_a_module_in_the_same_folder_is_no_installed_package(ask, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", *sys.path])
    (tmp_path / "my_flow.py").write_text("mine")
    assert "my_flow.py exists" in refused(ask, "workflow", "my_flow")


def test_a_folder_that_cannot_be_written_to_is_an_error(ask, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file cannot be written to" in refused(ask, "workflow", "my_flow", "--into", "file")


def test_the_questions_written_are_a_task(ask, tmp_path):
    status, printed, _ = ask("init", "task", "my-task")
    assert status == 0
    assert 'task=\'{name="questions", path="my-task.jsonl"}\' --dry-run' in printed
    rows = [json.loads(line) for line in (tmp_path / "my-task.jsonl").read_text().splitlines()]
    for row in rows:
        _, _, one, _, other = row["question"].removesuffix("?").split()
        assert row["answer"] == int(one) + int(other)
    splits = questions(path=str(tmp_path / "my-task.jsonl"))
    assert len(splits.train) >= 16  # as many as a step of the recipe asks for
    assert sum(len(tasks) for tasks in splits.named().values()) == len(rows)


def test_the_questions_written_can_be_trained_on(tmp_path):
    counterpoint("init", "task", "my_task", folder=tmp_path)
    task = 'task={name="questions", path="my_task.jsonl"}'
    planned = counterpoint("train", "voting_arithmetic", task, "run.threads=1", "--dry-run", folder=tmp_path)
    assert "tasks       291 train, 28 validation, 41 test" in planned


@pytest.mark.parametrize("name", ["a/b", "", "..", "a b", "a.b"])
def test_a_task_whose_name_is_no_file_name_is_refused(ask, tmp_path, name):
    assert "cannot be a task's name" in refused(ask, "task", name)
    assert list(tmp_path.iterdir()) == []


def test_questions_are_not_overwritten(ask, tmp_path):
    (tmp_path / "mine.jsonl").write_text("mine")
    assert "mine.jsonl exists" in refused(ask, "task", "mine")
    assert (tmp_path / "mine.jsonl").read_text() == "mine"


def test_init_starts_without_an_engine(tmp_path):
    code = (
        "import sys; from pathlib import Path; from counterpoint.cli.init import write_workflow;"
        "write_workflow('my_flow', Path());"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    assert run("-c", code, folder=tmp_path).splitlines()[-1] == "[]"


def test_nothing_is_written_if_the_name_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        init.write_workflow("random", tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
