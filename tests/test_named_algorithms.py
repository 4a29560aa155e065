"""Named algorithms: each is what its paper says, single keys change it, and a run keeps what it was resolved to."""

import sys

import pytest

from counterpoint.algorithms.build import build_algorithm, build_batches, build_loss
from counterpoint.config import AlgorithmConfig
from counterpoint.errors import ConfigError
from counterpoint.presets.algorithms import ALGORITHMS
from counterpoint.recipe import config_from, load_config, override_table

SYMMETRIC = {"name": "clip", "low": 0.2, "high": 0.2}
PAPERS = {
    # name: (credit, advantage, loss, aggregation, kl, updates, without_signal, the rest that is no default)
    "grpo": ("outcome", "grpo", SYMMETRIC, "call", {"name": "k3", "weight": 0.04}, 1, "keep", {}),
    "dapo": (
        *("outcome", "grpo", {"name": "clip", "low": 0.2, "high": 0.28}, "token", "none", 16, "drop"),
        {"resample": 10, "overlong": {"name": "mask"}},
    ),
    "dr_grpo": ("outcome", "dr_grpo", SYMMETRIC, "constant", "none", 1, "keep", {}),
    "rloo": ("outcome", "rloo", "reinforce", "constant", "none", 1, "keep", {}),
    "reinforce_pp": ("outcome", "reinforce_pp", SYMMETRIC, "call", {"name": "k2", "weight": 0.001}, 1, "keep", {}),
    "gspo": ("outcome", "grpo", {"name": "gspo", "low": 0.0003, "high": 0.0004}, "call", "none", 4, "keep", {}),
    "cispo": ("outcome", "grpo", {"name": "cispo", "ratio_max": 5.0}, "token", "none", 16, "drop", {"resample": 10}),
    "sapo": ("outcome", "grpo", {"name": "sapo", "positive": 1.0, "negative": 1.05}, "call", "none", 4, "keep", {}),
    "dr_mas": ("outcome", "role", {**SYMMETRIC, "dual": 3.0}, "token", "none", 1, "keep", {}),
    "at_grpo": (
        *({"name": "mix", "team": 1.0, "own": 1.0, "format": 0.0}, "prompt"),
        *({**SYMMETRIC, "dual": 3.0}, "token", "none", 1, "keep", {}),
    ),
    "spiral": ("own", {"name": "rae", "decay": 0.95}, "reinforce", "constant", "none", 1, "drop", {}),
    "study": (
        *("outcome", "role_slot", {"name": "clip", "low": 0.2, "high": 0.28, "dual": 3.0}, "call", "none", 1, "keep"),
        {"calls_per_update": 512},
    ),
}
"""By hand, from the papers and, where they are silent, from what each file says that it took instead."""
PLAIN = {
    "role_weights": "calls",
    "old_logprobs": "learner",
    "correction": {"name": "none"},
    "calls_per_update": 0,
    "resample": 0,
    "overlong": {"name": "keep"},
}
KEYS = ("credit", "advantage", "loss", "aggregation", "kl", "updates", "without_signal")


def parts(table, overrides=()):
    return config_from(override_table({"algorithm": table}, overrides)).algorithm.model_dump()


def as_table(value):
    return {"name": value} if isinstance(value, str) and value not in ("keep", "drop") else value


def write_module(folder, name, text):
    (folder / f"{name}.py").write_text(text)


@pytest.mark.parametrize("name", PAPERS)
def test_a_named_algorithm_has_the_parts_of_its_paper(name):
    *values, rest = PAPERS[name]
    expected = {key: as_table(value) for key, value in zip(KEYS, values, strict=True)}
    assert parts(name) == {"name": name, **PLAIN, **expected, **rest}


def test_every_named_algorithm_is_checked_above_and_can_be_built():
    assert set(ALGORITHMS) == set(PAPERS)
    for name in ALGORITHMS:
        config = config_from({"algorithm": name})
        build_algorithm(config, ("generator",), {"generator"}), build_loss(config), build_batches(config)


def test_every_named_algorithm_says_its_source_and_its_use_and_is_listed():
    listed = AlgorithmConfig.model_fields["name"].description
    for name in ALGORITHMS:
        text = ALGORITHMS.find(name).__doc__
        assert "arXiv 2" in text, name
        assert "For: " in text, name
        assert f"{name}," in listed.replace("\n", " "), name


def test_an_unknown_algorithm_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"unknown algorithm 'dapoo'; did you mean 'dapo'\? allowed: at_grpo, "):
        parts("dapoo")
    with pytest.raises(ConfigError, match=r"unknown algorithm 'grpoo'; did you mean 'grpo'\?"):
        parts({**parts("grpo"), "name": "grpoo"})


# Single keys


def test_a_recipe_changes_single_keys_of_a_named_algorithm():
    found = parts({"name": "dapo", "updates": 2, "loss": {"high": 0.3}, "overlong": "keep"})
    assert found == {
        **parts("dapo"),
        "updates": 2,
        "loss": {"name": "clip", "low": 0.2, "high": 0.3},
        "overlong": {"name": "keep"},
    }


