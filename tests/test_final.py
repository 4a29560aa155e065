"""When training ends, the checkpoints that tell how it went are evaluated again with more episodes per task."""

import json
import shutil
from functools import cache

import pytest
from torch_build import session_folder, start, trained

from counterpoint import training
from counterpoint.analysis.alarm import Alarm
from counterpoint.analysis.history import history_of
from counterpoint.analysis.summary import summarize
from counterpoint.errors import ConfigError, ProofError, RunError
from counterpoint.extension import MAY_CHANGE, extend
from counterpoint.final import checkpoints_to_evaluate
from counterpoint.plan.ending import lines_about_the_end
from counterpoint.plan.plan import plan
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.starting import reopen

SHORT = {
    "task": {"validation": 2, "test": 3},
    "policies": {"sharing": "isolated"},
    "rollout": {"tasks_per_step": 2, "group_size": 4, "max_tokens": 5},
    "evaluation": {"every": 1, "final_samples": 2},
    "run": {"steps": 2, "save_every": 1, "proof_calls": 2},
}


def table(**sections):
    return {name: {**SHORT.get(name, {}), **sections.get(name, {})} for name in {**SHORT, **sections}}


@cache
def unbroken() -> Run:
    """A run with final evaluations that nothing interrupts."""
    return trained(start(session_folder() / "final", SHORT))


@cache
def without() -> Run:
    """The same run without them."""
    return trained(start(session_folder() / "final-off", table(evaluation={"final_samples": 0})))


def content(run):
    """Path -> content, of every file that holds no time and no recipe."""
    files = [path for path in run.path.rglob("*") if path.is_file() and path.name not in ("metrics.jsonl",)]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in files}


def without_times(run):
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in run.metric_rows()]


def test_each_checkpoint_is_evaluated_with_the_episodes_that_the_recipe_asks_for():
    run = unbroken()
    assert [(row["step"], row["split"]) for row in run.final_rows()] == [(0, "test"), (1, "test"), (2, "test")]
    assert {frozenset(row) for row in run.final_rows()} == {frozenset(row) for row in run.evaluation_rows()}
    assert {len(values) for row in run.final_rows() for values in row["outcomes"].values()} == {2}
    assert {len(row["outcomes"]) for row in run.final_rows()} == {3}
    assert run.finals().columns == run.evaluations().columns
    assert run.finals()["step"].to_list() == [0, 1, 2]


def test_they_are_the_checkpoints_of_these_steps_with_the_random_numbers_of_their_evaluations():
    first = {row["step"]: row for row in unbroken().evaluation_rows() if row["split"] == "test"}
    for row in unbroken().final_rows():
        assert {task: values[:1] for task, values in row["outcomes"].items()} == first[row["step"]]["outcomes"]
    outcomes = [json.dumps([row["outcomes"], row["numbers"]]) for row in unbroken().final_rows()]
    assert len(set(outcomes)) > 1, "checkpoints that are all alike would show nothing"


def test_the_summary_is_made_from_them_and_so_is_a_diagnosis():
    run = unbroken()
    assert run.summary.as_dict() == summarize(run.evaluation_rows(), run.final_rows()).as_dict()
    assert run.summary.team != summarize(run.evaluation_rows()).team
    assert history_of(run).final == run.final_rows()


def test_a_recipe_without_them_trains_the_same_and_writes_no_file_more():
    with_, off = content(unbroken()), content(without())
    assert with_.keys() - off.keys() == {"final.jsonl"}
    assert off.keys() <= with_.keys()
    differ = {name for name in off if off[name] != with_[name]}
    assert differ == {"config.toml", "run.json", "summary.json"}
    assert without_times(unbroken()) == without_times(without())
    assert without().summary == summarize(without().evaluation_rows())


class StopError(Exception):
    """Somebody pressed a key."""


def broken_off(run, after):
    """The run, ended once so many final evaluations are recorded."""
    told = []

    def watch(step, numbers):
        told.extend([step] if "final/test/accuracy" in numbers else [])
        if len(told) == after and any(name.startswith("final/") for name in numbers):
            raise StopError

    with pytest.raises(StopError):
        trained(run, watch=watch)
    assert not run.is_finished
    return told


