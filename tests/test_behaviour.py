"""What each role does and how well, by hand on a few voting episodes; and what an evaluation counts."""

import asyncio
from math import sqrt

import pytest
from facts import make_call, make_episode, make_group, make_limits, make_stage, make_task, vote

from counterpoint.algorithms.advantage import grpo
from counterpoint.algorithms.credit import outcome
from counterpoint.config import Spec
from counterpoint.diagnostics import build_diagnostics
from counterpoint.diagnostics.base import Step
from counterpoint.diagnostics.behaviour import any_answer_right, behaviour, episode_numbers, selection
from counterpoint.episode import Answer, CallKey, Choice, Unreadable
from counterpoint.errors import ConfigError, WorkflowError
from counterpoint.evaluate import count, evaluate
from counterpoint.task import Problem
from counterpoint.workflow import Role, workflow

RIGHT, WRONG = ("2", 1.0), ("3", 0.0)


def unreadable_vote(rollout):
    """A right draft, then a cut-off aggregator that chose nothing."""
    return make_episode(
        make_call("generator", 0, claim=Answer("2"), score=1.0, completion_ids=(5,) * 7, logprobs=(-1.0,) * 7),
        make_call(
            "aggregator",
            claim=Unreadable("no choice"),
            score=0.0,
            finish="length",
            completion_ids=(5,) * 9,
            logprobs=(-2.0,) * 9,
        ),
        reward=0.0,
        answer=None,
        rollout=rollout,
    )


GROUP = make_group(
    vote([RIGHT, WRONG, WRONG], 0, rollout=0),
    vote([RIGHT, WRONG, WRONG], 1, rollout=1),
    vote([WRONG, WRONG, WRONG], 2, rollout=2),
    unreadable_vote(3),
    make_episode(make_call("generator"), error="it broke", rollout=4),
    make_episode(reward=None, rollout=5),
)


def test_the_numbers_of_a_small_voting_group():
    assert episode_numbers([GROUP]) == pytest.approx(
        {
            "episode/tasks": 1,
            "episode/errors": 1,
            "episode/not_judged": 1,
            "episode/oracle": 3 / 6,  # episodes 0, 1 and 3 had a right draft
            "episode/score": 1 / 5,  # 1, 0, 0, 0, and 0 for the one that failed
            "role/generator/calls": 11 / 6,
            "role/generator/tokens": (10 * 3 + 7) / 11,
            "role/generator/truncated": 0.0,
            "role/generator/unreadable": 0.0,
            "role/generator/entropy": (10 * 0.875 + 7) / 37,
            "role/generator/accuracy": 3 / 10,  # the call that failed made no claim
            "role/aggregator/calls": 4 / 6,
            "role/aggregator/tokens": (3 * 3 + 9) / 4,
            "role/aggregator/truncated": 1 / 4,
            "role/aggregator/unreadable": 1 / 4,
            "role/aggregator/entropy": (3 * 0.875 + 18) / 18,
            "role/aggregator/accuracy": 1 / 4,
            "role/aggregator/selection": 1 / 2,  # of episodes 0 and 1; 2 had nothing to choose, 3 chose nothing
        }
    )


def test_numbers_that_nothing_was_observed_for_are_absent():
    numbers = episode_numbers([make_group(make_episode(make_call(), reward=None))])
    assert numbers["episode/not_judged"] == 1
    assert "episode/score" not in numbers
    assert "role/generator/accuracy" not in numbers
    assert not any(name.endswith("/selection") for name in numbers)


@pytest.mark.parametrize(
    ("episode", "wanted"),
    [
        (vote([RIGHT, WRONG], 1), True),
        (vote([WRONG, WRONG], 1), False),
        (vote([("2", 0.99), WRONG], 1), False),
        (make_episode(), False),
        (make_episode(make_call("critic", claim=Choice((CallKey("generator", 0, 0),), 0), score=1.0)), False),
    ],
)
def test_the_oracle_is_right_if_any_answer_was(episode, wanted):
    assert any_answer_right(episode) is wanted


def test_selection_looks_only_where_a_candidate_was_right():
    episodes = [
        vote([RIGHT, WRONG, RIGHT], 2),
        vote([RIGHT, WRONG, WRONG], 1),
        vote([WRONG, WRONG, WRONG], 1),
        vote([WRONG, RIGHT, WRONG], 1),
    ]
    assert selection(episodes) == {"aggregator": pytest.approx(2 / 3)}
    assert selection(episodes[2:3]) == {}


