"""A run is made longer, or another key of it is changed that may be: exactly the run that began with it."""

import json
import shutil

import numpy as np
import pytest
from rich.console import Console
from torch_build import session_folder, start, trained

from counterpoint.api import config_of, resume
from counterpoint.cli.train import _recommend_peak
from counterpoint.errors import ConfigError, RunError
from counterpoint.extension import MAY_CHANGE, _may_change, differences, extend, extended
from counterpoint.keep import regular_checkpoints
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.starting import begin, reopen

SHORT = {
    "task": {"validation": 2, "test": 2},
    "policies": {"sharing": "isolated"},
    "rollout": {"tasks_per_step": 2, "group_size": 4, "max_tokens": 5},
    "evaluation": {"every": 2},
    "run": {"steps": 3, "save_every": 2, "proof_calls": 2},
}
LONG = {**SHORT, "run": {**SHORT["run"], "steps": 5}}


def without_times(run):
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in run.metric_rows()]


def weights(run, step):
    return {path.parent.name: path.read_bytes() for path in run.checkpoint_path(step).rglob("adapter_model*")}


def test_a_finished_run_that_is_extended_is_the_run_that_was_so_long_from_the_beginning(tmp_path):
    folder = session_folder()
    whole = trained(start(folder / "whole", LONG))
    short = trained(start(tmp_path / "run", SHORT))
    assert [row["step"] for row in short.evaluation_rows() if row["split"] == "test"] == [0, 2, 3]
    short.close()
    trained_with(short.path, "run.steps=5")
    found = Run.read(short.path)
    assert without_times(found) == without_times(whole)
    assert found.evaluation_rows() == whole.evaluation_rows()
    assert found.summary == whole.summary
    assert weights(found, 5) == weights(whole, 5)
    assert (found.path / "config.toml").read_bytes() == (whole.path / "config.toml").read_bytes()
    assert found.facts.pop("changes") == [{"step": 3, "what": "run.steps", "before": 3, "after": 5}]
    assert found.facts["config_sha256"] == whole.facts["config_sha256"]


@pytest.mark.parametrize("interrupted", [{}, {"interrupted": True, "evaluation": None}])
def test_a_run_that_is_shortened_to_where_it_stands_is_the_run_that_was_so_short_from_the_beginning(
    tmp_path, interrupted
):
    whole = trained(start(tmp_path / "whole", {**SHORT, "run": {**SHORT["run"], "save_every": 3}}))
    run = trained(start(tmp_path / "run", {**LONG, "run": {**LONG["run"], "save_every": 3}}))
    shutil.rmtree(run.checkpoint_path(5))
    (run.path / "summary.json").unlink()
    state = run.checkpoint_path(3) / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), **interrupted}))
    found = resume(run.path, "run.steps=3", progress=False)
    assert [row["step"] for row in found.evaluation_rows() if row["split"] == "test"] == [0, 2, 3]
    assert found.evaluation_rows() == whole.evaluation_rows()
    assert found.summary == whole.summary
    assert without_times(found) == without_times(whole)
    assert (regular_checkpoints(found), weights(found, 3)) == ([0, 3], weights(whole, 3))
    assert (found.path / "config.toml").read_bytes() == (whole.path / "config.toml").read_bytes()


@pytest.fixture
def run(tmp_path):
    with begin(config_from({"run": {"steps": 6, "save_every": 2}}), tmp_path / "run", "r", []) as made:
        made.note({"routing": {"generator": "generator", "aggregator": "aggregator"}})
        made.checkpoint(4, {}, {"digests": {}, "stopped": None})
    return made


def changed(run, *overrides):
    with reopen(run.path, overrides) as again:
        extend(again, overrides)
        return again


def trained_with(path, *overrides):
    with reopen(path, overrides) as again:
        extend(again, overrides)
        return trained(again)


def test_a_run_may_be_made_longer_or_shorter_and_saved_at_other_steps_and_is_written_down_so(run):
    again = changed(run, "run.steps=9", "run.save_every=3")
    assert (again.config.run.steps, again.config.run.save_every) == (9, 3)
    assert Run.read(run.path).config == again.config
    assert [(row["what"], row["before"], row["after"]) for row in run.facts["changes"]] == [
        ("run.steps", 6, 9),
        ("run.save_every", 2, 3),
    ]
    assert changed(run, "run.steps=5").config.run.steps == 5
    assert len(run.facts["changes"]) == 3
    changed(run, "run.steps=5")
    assert len(run.facts["changes"]) == 3, "what is as it was is no change"
    reopen(run.path).close()


def test_paths_that_are_named_anew_are_absolute_and_others_stay_as_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "elsewhere", "tiny"):
        (tmp_path / folder).mkdir()
    table = {"task": {"name": "questions", "path": str(tmp_path / "data")}, "model": {"path": "tiny"}}
    with begin(config_from(table), tmp_path / "run", "r", []) as run:
        pass
    again = extended(run, ["task.path=elsewhere"])
    assert (again.task.options["path"], again.model.path) == (str(tmp_path / "elsewhere"), "tiny")
    with pytest.raises(ConfigError, match=r"task\.path = 'nowhere': there is no such file or folder; looked in"):
        extended(run, ["task.path=nowhere"])
    assert config_of(run.config, "task.path=elsewhere").task == again.task
    with pytest.raises(ConfigError, match=r"task\.path = 'nowhere': there is no such file or folder; looked in"):
        config_of(run.config, "task.path=nowhere")