def test_a_run_killed_between_them_and_resumed_is_the_unbroken_run_and_repeats_none(tmp_path):
    run = start(tmp_path / "run", SHORT)
    assert broken_off(run, after=0) == []
    assert broken_off(Run.open(run.path), after=1) == [0]
    with (run.path / "final.jsonl").open("a") as file:
        file.write('{"step": 1, "split": "te')  # the kill came within a line
    assert broken_off(Run.open(run.path), after=1) == [1]
    told = []
    trained(Run.open(run.path), watch=lambda step, numbers: told.append(step))
    assert told == [2, 2], "the announcement, and what was left"
    assert content(run) == content(unbroken())
    assert without_times(run) == without_times(unbroken())


def test_a_run_killed_before_its_summary_evaluates_nothing_again(tmp_path):
    path = shutil.copytree(unbroken().path, tmp_path / "run")
    (path / "summary.json").unlink()
    told = []
    run = trained(Run.open(path), watch=lambda step, numbers: told.append(step))
    assert told == []
    assert content(run) == content(unbroken())


def test_afterwards_learner_and_sampler_hold_what_they_held_at_the_end(tmp_path, monkeypatch):
    held = []
    original = training.evaluate_again

    async def looked(run, stage, tasks, learner, proof, watch):
        before = (learner.digests(), stage.sampler.digests())
        await original(run, stage, tasks, learner, proof, watch)
        held.append((before, (learner.digests(), stage.sampler.digests())))

    monkeypatch.setattr(training, "evaluate_again", looked)
    run = trained(start(tmp_path / "run", SHORT))
    ((before, after),) = held
    assert before == after
    assert after[0] == run.checkpoint_state(2)["digests"] != run.checkpoint_state(0)["digests"]


@pytest.mark.parametrize("roll_back", [True, False])
def test_a_run_that_an_intervention_stopped_has_them_too_and_a_roll_back_is_marked(tmp_path, monkeypatch, roll_back):
    monkeypatch.setattr(Alarm, "look", lambda self, step, numbers: {"warning/cliff": float(step == 2)})
    stop = {"name": "stop_at_cliff", "roll_back": roll_back}
    run = trained(start(tmp_path / "run", {**table(run={"steps": 9}), "interventions": [stop]}))
    assert [(row["step"], row["rolled_back"]) for row in run.final_rows()] == [(0, False), (1, False), (2, roll_back)]
    assert run.summary == summarize(run.evaluation_rows(), run.final_rows())
    rows = {row["step"]: row for row in run.final_rows()}
    if roll_back:
        peak = run.summary.peak_step
        assert rows[2]["outcomes"] == rows[peak]["outcomes"]
        assert run.summary.terminal_steps == [2]


def test_of_a_longer_run_they_are_base_peak_and_the_last_three(tmp_path):
    run = Run.create(tmp_path / "run", config_from(table(run={"steps": 9})), {})
    for step in range(10):
        (run.path / "checkpoints" / f"{step:06d}").mkdir()
        accuracy = {2: 1.0, 3: 0.9}.get(step, 0.1)
        for split in ("validation", "test"):
            row = {"step": step, "split": split, "accuracy": accuracy, "outcomes": {"a": [accuracy]}, "roles": {}}
            run.add_evaluation({**row, "numbers": {}, "rolled_back": False})
    assert list(checkpoints_to_evaluate(run)) == [0, 2, 7, 8, 9]
    (run.path / "checkpoints" / "000002").rmdir()
    with pytest.raises(RunError, match=r"no checkpoint of step 2, which evaluation.final_samples = 2 evaluates: .*=0`"):
        checkpoints_to_evaluate(run)
    run.close()


def test_a_run_that_was_never_evaluated_after_its_base_has_none(tmp_path):
    with Run.create(tmp_path / "run", config_from(SHORT), {}) as run:
        assert checkpoints_to_evaluate(run) == {}
        assert run.final_rows() == []
        assert run.finals().is_empty()