def test_selection_looks_only_at_the_candidates_that_were_there():
    drafts = [make_call("generator", slot, claim=Answer("a"), score=float(slot == 2)) for slot in range(3)]
    first_two = Choice((drafts[0].key, drafts[1].key), 0)
    episode = make_episode(*drafts, make_call("judge", claim=first_two, score=0.0))
    assert selection([episode]) == {}


def test_what_credit_and_advantage_made_of_a_step_is_counted_a_role():
    others = make_group(*(vote([RIGHT], 0, task="u", rollout=rollout) for rollout in range(2)))
    groups = [make_group(vote([RIGHT, WRONG], 0), vote([RIGHT, WRONG], 1, rollout=1)), others]
    samples = grpo(outcome(groups))
    numbers = behaviour(Step(index=1, groups=groups, samples=samples, contributions={}))
    assert episode_numbers(groups).items() <= numbers.items()
    # Generators: rewards 1, 1, 0, 0 and 1, 1; advantages +-0.7071 four times, and 0 twice without signal.
    assert numbers["role/generator/reward"] == pytest.approx(4 / 6)
    assert numbers["role/generator/reward_std"] == pytest.approx(sqrt(4 / 6 * 2 / 6))
    assert numbers["role/generator/advantage_std"] == pytest.approx(sqrt(4 * 0.5 / 6), rel=1e-5)
    assert numbers["role/generator/without_signal"] == pytest.approx(2 / 6)
    assert numbers["role/aggregator/reward"] == pytest.approx(3 / 4)
    assert numbers["role/aggregator/without_signal"] == pytest.approx(2 / 4)


def test_a_recipe_names_its_diagnostics():
    assert build_diagnostics([Spec(name="behaviour")]) == [behaviour]
    with pytest.raises(ConfigError, match=r"unknown diagnostic 'behavior'; did you mean 'behaviour'\?"):
        build_diagnostics([Spec(name="behavior")])
    with pytest.raises(ConfigError, match="'behaviour' takes no options; every given"):
        build_diagnostics([Spec(name="behaviour", every=2)])


def test_an_evaluation_counts_every_task_once_however_many_episodes_could_be_judged():
    groups = [
        make_group(*(vote([RIGHT], 0, task="a", rollout=rollout) for rollout in range(3))),
        make_group(
            vote([WRONG], 0, task="b"),
            make_episode(task="b", reward=None, rollout=1),
            make_episode(task="b", error="it broke", rollout=2),
        ),
        make_group(make_episode(task="c", reward=None)),
    ]
    found = count(groups, "test")
    assert found.outcomes == {"a": [1.0, 1.0, 1.0], "b": [0.0, 0.0]}
    assert found.roles == {
        "generator": {"a": [1.0, 1.0, 1.0], "b": [0.0]},
        "aggregator": {"a": [1.0, 1.0, 1.0], "b": [0.0]},
    }
    assert found.accuracy == 0.5
    assert found.metrics()["eval/test/accuracy"] == 0.5
    assert found.metrics()["eval/test/episode/not_judged"] == 2
    row = found.row(30)
    assert (row["step"], row["split"], row["accuracy"], row["outcomes"]) == (30, "test", 0.5, found.outcomes)


def test_an_evaluation_of_which_nothing_could_be_judged_is_an_error():
    with pytest.raises(WorkflowError, match="no answer to the 1 test tasks could be judged"):
        count([make_group(make_episode(reward=None))], "test")


@workflow
async def half_silent(problem: Problem, *, generator: Role, critic: Role) -> str | None:
    """Never asks its critic."""
    reply = await generator(problem.text)
    return reply.answers(reply.text)


def test_a_role_that_is_never_called_is_named():
    stage, _ = make_stage(half_silent, lambda policy, prompt: "2")
    tasks = [make_task("a", id="a"), make_task("b", id="b")]
    with pytest.raises(WorkflowError, match="role 'critic' of workflow 'half_silent' was not called in any of 4 epis"):
        asyncio.run(evaluate(stage, tasks, make_limits(), split="test", samples=2, seed=0))


def test_every_evaluation_has_the_same_luck_and_the_splits_have_luck_of_their_own():
    @workflow
    async def one(problem: Problem, *, generator: Role) -> str | None:
        reply = await generator(problem.text)
        return reply.answers(reply.text)

    def seeds(split, seed):
        stage, sampler = make_stage(one, lambda policy, prompt: "2")
        found = asyncio.run(evaluate(stage, [make_task()], make_limits(), split=split, samples=2, seed=seed))
        assert found.accuracy == 1.0
        return [request.seed for request in sampler.requests]

    known = seeds("test", 0)
    assert seeds("test", 0) == known
    assert not set(seeds("validation", 0)) & set(known)
    assert not set(seeds("test", 1)) & set(known)
