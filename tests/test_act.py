"""Tasks without signal are replaced, tasks are played alone where credit wants it, and patience has an end."""

import asyncio
from dataclasses import replace

import pytest
from facts import make_call, make_episode, make_group, make_limits, make_stage, make_task
from torch_build import start, trained

from counterpoint.act import Patience, act, alone, spare
from counterpoint.algorithms.build import build_algorithm
from counterpoint.episode import Answer, read_episodes
from counterpoint.errors import EndpointError, EngineError, WorkflowError
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.samplers.in_process import InProcess
from counterpoint.task import Problem
from counterpoint.tasks.base import batch
from counterpoint.workflows.base import Role, workflow

TASKS = [make_task(f"What is {number}?", key="2", id=f"t{number}") for number in range(12)]


@workflow
async def pair(problem: Problem, *, solver: Role, checker: Role) -> str | None:
    """The checker has the last word."""
    first = await solver(problem.text)
    first.answers(first.text)
    last = await checker(first.text)
    return last.answers(last.text)


def played(script, tasks=TASKS, workflow=pair, step=1, **algorithm):
    """The groups of a step in which two tasks are played twice each."""
    table = {"rollout": {"tasks_per_step": 2, "group_size": 2}, "algorithm": algorithm, "workflow": "single"}
    config = config_from(table)
    stage, sampler = make_stage(workflow, script)
    rules = build_algorithm(config, workflow.roles, set(workflow.roles))
    return asyncio.run(act(stage, tasks, make_limits(), config, rules, step=step)), sampler


class Luck:
    """Right the first time it is asked about a task, wrong the second: such tasks have signal."""

    def __init__(self, *lucky: str) -> None:
        self.lucky = lucky
        self.asked: list[str] = []

    def __call__(self, policy: str, prompt: str) -> str:
        if policy != "checker":
            return prompt.split("\n")[1]
        text = prompt.split("\n")[1]
        self.asked.append(text)
        return "2" if text in self.lucky and self.asked.count(text) == 1 else "3"


def names(groups):
    return [group.task for group in groups]


def test_without_resampling_the_tasks_are_those_of_the_step():
    groups, _ = played(lambda policy, prompt: "3")
    chosen = [task.problem.id for task in batch(TASKS, step=1, size=2, seed=0)]
    assert names(groups) == chosen
    assert [len(group.episodes) for group in groups] == [2, 2]


def test_tasks_without_signal_are_replaced_until_there_are_enough():
    groups, _ = played(Luck(*(task.problem.text for task in TASKS)), resample=3)
    assert len(groups) == 2, "both have signal: nothing is replaced"
    chosen = [task.problem.id for task in batch(TASKS, step=1, size=2, seed=0)]
    rest = [task.problem.text for task in TASKS if task.problem.id not in chosen]
    groups, _ = played(Luck(*rest), resample=3)
    assert names(groups)[:2] == chosen, "what was played stays a fact"
    assert len(groups) == 4
    assert len(set(names(groups))) == 4, "no task is played twice"


def test_only_as_many_are_added_as_are_missing():
    chosen = [task.problem for task in batch(TASKS, step=1, size=2, seed=0)]
    rest = [task.problem.text for task in TASKS if task.problem.id not in {one.id for one in chosen}]
    groups, _ = played(Luck(chosen[0].text, *rest), resample=3)
    assert len(groups) == 3


def test_replacing_ends_after_so_many_rounds_and_when_no_task_is_left():
    groups, _ = played(lambda policy, prompt: "3", resample=2)
    assert len(groups) == 2 + 2 + 2
    groups, _ = played(lambda policy, prompt: "3", tasks=TASKS[:5], resample=16)
    assert sorted(names(groups)) == ["t0", "t1", "t2", "t3", "t4"]


def test_a_further_task_that_always_fails_is_recorded_and_does_not_end_the_step():
    chosen = [task.problem.id for task in batch(TASKS, step=1, size=2, seed=0)]

    @workflow
    async def picky(problem: Problem, *, solver: Role, checker: Role) -> str | None:
        if problem.id not in chosen:
            raise ValueError("not this one")
        return await pair.play(problem, solver=solver, checker=checker)

    groups, _ = played(lambda policy, prompt: "3", workflow=picky, resample=1)
    assert [group.task in chosen for group in groups] == [True, True, False, False]
    assert {episode.error_kind for group in groups[2:] for episode in group.episodes} == {"workflow"}
    chosen.clear()
    with pytest.raises(WorkflowError, match="all 4 episodes of workflow 'picky' failed"):
        played(lambda policy, prompt: "3", workflow=picky, resample=1)