def test_a_checkpoint_that_is_not_what_was_saved_is_not_evaluated(tmp_path):
    path = shutil.copytree(unbroken().path, tmp_path / "run")
    (path / "summary.json").unlink()
    (path / "final.jsonl").unlink()
    state = json.loads((path / "checkpoints/000001/state.json").read_text())
    digests = dict.fromkeys(state["digests"], "0" * 64)
    (path / "checkpoints/000001/state.json").write_text(json.dumps({**state, "digests": digests}))
    with pytest.raises(ProofError, match="the checkpoint has digest 000000000000"):
        trained(Run.open(path))
    assert [row["step"] for row in Run.read(path).final_rows()] == [0]


def test_a_finished_run_that_is_extended_is_the_run_that_was_so_long_from_the_beginning(tmp_path):
    short = trained(start(tmp_path / "run", table(run={"steps": 1})))
    assert [row["step"] for row in short.final_rows()] == [0, 1]
    with reopen(short.path, ["run.steps=2"]) as again:
        extend(again, ["run.steps=2"])
        assert not again.is_finished, "killed at this moment it is a run that goes on"
        assert again.final_rows() == []
        trained(again)
    assert (again.path / "final.jsonl").read_bytes() == (unbroken().path / "final.jsonl").read_bytes()
    assert again.summary == unbroken().summary


def test_a_finished_run_gets_them_later_and_is_then_the_run_that_had_them_from_the_beginning(tmp_path):
    path = shutil.copytree(without().path, tmp_path / "run")
    with reopen(path, ["evaluation.final_samples=2"]) as again:
        extend(again, ["evaluation.final_samples=2"])
        trained(again)
    assert (path / "final.jsonl").read_bytes() == (unbroken().path / "final.jsonl").read_bytes()
    assert (path / "summary.json").read_bytes() == (unbroken().path / "summary.json").read_bytes()
    with reopen(path, ["evaluation.final_samples=0"]) as again:
        extend(again, ["evaluation.final_samples=0"])
        trained(again)
    assert not (path / "final.jsonl").exists()
    assert (path / "summary.json").read_bytes() == (without().path / "summary.json").read_bytes()
    assert "evaluation.final_samples" in MAY_CHANGE
    shutil.rmtree(path / "checkpoints" / "000001")
    with pytest.raises(ConfigError, match="was evaluated at step 1, of which it has no checkpoint"):
        reopen(path, ["evaluation.final_samples=2"])
    assert Run.read(path).is_finished, "what is refused changes nothing"


@pytest.mark.parametrize(("every", "save_every", "steps"), [(3, 2, 9), (2, 4, 9), (10, 3, 11)])
def test_a_recipe_whose_evaluations_have_no_checkpoint_is_refused(every, save_every, steps):
    run = {"steps": steps, "save_every": save_every}
    with pytest.raises(ConfigError) as refused:
        config_from({"evaluation": {"every": every, "final_samples": 4}, "run": run})
    assert str(refused.value) == (
        f"evaluation.final_samples = 4: run.save_every = {save_every} must divide evaluation.every = {every}, or the"
        " peak may have no checkpoint that can be evaluated again"
    )
    config_from({"evaluation": {"every": every}, "run": run})
    config_from({"evaluation": {"every": every, "final_samples": 4}, "run": {**run, "steps": every}})


def test_the_plan_counts_their_calls_and_their_memory():
    recipe = {"task": {"validation": 8, "test": 20}, "run": {"steps": 30, "threads": 1}}
    plain, planned = plan(config_from(recipe)), plan(config_from({**recipe, "evaluation": {"final_samples": 64}}))
    (line,) = (line for line in planned.lines() if line.startswith("at the end"))
    assert line == "at the end  at most 4 checkpoints x 20 test tasks x 64 episodes x 4 calls = 20480 calls"
    assert planned.memory().peak > plain.memory().peak
    assert lines_about_the_end(plain.config, 20, 4) == []
    (short,) = lines_about_the_end(config_from({"evaluation": {"final_samples": 1}, "run": {"steps": 10}}), 3, 4)
    assert short == "at the end  at most 2 checkpoints x 3 test tasks x 1 episode x 4 calls = 24 calls"
