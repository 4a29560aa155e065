"""What each role does and how well, by hand on a few voting episodes; and what an evaluation counts."""

import asyncio
import json
import random
from math import sqrt
from statistics import fmean, pvariance

import numpy as np
import pytest
import torch
from facts import (
    make_call,
    make_credit_sample,
    make_episode,
    make_group,
    make_limits,
    make_stage,
    make_step,
    make_task,
    vote,
)

from counterpoint.algorithms.advantage import grpo
from counterpoint.algorithms.credit import outcome
from counterpoint.diagnostics._likeness import agreement, distinct, echo
from counterpoint.diagnostics.base import Diagnostic, Diagnostics
from counterpoint.diagnostics.behaviour import (
    Behaviour,
    any_answer_right,
    episode_numbers,
    inflation,
    refinement,
    selection,
)
from counterpoint.diagnostics.build import OneLook, build_diagnostics
from counterpoint.episode import Answer, CallKey, Choice, Unreadable, Verdict
from counterpoint.errors import ConfigError, MemberError, WorkflowError
from counterpoint.evaluation import count, evaluate
from counterpoint.family import name_of
from counterpoint.options import Spec
from counterpoint.task import Problem
from counterpoint.workflows.base import Role, workflow

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
            "episode/played": 6,
            "episode/errors": 1,
            "episode/not_judged": 1,
            "episode/oracle": 3 / 6,  # episodes 0, 1 and 3 had a right draft
            "episode/helped": 0.0,
            "episode/hurt": 2 / 4,  # episodes 1 and 3 of those that were judged and had an answer
            "episode/score": 1 / 5,  # 1, 0, 0, 0, and 0 for the one that failed
            "role/generator/calls": 11 / 6,
            "role/generator/tokens": (10 * 3 + 7) / 11,
            "role/generator/truncated": 0.0,
            "role/generator/unreadable": 0.0,
            "role/generator/entropy": (10 * 0.875 + 7) / 37,
            "role/generator/accuracy": 3 / 10,  # the call that failed made no claim
            "role/generator/agreement": (1 + 1 + 3) / 9,  # pairs of episodes 0, 1 and 2
            "role/generator/distinct": (2 + 2 + 1) / 3,
            **{f"role/generator/{name}": 3.0 for name in ("tokens_low", "tokens_median", "tokens_high")},
            "role/generator/echo": 0.0,
            "role/generator/cut_prompts": 0.0,
            "role/generator/tokens_p95": 5.0,  # halfway from 3 to 7: the ten others have 3
            "role/generator/hedging": 0.0,
            "role/generator/similarity": 1.0,
            "role/aggregator/calls": 4 / 6,
            "role/aggregator/tokens": (3 * 3 + 9) / 4,
            "role/aggregator/truncated": 1 / 4,
            "role/aggregator/unreadable": 1 / 4,
            "role/aggregator/tokens_low": 3.0,
            "role/aggregator/tokens_median": 3.0,
            "role/aggregator/tokens_high": 4.5,  # a quarter of the way from 3 to 9
            "role/aggregator/echo": 0.0,
            "role/aggregator/cut_prompts": 0.0,
            "role/aggregator/tokens_p95": 3 + 0.85 * 6,
            "role/aggregator/hedging": 0.0,
            "role/aggregator/terse": 3 / 4,
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
    numbers = Behaviour().look(make_step(groups=groups, samples=samples))
    assert episode_numbers(groups).items() <= numbers.items()
    # Generators: rewards 1, 1, 0, 0 and 1, 1; advantages +-0.7071 four times, and 0 twice without signal.
    assert numbers["role/generator/reward"] == pytest.approx(4 / 6)
    assert numbers["role/generator/reward_std"] == pytest.approx(sqrt(4 / 6 * 2 / 6))
    assert numbers["role/generator/advantage_std"] == pytest.approx(sqrt(4 * 0.5 / 6), rel=1e-5)
    assert numbers["role/generator/without_signal"] == pytest.approx(2 / 6)
    assert numbers["role/aggregator/reward"] == pytest.approx(3 / 4)
    assert numbers["role/aggregator/without_signal"] == pytest.approx(2 / 4)


