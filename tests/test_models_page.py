"""The page about models: its recipes are recipes, its commands can be planned, its tables name what there is."""

import json
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from torch_build import session_folder

from counterpoint.config import LongPrompts, ModelConfig, Thinking
from counterpoint.models import MICRO_MODELS
from counterpoint.plan.plan import plan
from counterpoint.presets import PRESETS, preset
from counterpoint.recipe import config_from, load_config
from counterpoint.testing.tiny_qwen3 import tiny_qwen3_folder

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "models.md").read_text()
WORKFLOWS_PAGE = (ROOT / "docs" / "workflows.md").read_text()
README = (ROOT / "README.md").read_text()


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("text", [*blocks(PAGE, "toml"), *blocks(WORKFLOWS_PAGE, "toml")])
def test_every_recipe_of_the_page_is_one(text):
    config = config_from(tomllib.loads(text))
    for name in config.policy:
        config.policy_settings(name)


def test_the_judge_of_the_page_is_larger_frozen_and_thinks():
    (text,) = blocks(WORKFLOWS_PAGE, "toml")
    judge = config_from(tomllib.loads(text)).policy_settings("critic")
    assert (judge.model.path, judge.model.thinking, judge.trainable) == ("Qwen/Qwen3-4B", "on", False)


def test_the_page_names_every_key_of_a_model_and_every_word_for_them():
    for name in ModelConfig.model_fields:
        assert f"`{name}`" in PAGE or f"`model.{name}`" in PAGE, name
    rows = re.findall(r'^\| `"(\w+)"`', PAGE, flags=re.MULTILINE)
    assert rows == list(get_args(Thinking))
    assert all(f'"{word}"' in PAGE for word in get_args(LongPrompts))
    assert all(f"`{name}`" in PAGE for name in MICRO_MODELS)


def test_the_page_has_every_preset_with_its_model_and_budget():
    rows = re.findall(r"^\| `(qwen3\S+)` \| `(\S+)` \| ([\d,]+) \|", PAGE, flags=re.MULTILINE)
    expected = [
        (name, preset(name)["model"]["path"], f"{preset(name)['learner']['max_tokens_per_micro_batch']:,}")
        for name in PRESETS
    ]
    assert rows == expected


@cache
def problems():
    """Sums, in the columns that the task reads if it is told nothing."""
    path = session_folder() / "problems.jsonl"
    rows = [{"problem": f"What is {a} + {b}?", "answer": str(a + b)} for a in range(20) for b in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def three_arguments():
    """What the page changes about the laptop recipe."""
    (command,) = blocks(PAGE, "bash")
    program, verb, recipe, *added = shlex.split(command)
    assert (program, verb, recipe) == ("counterpoint", "train", "voting_arithmetic")
    return added


def test_from_the_laptop_recipe_to_qwen3_it_is_three_arguments():
    added = three_arguments()
    assert len(added) == 3
    assert added[0] in README
    local = [word.replace("data/problems.jsonl", str(problems())) for word in added]
    folder = tiny_qwen3_folder(session_folder() / "page")
    config = load_config("voting_arithmetic", [*local, f"model.path={folder}", "run.threads=1"])
    made = plan(load_config("voting_arithmetic", [*local, f"model.path={folder}", "run.threads=1", "model.device=cpu"]))
    assert made.calls_per_step == 64 * 8 * 4
    assert (config.model.device, config.model.dtype, config.policies.rank) == ("cuda", "bfloat16", 64)
    assert (config.rollout.max_tokens, config.rollout.max_prompt_tokens) == (5120, 20480)
    assert config.workflow == load_config("voting_arithmetic").workflow
    assert config.policies.sharing == load_config("voting_arithmetic").policies.sharing


def test_the_three_arguments_name_the_real_model():
    added = three_arguments()
    local = [word.replace("data/problems.jsonl", str(problems())) for word in added]
    assert load_config("voting_arithmetic", local).model.path == "Qwen/Qwen3-1.7B"
