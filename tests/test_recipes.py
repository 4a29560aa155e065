"""Every recipe that ships is a recipe, and can be planned where there is neither a GPU nor a hub."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from torch_build import session_folder

from counterpoint.plan.plan import plan
from counterpoint.recipe import load_config
from counterpoint.testing.tiny_qwen3 import tiny_qwen3_folder

ROOT = Path(__file__).parent.parent
RECIPES = sorted(path.parent.name for path in ROOT.glob("recipes/*/run.toml"))
WORKFLOWS = ("voting", "evaluator_optimizer", "orchestrator_workers")
STUDY = [f"{workflow}_{task}" for workflow in WORKFLOWS for task in ("mathematics", "programs")]


@cache
def tiny():
    return tiny_qwen3_folder(session_folder() / "recipes")


@cache
def dapo_math():
    """As many sums as DAPO-Math has problems, in its columns."""
    pairs = [(a, b) for a in range(118) for b in range(120)][:14_116]
    rows = {"prompt": [f"What is {a} + {b}?" for a, b in pairs], "solution": [str(a + b) for a, b in pairs]}
    path = session_folder() / "dapo_math.parquet"
    pl.DataFrame(rows).write_parquet(path)
    return path


@cache
def deepcoder():
    """Some problems in the columns of DeepCoder's subset primeintellect; one cannot be used."""
    tests = [{"type": "stdin_stdout", "input": "1\n", "output": "2\n"}]
    rows = {
        "problem": [f"Read a number and add {number}." for number in range(200)],
        "solutions": [["print(int(input()) + 1)"]] * 200,
        "tests": [json.dumps(tests)] * 199 + ["[]"],
    }
    folder = session_folder() / "primeintellect"
    folder.mkdir()
    pl.DataFrame(rows).write_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def here(name):
    """Overrides that put what is at hand in place of what a recipe needs."""
    local = [f"model.path={tiny()}", "model.device=cpu", "run.threads=1"]
    if name.endswith("_mathematics"):
        return [*local, f"task.copies.dapo_math={dapo_math()}"]
    return [*local, "task.dataset=", f"task.path={deepcoder()}"] if name.endswith("_programs") else local


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_planned(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    made = plan(load_config(name, here(name)))
    assert made.calls_per_step > 0
    assert f"{made.splits['train']} train" in "\n".join(made.lines())


def test_the_recipes_of_the_study_are_all_there():
    assert set(STUDY) <= set(RECIPES)


@pytest.mark.parametrize("name", STUDY)
def test_a_recipe_of_the_study_has_its_settings(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_config(name)
    assert (config.model.path, config.model.dtype, config.model.device) == ("Qwen/Qwen3-1.7B", "bfloat16", "cuda")
    rollout = config.rollout
    assert (rollout.tasks_per_step, rollout.group_size, rollout.temperature) == (64, 8, 0.7)
    refining, mathematics = name.startswith("evaluator"), name.endswith("mathematics")
    lengths = (30_720 if refining else 20_480, 5120) if mathematics else (10_240, 2048)
    assert (rollout.max_prompt_tokens, rollout.max_tokens) == lengths
    assert config.workflow.options == (
        {"rounds": 3 if mathematics else 2, "transcripts": "joint"}
        if refining
        else {"votes": 3}
        if name.startswith("voting")
        else {"workers": 3}
    )


@pytest.mark.parametrize("name", [*STUDY, "study_parity", "matched"])
def test_a_recipe_of_the_study_clips_and_warms_up_as_the_study_did(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_config(name)
    clip = config.algorithm.loss.options
    assert (config.algorithm.loss.name, clip["low"], clip["high"], clip["dual"]) == ("clip", 0.2, 0.28, 3.0)
    for overrides in ([], ["policies.sharing=shared"], ["policies.sharing=isolated"], ["preset=qwen3-0.6b"]):
        policies = load_config(name, overrides).policies
        assert (policies.warmup, policies.warmup_from_zero) == (15, True)
        # In `matched` nothing but the routing differs between the sharings.
        assert policies.warmup_clock == ("policy" if name == "matched" else "all")


def test_mathematics_is_divided_as_in_the_study(monkeypatch):
    monkeypatch.chdir(ROOT)
    splits = plan(load_config("voting_mathematics", here("voting_mathematics"))).splits
    assert (splits["test"], splits["validation"]) == (1412, 256)
    assert 0.88 * 12_704 < splits["train"] < 0.92 * 12_704


@pytest.mark.parametrize("name", STUDY)
def test_the_commands_of_a_recipe_of_the_study_are_recipes(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "recipes" / name / "README.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(commands) == 2
    for command in commands:
        assert command[:3] == ["counterpoint", "train", name]
        plan(load_config(name, [*(word for word in command[3:] if "=" in word), *here(name)]))


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_needs_a_module_that_only_a_clone_has(name):
    module, _, own = load_config(name).workflow.name.partition(":")
    beside = ROOT / "recipes" / name / f"{module}.py"
    assert not own or module.startswith("counterpoint.") or beside.is_file()