def test_a_recipe_names_its_diagnostics():
    specs = [Spec(name="role_gradients", every=3), Spec(name="behaviour")]
    assert [member.name for member in build_diagnostics(specs).members] == ["role_gradients", "behaviour"]
    assert [step for step in range(1, 10) if build_diagnostics(specs).slots_apart(step)] == [3, 6, 9]
    assert not build_diagnostics([]).slots_apart(5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Spec(name="behavior"), r"unknown diagnostic 'behavior'; did you mean 'behaviour'\?"),
        (Spec(name="behaviour", every=2), "diagnostics.behaviour = 'behaviour' takes no options; every given"),
        (Spec(name="role_gradients", every=-1), r"diagnostics.role_gradients.every = -1"),
        (Spec(name="persistence", memory=1.0), r"diagnostics.persistence.memory = 1.0"),
        (Spec(name="distance", calls=0), r"diagnostics.distance.calls = 0"),
    ],
)
def test_a_diagnostic_that_cannot_be_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        build_diagnostics([spec])


def test_a_diagnostic_is_named_once():
    with pytest.raises(ConfigError, match="'distance' is named 2 times"):
        build_diagnostics([Spec(name="distance"), Spec(name="behaviour"), Spec(name="distance", calls=3)])


def test_parallel_answers_agree_or_not():
    episodes = [
        vote([RIGHT, RIGHT, WRONG], 0),  # one pair of three is equal
        vote([WRONG, WRONG, WRONG], 0),  # all three are
        vote([RIGHT], 0),  # nothing beside it
        make_episode(  # turns are no parallel calls
            make_call("generator", turn=0, claim=Answer("1"), score=0.0),
            make_call("generator", turn=1, claim=Answer("2"), score=1.0),
        ),
    ]
    assert agreement(episodes) == {"generator": pytest.approx((1 + 3) / 6)}
    assert distinct(episodes) == {"generator": pytest.approx((2 + 1) / 2)}
    assert agreement(episodes[2:]) == {}


def test_an_echo_is_what_a_reply_has_in_common_with_its_prompt():
    prompt = tuple(range(100, 130))
    told = make_call(prompt_ids=prompt, completion_ids=(1, 2, *prompt[5:14], 3, *prompt[:4], 4))
    assert echo(told) == pytest.approx(9 / 17)  # a run of 9, and one of 4 that is too short
    assert echo(told, run=4) == pytest.approx(13 / 17)
    assert echo(make_call(prompt_ids=prompt, completion_ids=prompt)) == 1.0
    assert echo(make_call(prompt_ids=prompt, completion_ids=prompt[::-1])) == 0.0
    assert echo(make_call(prompt_ids=prompt[:3], completion_ids=prompt[:3])) == 0.0


def test_an_echo_counts_as_a_slow_search_does():
    source = random.Random(0)
    for _ in range(200):
        prompt = tuple(source.choices(range(3), k=30))
        reply = tuple(source.choices(range(3), k=20))
        runs = [(place, end) for place in range(20) for end in range(place + 4, 21)]
        found = [
            one for one in runs if any(prompt[at : at + one[1] - one[0]] == reply[slice(*one)] for at in range(30))
        ]
        copied = {place for one in found for place in range(*one)}
        assert echo(make_call(prompt_ids=prompt, completion_ids=reply), run=4) == len(copied) / 20


def test_the_team_is_compared_with_its_first_answer():
    episodes = [
        vote([WRONG, RIGHT], 1),  # helped
        vote([RIGHT, WRONG], 1),  # hurt
        vote([RIGHT, WRONG], 0),
        vote([WRONG, WRONG], 0),
        make_episode(make_call(claim=Answer("2"), score=1.0), reward=None),  # not judged
        make_episode(make_call("planner")),  # nobody answered
    ]
    numbers = episode_numbers([make_group(*episodes)])
    assert (numbers["episode/helped"], numbers["episode/hurt"]) == (1 / 4, 1 / 4)
    assert "episode/helped" not in episode_numbers([make_group(episodes[-1])])


