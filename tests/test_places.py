"""Files, runs and models that are named: found where a user means them, and missed at once and without an engine."""

import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint.errors import ConfigError, RunError
from counterpoint.models import is_on_hub
from counterpoint.recipe import config_from, load_config
from counterpoint.run import Run
from counterpoint.run_files import step_of


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The folder of a recipe, and the current directory, which is another one."""
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside, here):
        (folder / "model").mkdir(parents=True)
        (folder / "both.jsonl").touch()
    (beside / "recipe.jsonl").touch()
    (here / "here.jsonl").touch()
    (here / "adapter").mkdir()
    monkeypatch.chdir(here)
    return beside, here


def read(beside, text, *overrides):
    (beside / "run.toml").write_text(text)
    return load_config(beside / "run.toml", overrides)


def task_path(beside, text, *overrides):
    return read(beside, text, *overrides).task.options["path"]


def test_a_file_of_a_recipe_is_looked_for_beside_it_first_and_one_of_an_override_in_the_current_directory_first(
    folders,
):
    beside, here = folders
    assert task_path(beside, 'task = {name="questions", path="recipe.jsonl"}') == str(beside / "recipe.jsonl")
    assert task_path(beside, 'task = {name="questions", path="here.jsonl"}') == str(here / "here.jsonl")
    assert task_path(beside, 'task = {name="questions", path="both.jsonl"}') == str(beside / "both.jsonl")
    assert task_path(beside, "", 'task={name="questions", path="both.jsonl"}') == str(here / "both.jsonl")
    assert task_path(beside, "", "task.name=questions", "task.path=recipe.jsonl") == str(beside / "recipe.jsonl")


def test_adapters_models_and_files_of_splits_are_looked_for_in_the_same_way(folders):
    beside, here = folders
    config = read(
        beside,
        '[task]\nname = "questions"\npath = "both.jsonl"\ntest = "recipe.jsonl"\nvalidation = "a word"\n'
        '[policies]\nadapter = "adapter"\n[policy.a.model]\npath = "model"\n[policy.b]\nadapter = "adapter"\n',
    )
    assert config.task.options["test"] == str(beside / "recipe.jsonl")
    assert config.task.options["validation"] == "a word"
    assert config.policies.adapter == config.policy["b"].adapter == str(here / "adapter")
    assert config.policy["a"].model.path == str(beside / "model")
    assert config.model.path == "micro-medium"


def test_copies_of_known_sets_and_files_in_the_place_of_a_set_are_looked_for_in_the_same_way(folders):
    beside, here = folders
    config = read(
        beside,
        '[task]\nname = "mathematics"\ncopies = {gsm8k = "recipe.jsonl"}\n'
        'sets = {train = ["gsm8k", "here.jsonl"], test = "both.jsonl", validation = "model"}\n',
        "task.copies.amc=adapter",
    )
    assert config.task.options["copies"] == {"gsm8k": str(beside / "recipe.jsonl"), "amc": str(here / "adapter")}
    assert config.task.options["sets"] == {
        "train": ["gsm8k", str(here / "here.jsonl")],
        "test": str(beside / "both.jsonl"),
        "validation": "model",
    }


@pytest.mark.parametrize("key", ["task.path", "model.path", "policies.adapter"])
def test_the_home_folder_of_nobody_is_an_error_in_one_line(folders, key):
    with pytest.raises(ConfigError, match=rf"^{key} = '~nobody-here/x': this machine has no home folder of that user$"):
        read(folders[0], 'task = "questions"', f"{key}=~nobody-here/x")


@pytest.mark.parametrize(
    "override", ["task.path=nowhere.jsonl", "policies.adapter=nowhere", "policy.a.adapter=nowhere"]
)
def test_a_file_that_is_nowhere_is_an_error_that_says_where_it_was_looked_for(folders, override):
    beside, here = folders
    key, _, value = override.partition("=")
    with pytest.raises(ConfigError) as raised:
        read(beside, 'task = "questions"', override)
    assert str(raised.value) == f"{key} = {value!r}: there is no such file or folder; looked in {here} and in {beside}"


@pytest.mark.parametrize(
    ("name", "on_hub"),
    [
        ("Qwen/Qwen3-0.6B", True),
        ("micro-medium", False),
        ("gpt2", False),
        ("runs/first", False),
        ("model/part", False),
        ("a/b/c", False),
        ("./org/name", False),
        ("/org/name", False),
        ("org/name.gguf", False),
        ("package:llm/x.gguf", False),
    ],
)
def test_only_what_looks_like_a_name_on_the_hub_is_one(folders, name, on_hub):
    assert is_on_hub(name) == on_hub


def test_a_run_that_is_not_there_is_said_with_the_nearest_that_is(folders):
    for name in ("first", "second"):
        Run.create(Path("runs") / name, config_from({}), {}).close()
    for wrong in ("runs/frist", "frist"):
        with pytest.raises(RunError, match=rf"{wrong} is not a run directory: .* did you mean 'runs/first'"):
            Run.read(wrong)
    with pytest.raises(RunError, match=r"zzz is not a run directory: there is nothing of that name$"):
        Run.read("zzz")
    with pytest.raises(RunError, match=r"model is not a run directory: it has no config.toml and run.json"):
        Run.read("model")


def test_a_step_is_typed_as_a_number_or_as_a_name():
    assert [step_of(text) for text in (None, "0", "12", "peak", "best", "last")] == [
        None,
        0,
        12,
        "peak",
        "best",
        "last",
    ]
    for text in ("-1", "pek", "1.5", ""):
        with pytest.raises(ConfigError, match="allowed are the number of a step, peak, best and last"):
            step_of(text)


COMMANDS = """
import contextlib, io, sys
from counterpoint.cli.main import main

for command in sys.argv[1:]:
    sys.argv = ["counterpoint", *command.split()]
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.suppress(SystemExit):
        main()
    print(error.getvalue().strip().split(" allowed:")[0])
print("torch" in sys.modules, "transformers" in sys.modules)
"""


def test_a_mistyped_run_or_model_is_found_by_every_command_before_an_engine_is_imported(folders):
    with Run.create("runs/first", config_from({}), {}):
        pass
    near = "runs/frist is not a run directory: there is nothing of that name; did you mean 'runs/first'?"
    commands = {
        "evaluate runs/frist": "'runs/frist' is neither a run nor a model: there is no such model; did you mean"
        " 'runs/first'?",
        "evaluate micro-medum": "'micro-medum' is neither a run nor a model: there is no such model; did you mean"
        " 'micro-medium'?",
        "evaluate runs/first --against runs/frist": near,
        "evaluate runs/first model.path=nofolder": "runs/first has no checkpoint; there are: none",
        "evaluate runs/first --step 3": "runs/first has no checkpoint of step 3; there are: none",
        "export runs/frist --policy a --out x": near,
        "serve runs/frist": near,
        "resume runs/frist": near,
        "show runs/frist": near,
        "diagnose runs/frist": near,
        "train voting_arithmetic model.path=nofolder": "model.path = 'nofolder': there is no such model;",
    }
    found = subprocess.run(
        [sys.executable, "-c", COMMANDS, *commands], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout.splitlines() == [*(f"error: {message}" for message in commands.values()), "False False"]