def test_an_endpoint_that_moved_is_named_anew(tmp_path):
    table = {"policy": {"aggregator": {"endpoint": {"url": "http://a/v1", "model": "m"}}}}
    with begin(config_from(table), tmp_path / "run", "r", []) as run:
        pass
    moved = changed(run, "policy.aggregator.endpoint.url=http://b/v1").config.policy["aggregator"]
    assert moved.endpoint.url == "http://b/v1"
    with pytest.raises(ConfigError, match=r"a run that has begun 'policy\.aggregator\.endpoint\.model'"):
        changed(run, "policy.aggregator.endpoint.model=other")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policies.learning_rate=1e-3", "unknown key to change in a run that has begun 'policies.learning_rate'"),
        ("task=mathematics", "unknown key to change in a run that has begun 'task.name'"),
        ("run.seed=5", "another run"),
        ("run.steps=3", "run.steps = 3: .* has done 4 steps already"),
        ("run.stpes=3", r"unknown key in \[run\] 'stpes'; did you mean 'steps'"),
    ],
)
def test_what_would_make_it_another_run_is_refused_with_what_may_change(run, override, message):
    before = {path: path.read_bytes() for path in run.path.glob("*.*")}
    with pytest.raises(ConfigError, match=message) as raised:
        changed(run, override)
    assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in run.path.glob("*.*")} == before
    if "begun" in message:
        assert all(key in str(raised.value) for key in MAY_CHANGE)


def test_a_run_whose_learning_rate_ends_with_it_is_not_extended(tmp_path):
    table = {"policies": {"schedule": "cosine"}, "run": {"steps": 4}}
    with begin(config_from(table), tmp_path / "run", "r", []) as run:
        run.note({"routing": {"generator": "generator"}})
    with pytest.raises(ConfigError, match="policy 'generator' follows a cosine schedule that ends at step 4"):
        changed(run, "run.steps=8")
    changed(run, "run.save_every=1")


def test_a_run_that_an_intervention_stopped_is_not_extended(run):
    shutil.rmtree(run.checkpoint_path(4))
    run.checkpoint(4, {}, {"digests": {}, "stopped": "it fell"})
    with pytest.raises(RunError, match=r"was stopped at step 4 \(it fell\)"):
        changed(run, "run.steps=8")


def test_a_step_may_be_named_and_one_that_is_not_saved_names_the_nearest(run):
    assert [run.saved_step(step) for step in (None, "last", 4)] == [4, 4, 4]
    with pytest.raises(RunError, match="has no peak yet: it was not evaluated after training began"):
        run.saved_step("peak")
    for step, accuracy in ((0, 0.1), (2, 0.9), (4, 0.8), (6, 0.1)):
        outcomes = {"a": [accuracy], "b": [accuracy]}
        for split in ("validation", "test"):
            row = {"step": step, "split": split, "accuracy": accuracy, "outcomes": outcomes, "roles": {}}
            run.add_evaluation({**row, "numbers": {}})
    with pytest.raises(RunError, match="no checkpoint of its peak, step 2; there are: 4; the nearest is 4"):
        run.saved_step("peak")
    run.checkpoint(2, {}, {})
    assert run.saved_step("peak") == run.saved_step("best") == 2


@pytest.mark.parametrize("step", ["base", "4", "final", 4.0])
def test_a_step_that_is_none_is_not_taken_for_the_last(run, step):
    run.checkpoint(2, {}, {})
    assert run.saved_step(np.int64(2)) == 2
    with pytest.raises(ConfigError, match="allowed are the number of a step, 'peak', 'best' and 'last'"):
        run.saved_step(step)
    with pytest.raises(RunError, match=r"no checkpoint of step 3; there are: 2, 4; the nearest is 2"):
        run.saved_step(3)


def test_after_a_cliff_the_peak_is_recommended_with_the_command_that_takes_it(run, capsys):
    _recommend_peak(Console(), run, 4)
    assert f"counterpoint export {run.path} --step peak" in capsys.readouterr().out.replace("\n", "")
    _recommend_peak(Console(), run, 3)
    assert "step 3, which has no checkpoint" in capsys.readouterr().out.replace("\n", "")


def test_a_run_may_go_on_in_another_runtime_and_with_other_options_of_it():
    ray = {"runtime": {"name": "ray", "learners": 2, "address": "here:6379"}}
    for other in ({"runtime": {"name": "local"}}, {"runtime": {"name": "ray", "learners": 3, "timeout": 9.0}}):
        changes = differences(ray, other)
        assert "runtime.learners" in changes
        assert all(map(_may_change, changes))
    assert not _may_change("sampler.name")
