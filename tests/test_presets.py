"""Presets: what a recipe stands on, and what an override lays over it."""

import re
import tomllib

import pytest

from counterpoint.api import check_evaluation
from counterpoint.config import Config
from counterpoint.controlled import Ask, Control
from counterpoint.errors import ConfigError
from counterpoint.presets import PRESETS, preset
from counterpoint.recipe import config_from, load_config, override_table
from counterpoint.runtimes import processes

STUDY = {
    "policies": {
        "rank": 64,
        "alpha": 32.0,
        "learning_rate": 2e-5,
        "warmup": 15,
        "warmup_from_zero": True,
        "schedule": "constant",
        "weight_decay": 0.01,
        "gradient_clip": 1.0,
    },
    "rollout": {
        "tasks_per_step": 64,
        "group_size": 8,
        "max_tokens": 5120,
        "max_prompt_tokens": 20480,
        "temperature": 0.7,
    },
    "evaluation": {"every": 10, "temperature": 0.7},
}


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe and gives its path."""

    def write(text: str):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "path", "budget"),
    [
        ("qwen3-0.6b", "Qwen/Qwen3-0.6B", 51_712),
        ("qwen3-1.7b", "Qwen/Qwen3-1.7B", 40_960),
        ("qwen3-4b", "Qwen/Qwen3-4B", 40_960),
    ],
)
def test_a_preset_is_a_model_on_a_gpu_in_the_settings_of_the_study(name, path, budget):
    table = preset(name)
    assert {section: table[section] for section in STUDY} == STUDY
    assert table["model"] == {
        "path": path,
        "revision": "main",
        "dtype": "bfloat16",
        "device": "cuda",
        "thinking": "off",
    }
    assert table["run"] == {"steps": 500, "save_every": 5, "proof_tolerance": 2.0}
    assert table["learner"] == {"max_tokens_per_micro_batch": budget, "gradient_checkpointing": True}
    config_from(table)


@pytest.mark.parametrize("name", ["qwen3-0.6b", "qwen3-1.7b", "qwen3-4b"])
def test_a_preset_for_eight_gpus_is_that_for_one_in_other_places(name):
    one, eight = preset(name), preset(f"{name}-8gpu")
    assert eight.pop("runtime") == {"name": "ray", "samplers": 4, "learners": 4}
    assert eight.pop("sampler") == {"name": "vllm", "cache_gb": 40.0}
    assert eight.pop("algorithm") == {"old_logprobs": "sampler"}
    assert eight["run"].pop("overlap") == 1
    del one["sampler"]
    assert eight == one
    config = config_from(preset(f"{name}-8gpu"))
    assert processes(config) == (4, 4)


def test_there_are_three_models_each_on_one_gpu_and_on_eight():
    names = ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b")
    assert tuple(name + places for name in names for places in ("", "-8gpu")) == PRESETS


def test_a_recipe_has_the_last_word_over_its_preset(recipe):
    config = load_config(recipe('preset = "qwen3-0.6b"\n[policies]\nrank = 8\n[rollout]\nmax_tokens = 7\n'))
    assert (config.policies.rank, config.policies.alpha, config.policies.warmup) == (8, 32.0, 15)
    assert (config.rollout.max_tokens, config.rollout.tasks_per_step) == (7, 64)
    assert config.model.path == "Qwen/Qwen3-0.6B"
    assert config.workflow == Config().workflow


def test_overrides_and_presets_are_applied_in_their_order(recipe):
    path = recipe('[model]\npath = "mine"\n[policies]\nrank = 8\nsharing = "shared"\n')
    over = load_config(path, ["policies.rank=4", "preset=qwen3-4b", "policies.alpha=1.0"])
    assert (over.model.path, over.policies.rank, over.policies.alpha) == ("Qwen/Qwen3-4B", 64, 1.0)
    assert over.policies.sharing == "shared"
    later = load_config(path, ["preset=qwen3-4b", "policies.rank=4", "model.device=cpu"])
    assert (later.policies.rank, later.model.device, later.model.dtype) == (4, "cpu", "bfloat16")
    last = load_config(path, ["preset=qwen3-4b", 'preset="qwen3-0.6b"'])
    assert last.model.path == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["preset=qwen3-1.7b", "sampler=vllm"], {"sampler": "vllm"}),
        (["sampler=in_process", "preset=qwen3-1.7b-8gpu"], {"sampler": {"name": "vllm", "cache_gb": 40.0}}),
        (
            ["preset=qwen3-1.7b-8gpu", "runtime.timeout=9", "sampler=in_process", "runtime=local"],
            {"sampler": "in_process", "runtime": {"name": "local", "timeout": 9}},
        ),
        (["preset=qwen3-1.7b-8gpu", "algorithm=dapo"], {"algorithm": {"name": "dapo"}}),
        (["algorithm.loss=gspo", "algorithm=dapo"], {"algorithm": {"name": "dapo", "loss": "gspo"}}),
        (["task.path=a", "preset=qwen3-1.7b", "task=questions"], {"task": {"name": "questions", "path": "a"}}),
    ],
)
def test_a_member_that_is_given_after_a_preset_takes_the_place_of_the_presets(overrides, expected):
    found = override_table({}, overrides)
    assert {key: found[key] for key in expected} == expected


def test_a_preset_is_laid_over_a_member_that_the_recipe_names_in_either_way():
    for algorithm in ("dapo", {"name": "dapo"}):
        over = config_from(override_table({"algorithm": algorithm}, ["preset=qwen3-1.7b-8gpu"])).algorithm
        assert (over.name, over.updates, over.old_logprobs) == ("dapo", 16, "sampler")


def test_a_model_that_is_evaluated_stays_itself_under_a_preset():
    ask = Ask("test", 1, None)
    _, config = check_evaluation("micro-small", ["preset=qwen3-1.7b", "model.device=cpu"], ask, Control())
    assert (config.model.path, config.rollout.max_tokens) == ("micro-small", 5120)


def test_a_member_of_a_family_takes_the_place_of_another_and_its_options(monkeypatch):
    monkeypatch.setattr(
        "counterpoint.recipe.preset", lambda name: {"algorithm": {"loss": {"name": "gspo", "low": 0.1}}}
    )
    chosen = config_from({"preset": "x", "algorithm": {"loss": {"name": "clip", "dual": 3.0}}})
    assert (chosen.algorithm.loss.name, chosen.algorithm.loss.options) == ("clip", {"dual": 3.0})
    options = config_from({"preset": "x", "algorithm": {"loss": {"low": 0.3}}})
    assert (options.algorithm.loss.name, options.algorithm.loss.options) == ("gspo", {"low": 0.3})
    over = config_from(override_table({"algorithm": {"loss": {"name": "clip", "dual": 3.0}}}, ["preset=x"]))
    assert (over.algorithm.loss.name, over.algorithm.loss.options) == ("gspo", {"low": 0.1})


def test_what_is_written_out_is_whole_and_names_no_preset(recipe):
    config = load_config(recipe('preset = "qwen3-1.7b"\n[policies]\nrank = 8\n'))
    text = config.toml()
    assert "preset" not in tomllib.loads(text)
    assert 'path = "Qwen/Qwen3-1.7B"' in text
    again = load_config(recipe(text))
    assert again == config
    assert again.toml() == text


def test_a_table_is_left_as_it_was():
    table = {"preset": "qwen3-1.7b", "policies": {"rank": 8}}
    config_from(table)
    override_table(table, ["preset=qwen3-4b"])
    assert table == {"preset": "qwen3-1.7b", "policies": {"rank": 8}}


@pytest.mark.parametrize("written", ["qwen3-1.7", "Qwen3-1.7B"])
def test_an_unknown_preset_comes_with_the_nearest(recipe, written):
    allowed = ", ".join(["qwen3-0.6b", "qwen3-0.6b-8gpu", "qwen3-1.7b", "qwen3-1.7b-8gpu", "qwen3-4b", "qwen3-4b-8gpu"])
    message = rf"unknown preset '.*'; did you mean 'qwen3-1\.7b'\? allowed: {re.escape(allowed)}$"
    with pytest.raises(ConfigError, match=message):
        load_config(recipe(f'preset = "{written}"\n'))
    with pytest.raises(ConfigError, match=message):
        load_config(recipe(""), [f"preset={written}"])


def test_a_key_that_was_meant_to_be_it_is_told_so():
    with pytest.raises(ConfigError, match=r"unknown key 'prset'; did you mean 'preset'\?"):
        config_from({"prset": "qwen3-1.7b"})


@pytest.mark.parametrize("written", ["3", "../presets/qwen3-1.7b", "[1]"])
def test_what_is_no_name_is_refused(recipe, written):
    with pytest.raises(ConfigError, match="unknown preset"):
        load_config(recipe(""), [f"preset={written}"])