def refined(*drafts, verdicts=()):
    """A generator's answers one after another (None: unreadable), and an evaluator's verdicts on them."""
    calls = []
    for turn, score in enumerate(drafts):
        claim = Unreadable("no box") if score is None else Answer("2" if score else "3")
        calls.append(make_call("generator", turn=turn, claim=claim, score=score or 0.0))
        if turn < len(verdicts):
            said = verdicts[turn]
            claim = Unreadable("no verdict") if said is None else Verdict(calls[-1].key, said)
            score = 0.0 if said is None else float(said == (calls[-1].score == 1.0))
            calls.append(make_call("evaluator", turn=turn, claim=claim, score=score))
    return make_episode(*calls)


def test_refinements_recover_or_spoil():
    episodes = [refined(0.0, 1.0, 1.0), refined(1.0, 0.0), refined(None, 1.0), refined(0.0, None), refined(1.0)]
    found = refinement(episodes)
    # wrong before: 0, unreadable, 0 -> right, right, unreadable; right before: 1 -> 1 and 1 -> 0.
    assert found == {"recovered": {"generator": pytest.approx(2 / 3)}, "spoiled": {"generator": 1 / 2}}


def test_a_role_that_never_answers_recovers_nothing():
    silent = refined(0.0, 1.0, verdicts=[None, None])
    assert set(refinement([silent])["recovered"]) == {"generator"}


def test_verdicts_are_compared_with_the_truth():
    episodes = [
        refined(1.0, verdicts=[True]),
        refined(1.0, verdicts=[False]),
        refined(1.0, verdicts=[True]),
        refined(0.0, verdicts=[True]),
        refined(0.0, verdicts=[False]),
        refined(0.0, verdicts=[None]),  # unreadable: in none of the four
    ]
    numbers = episode_numbers([make_group(*episodes)])
    found = {name: numbers[f"role/evaluator/{name}"] for name in ("precision", "recall", "false_approval")}
    assert found == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "false_approval": 1 / 2})
    assert numbers["role/evaluator/false_rejection"] == pytest.approx(1 / 3)
    assert (numbers["role/evaluator/judged_right"], numbers["role/evaluator/judged_wrong"]) == (3, 2)
    assert numbers["role/evaluator/unreadable"] == pytest.approx(1 / 6)
    assert "role/evaluator/false_approval" not in episode_numbers([make_group(*episodes[:3])])


def test_the_lengths_of_a_role_have_quartiles():
    calls = [make_call(completion_ids=(1,) * length, logprobs=(-1.0,) * length) for length in (1, 2, 3, 4, 100)]
    numbers = episode_numbers([make_group(make_episode(*calls))])
    found = [numbers[f"role/generator/tokens_{name}"] for name in ("low", "median", "high")]
    assert found == [2.0, 3.0, 4.0]


def test_inflation_by_hand():
    # On task t the generator has rewards 1, 1, 0, 0, the aggregator 0, 1: mu 1/2, sigma^2 1/4. All deviate by 1/2.
    rewards = [("generator", 1.0), ("generator", 1.0), ("generator", 0.0), ("generator", 0.0)]
    samples = [
        make_credit_sample(reward, role) for role, reward in [*rewards, ("aggregator", 0.0), ("aggregator", 1.0)]
    ]
    assert inflation(samples) == pytest.approx({"generator": 1.0, "aggregator": 1.0})
    # On task u: generator 1, 1, 1, aggregator 0: mu 3/4, sigma^2 3/16; F = 1/16 / (3/16), and 9/16 / (3/16).
    others = [
        make_credit_sample(reward, role, task="u") for role, reward in [("generator", 1.0)] * 3 + [("aggregator", 0.0)]
    ]
    assert inflation(others) == pytest.approx({"generator": 1 / 3, "aggregator": 3.0})
    assert inflation([*samples, *others]) == pytest.approx({"generator": 2 / 3, "aggregator": 2.0})


def test_inflation_is_that_of_the_lemma():
    """sigma_r^2 + (mu_r - mu)^2, from the moments one by one."""
    source = random.Random(1)
    samples = [make_credit_sample(source.random(), source.choice("ab")) for _ in range(40)]
    everything = [sample.reward for sample in samples]
    for role, found in inflation(samples).items():
        mine = [sample.reward for sample in samples if sample.call.key.role == role]
        moved = pvariance(mine) + (fmean(mine) - fmean(everything)) ** 2
        assert found == pytest.approx(moved / pvariance(everything))