@pytest.mark.parametrize(
    "overrides",
    [
        ["algorithm=dapo", "algorithm.updates=2"],
        ["algorithm.name=dapo", "algorithm.updates=2"],
        ["algorithm.updates=2", "algorithm.name=dapo"],
        ["algorithm=gspo", "algorithm.updates=2", "algorithm=dapo"],
        ['algorithm={name="dapo", updates=2}'],
    ],
)
def test_the_command_line_names_an_algorithm_in_place_of_the_recipes(overrides):
    recipe = {"credit": "own", "advantage": "role", "loss": "sapo", "updates": 7}
    assert parts(recipe, overrides) == {**parts("dapo"), "updates": 2}


def test_single_keys_on_the_command_line_change_what_the_recipe_names():
    assert parts("dapo", ["algorithm.loss.high=0.3"])["loss"] == {"name": "clip", "low": 0.2, "high": 0.3}
    assert parts("rloo", ["algorithm.loss=clip"])["loss"] == {"name": "clip"}
    assert parts("study", ["algorithm.advantage=role"]) == {**parts("study"), "advantage": {"name": "role"}}


def test_a_loss_from_another_paper_brings_its_aggregation_and_a_key_still_says_otherwise():
    assert parts("dapo", ["algorithm.loss=gspo"])["aggregation"] == {"name": "call"}
    assert parts("gspo", ["algorithm.loss=clip"])["aggregation"] == {"name": "token"}
    assert parts("dapo", ["algorithm.loss=gspo", "algorithm.aggregation=token"])["aggregation"] == {"name": "token"}
    assert parts("gspo", ["algorithm.loss.low=0.1"])["aggregation"] == {"name": "call"}
    assert parts("dapo", ['algorithm.loss={name="clip", low=0.1}'])["aggregation"] == {"name": "token"}


# Aggregation as in the paper


@pytest.mark.parametrize(
    ("table", "aggregation"),
    [
        ({}, "token"),
        ({"loss": "clip"}, "token"),
        ({"loss": "cispo"}, "token"),
        ({"loss": "gspo"}, "call"),
        ({"loss": {"name": "sapo", "positive": 2.0}}, "call"),
        ({"advantage": "reinforce_pp"}, "call"),
        ({"advantage": "dr_grpo"}, "constant"),
        ({"advantage": "dr_grpo", "loss": "gspo"}, "call"),
        ({"loss": "gspo", "aggregation": "paper"}, "call"),
        ({"loss": "gspo", "aggregation": "token"}, "token"),
        ({"loss": "my_module:my_loss"}, "token"),
    ],
)
def test_without_an_aggregation_it_is_that_of_the_paper(table, aggregation):
    assert parts(table)["aggregation"] == {"name": aggregation}


def test_the_default_is_resolved_in_python_too():
    assert AlgorithmConfig().aggregation.name == "token"
    assert AlgorithmConfig.model_validate({"loss": "gspo"}).aggregation.name == "call"


# What a run keeps


@pytest.mark.parametrize("name", PAPERS)
def test_what_is_written_out_is_complete_and_reads_back_the_same(name, tmp_path):
    config = config_from({"algorithm": {"name": name, "loss": "gspo", "updates": 3, "calls_per_update": 0}})
    (tmp_path / "config.toml").write_text(config.toml())
    assert load_config(tmp_path / "config.toml") == config
    assert set(AlgorithmConfig.model_fields) == set(config.algorithm.model_dump(exclude_none=True))


def test_a_finished_recipe_keeps_its_parts_whatever_the_name_means_by_now(tmp_path, monkeypatch):
    config = config_from({"algorithm": {"name": "dapo", "updates": 3}})
    (tmp_path / "config.toml").write_text(config.toml())
    monkeypatch.setattr("counterpoint.presets.algorithms.dapo.dapo", lambda: {"updates": 9, "loss": "sapo"})
    assert load_config(tmp_path / "config.toml") == config
    assert load_config(tmp_path / "config.toml", ["algorithm=gspo"]).algorithm.loss.name == "gspo"


# One's own


@pytest.fixture
def beside(tmp_path):
    """A folder whose modules are forgotten afterwards."""
    yield tmp_path
    for name in ("my_algorithms",):
        sys.modules.pop(name, None)


def test_an_algorithm_of_ones_own_is_a_function_that_returns_the_keys_beside_the_recipe(beside):
    write_module(
        beside, "my_algorithms", "def wide():\n    return {'loss': {'name': 'clip', 'high': 0.5}, 'updates': 2}\n"
    )
    (beside / "run.toml").write_text('algorithm = "my_algorithms:wide"\n')
    found = load_config(beside, ["algorithm.loss.low=0.1"])
    assert found.algorithm.loss.options == {"high": 0.5, "low": 0.1}
    assert (found.algorithm.updates, found.algorithm.name) == (2, "my_algorithms:wide")
    (beside / "my_algorithms.py").unlink()
    (beside / "config.toml").write_text(found.toml())
    assert load_config(beside / "config.toml") == found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return 3", r"algorithm 'my_algorithms:bad' must return a table of keys of \[algorithm\], not int"),
        ("return {'los': 'clip'}", r"unknown key in \[algorithm\] 'los'; did you mean 'loss'\?"),
        ("return {'updates': 0}", r"algorithm\.updates = 0: .*greater than or equal to 1"),
    ],
)
def test_an_algorithm_of_ones_own_that_makes_no_sense_is_one_line(beside, body, message):
    write_module(beside, "my_algorithms", f"def bad():\n    {body}\n")
    (beside / "run.toml").write_text('algorithm = "my_algorithms:bad"\n')
    with pytest.raises(ConfigError, match=message):
        load_config(beside)