def test_the_tasks_of_a_step_depend_on_the_seed_and_the_step_alone():
    one, _ = played(lambda policy, prompt: "3", resample=2)
    again, _ = played(lambda policy, prompt: "3", resample=2)
    other, _ = played(lambda policy, prompt: "3", resample=2, step=2)
    assert one == again
    assert names(one) != names(other)


def test_spare_tasks_are_none_that_were_used():
    for seed in range(20):
        found = [task.problem.id for task in spare(TASKS, ["t0", "t1"], 4, str(seed))]
        assert len(set(found)) == 4
        assert not {"t0", "t1"} & set(found)
    assert spare(TASKS, [task.problem.id for task in TASKS], 4, "s") == []


def test_credit_that_compares_with_one_alone_has_each_task_played_alone_too():
    credit = {"name": "help_hurt", "solo": "solver", "roles": ["checker"], "weight": 0.5}
    groups, sampler = played(lambda policy, prompt: "2", credit=credit, advantage="role")
    for group in groups:
        assert [episode.rollout for episode in group.solos] == [0, 1]
        for episode in group.solos:
            (call,) = episode.calls
            assert (call.key.role, call.policy, call.claim, episode.score.reward) == (
                "generator",
                "solver",
                Answer("2"),
                1.0,
            )
            assert "Solve the problem step by step" in call.messages[0]["content"]
    assert len(sampler.requests) == 4 * 2 + 4
    assert len({request.seed for request in sampler.requests}) == 12, "no two calls share their luck"


def test_other_credit_has_nothing_played_alone():
    groups, _ = played(lambda policy, prompt: "2")
    assert {group.solos for group in groups} == {()}


def test_alone_a_role_speaks_with_the_policy_of_its_first_slot():
    stage, _ = make_stage(pair, lambda policy, prompt: "2", {"solver": ("a", "b"), "checker": "c"})
    assert alone(stage, "solver").routing.policy_for("generator", 0) == "a"
    assert alone(stage, "solver").workflow.name == "single"


def test_a_run_keeps_the_episodes_played_alone_and_trains_on_none_of_them(tmp_path):
    credit = {"name": "help_hurt", "solo": "soprano", "roles": ["conductor"]}
    run = trained(start(tmp_path / "run", {"algorithm": {"credit": credit, "advantage": "role"}, "run": {"steps": 1}}))
    groups = read_episodes(run.path / "episodes" / "000001.parquet")
    assert [(len(group.episodes), len(group.solos)) for group in groups] == [(4, 4)] * 3
    assert run.metric_rows()[0]["role/soprano/calls"] == 2, "what was played alone is in no number of the team"
    assert "role/generator/calls" not in run.metric_rows()[0]


def test_a_run_with_resampling_counts_its_tasks(tmp_path):
    run = trained(start(tmp_path / "run", {"algorithm": {"resample": 2}, "run": {"steps": 2}}))
    for row in run.metric_rows():
        groups = read_episodes(run.path / "episodes" / f"{row['step']:06d}.parquet")
        assert row["episode/tasks"] == len(groups) >= 3


def failed(count: int, of: int = 2):
    good, bad = make_episode(make_call()), replace(make_episode(error="gone"), error_kind="endpoint")
    return [make_group(*[bad] * count, *[good] * (of - count))]


def test_patience_ends_with_too_many_failed_steps_in_a_row():
    patience = Patience(3)
    for count in (2, 2, 1, 2, 2, 0, 2, 2):
        patience.judge(failed(count))
    with pytest.raises(EndpointError, match=r"every episode of 3 steps in a row \(run.patience\) failed; last: gone"):
        patience.judge(failed(2))


def test_an_engine_that_dies_in_a_step_ends_the_run_which_can_be_resumed(tmp_path, monkeypatch):
    table = {"run": {"steps": 2, "save_every": 1}}
    whole = trained(start(tmp_path / "whole", table))
    run = start(tmp_path / "run", table)
    compute = InProcess._compute

    def dying(self, requests):
        if run.metric_rows():
            raise RuntimeError("CUDA out of memory")
        return compute(self, requests)

    monkeypatch.setattr(InProcess, "_compute", dying)
    with pytest.raises(EngineError, match="the sampler failed: RuntimeError: CUDA out of memory"):
        trained(run)
    monkeypatch.undo()
    assert not (run.path / "episodes" / "000002.parquet").exists(), "no episode is blamed"
    resumed = trained(Run.open(run.path))
    kept = [
        {name: value for name, value in row.items() if not name.startswith("time/")} for row in resumed.metric_rows()
    ]
    assert kept == [
        {name: value for name, value in row.items() if not name.startswith("time/")} for row in whole.metric_rows()
    ]