def test_tasks_without_spread_inflate_nothing():
    assert inflation([make_credit_sample(0.5, "a"), make_credit_sample(0.5, "b")]) == {}


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
    with pytest.raises(WorkflowError, match="no answer to the 1 test task could be judged"):
        count([make_group(make_episode(reward=None))], "test")


def test_an_evaluation_of_which_no_answer_could_be_judged_is_an_error_though_a_missing_answer_is_wrong():
    unjudged = make_episode(task="a", answer="2", reward=None)
    missing = make_episode(task="b", answer=None, reward=0.0)
    with pytest.raises(WorkflowError, match="none of the 1 answers to test tasks could be judged"):
        count([make_group(unjudged), make_group(missing)], "test")


@workflow
async def half_silent(problem: Problem, *, generator: Role, critic: Role) -> str | None:
    """Never asks its critic."""
    reply = await generator(problem.text)
    return reply.answers(reply.text)


def test_a_role_that_is_not_called_has_no_calls_and_no_accuracy():
    stage, _ = make_stage(half_silent, lambda policy, prompt: "2")
    tasks = [make_task("a", id="a"), make_task("b", id="b")]
    found = asyncio.run(evaluate(stage, tasks, make_limits(), split="test", samples=2, seed=0))
    assert {name: value for name, value in found.numbers.items() if name.startswith("role/critic/")} == {
        "role/critic/calls": 0.0
    }
    assert (found.accuracy, list(found.roles), found.numbers["role/generator/calls"]) == (1.0, ["generator"], 1.0)


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


def looking(look):
    return Diagnostics([OneLook("mine", look), OneLook("other", lambda step: {"other/one": 1.0})])


def test_an_error_in_a_diagnostic_of_ones_own_says_whose_it_is_and_where():
    with pytest.raises(MemberError, match=r"diagnostic 'mine' raised ZeroDivisionError: .*test_behaviour.py:\d+\)"):
        looking(lambda step: {"mine/one": 1 / 0}).look(make_step())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "diagnostic 'mine' returned a NoneType; it must return numbers by name"),
        ({"mine/one": "high"}, "diagnostic 'mine' returned 'mine/one': 'high'"),
        ({1: 1.0}, "diagnostic 'mine' returned 1: 1.0"),
        ({"other/one": 2.0}, "diagnostic 'other' returned 'other/one', a name that another diagnostic uses"),
        ({"step": 7.0}, "diagnostic 'mine' returned 'step', which names the step itself"),
        ({"mine/one": np.complex64(1.0)}, "diagnostic 'mine' returned 'mine/one': "),
    ],
)
def test_a_diagnostic_returns_numbers_by_names_of_its_own(found, message):
    with pytest.raises(MemberError, match=message):
        looking(lambda step: found).look(make_step())
    assert looking(lambda step: {"mine/one": 1}).look(make_step()) == {"mine/one": 1, "other/one": 1.0}


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), np.float64(0.5), torch.tensor(0.5)])
def test_a_number_of_numpy_or_torch_is_recorded_as_a_plain_one(value):
    numbers = looking(lambda step: {"mine/one": value}).look(make_step())
    assert json.loads(json.dumps(numbers)) == {"mine/one": value.item(), "other/one": 1.0}


class Counting(Diagnostic):
    """Remembers something, and has no name."""

    def save(self, folder):
        (folder / "count").write_text("1", encoding="utf-8")


class Nowhere(Diagnostic):
    name = "mine/own"


def test_a_diagnostic_without_a_name_is_saved_under_that_of_its_class(tmp_path):
    found = build_diagnostics([Spec(name=name_of(Counting, "diagnostic"))])
    found.save(tmp_path)
    assert (tmp_path / "Counting" / "count").is_file()
    found.load(tmp_path)
    with pytest.raises(ConfigError, match="has the name 'mine/own', which must be that of one folder"):
        build_diagnostics([Spec(name=name_of(Nowhere, "diagnostic"))])
