"""Rewards compared within groups, against references written another way."""

import math
import random
from itertools import combinations

import numpy as np
import pytest
from facts import make_call, make_credit, make_episode, make_group

from counterpoint.algorithms import build_algorithm
from counterpoint.algorithms.advantage import dr_grpo, grouped, grpo, rloo, role, role_slot
from counterpoint.algorithms.base import in_loss
from counterpoint.episode import Answer
from counterpoint.errors import ConfigError
from counterpoint.recipe import config_from

PARTS = ["task", "role", "slot", "turn", "prompt"]
RULES = {"grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo, "role": role, "role_slot": role_slot}


def numbers(samples):
    return [sample.advantage for sample in samples]


def part_of(credit, part):
    key = credit.call.key
    return {
        "task": credit.task,
        "role": key.role,
        "slot": key.slot,
        "turn": key.turn,
        "prompt": credit.call.prompt_ids,
    }[part]


def slow(credits, by, baseline, scale):
    """Each call against a scan of all calls; (advantage, signal)."""
    found = []
    for mine in credits:
        same = [one.reward for one in credits if all(part_of(one, part) == part_of(mine, part) for part in by)]
        if len(same) < 2 or max(same) - min(same) < 1e-8:
            found.append((0.0, False))
            continue
        centre = np.mean(same) if baseline == "mean" else (sum(same) - mine.reward) / (len(same) - 1)
        spread = np.std(same, ddof=1) + 1e-6 if scale == "std" else 1.0
        found.append(((mine.reward - centre) / spread, True))
    return found


def slow_by_episode(credits, baseline, scale):
    """The same over a list with one credit an episode."""
    episodes = {(one.task, one.rollout): one for one in credits}
    values = dict(zip(episodes, slow(list(episodes.values()), ["task"], baseline, scale), strict=True))
    return [values[one.task, one.rollout] for one in credits]


def check(samples, credits, wanted):
    assert [sample.call for sample in samples] == [credit.call for credit in credits]
    assert [(sample.task, sample.rollout, sample.reward) for sample in samples] == [
        (credit.task, credit.rollout, credit.reward) for credit in credits
    ]
    assert [sample.signal for sample in samples] == [signal for _, signal in wanted]
    assert numbers(samples) == pytest.approx([value for value, _ in wanted], abs=1e-12)


def random_credits(seed, *, equal_in_an_episode):
    """Credits in a mixed order: three tasks, episodes of different length, several roles, slots, turns and prompts."""
    source = random.Random(seed)
    credits = []
    for task in ("a", "b", "c"):
        for rollout in range(source.randint(1, 5)):
            reward = source.choice([0.0, 0.25, 1.0])
            for _ in range(source.randint(1, 6)):
                credits.append(
                    make_credit(
                        reward if equal_in_an_episode else source.choice([0.0, 0.5, 1.0]),
                        source.choice(["generator", "critic"]),
                        source.randrange(3),
                        source.randrange(2),
                        task=task,
                        rollout=rollout,
                        prompt=(11, source.randrange(2)),
                    )
                )
    source.shuffle(credits)
    return credits


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "baseline", "scale"), [("grpo", "mean", "std"), ("dr_grpo", "mean", "none"), ("rloo", "others", "none")]
)
def test_rules_over_episodes_agree_with_a_slow_reference(name, baseline, scale, seed):
    credits = random_credits(seed, equal_in_an_episode=True)
    check(RULES[name](credits), credits, slow_by_episode(credits, baseline, scale))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("name", "by"), [("role", ["task", "role"]), ("role_slot", ["task", "role", "slot"])])
def test_rules_over_calls_agree_with_a_slow_reference(name, by, seed):
    credits = random_credits(seed, equal_in_an_episode=False)
    check(RULES[name](credits), credits, slow(credits, by, "mean", "std"))


@pytest.mark.parametrize(
    "by", [list(parts) for count in range(1, len(PARTS) + 1) for parts in combinations(PARTS, count)], ids="+".join
)
def test_any_group_key_agrees_with_a_slow_reference(by):
    credits = random_credits(6, equal_in_an_episode=False)
    for baseline in ("mean", "others"):
        for scale in ("std", "none"):
            check(grouped(credits, by=by, baseline=baseline, scale=scale), credits, slow(credits, by, baseline, scale))


def team(*rewards):
    return [make_credit(reward, rollout=rollout) for rollout, reward in enumerate(rewards)]


def test_grpo_by_hand():
    spread = math.sqrt((3 * 0.25**2 + 0.75**2) / 3)  # mean 1/4, n - 1 = 3; it is 1/2
    assert spread == 0.5
    assert numbers(grpo(team(1.0, 0.0, 0.0, 0.0))) == pytest.approx([0.75 / 0.500001, *[-0.25 / 0.500001] * 3])


def test_the_spread_is_that_of_a_sample_and_not_of_a_population():
    assert numbers(grpo(team(1.0, 0.0))) == pytest.approx([1 / math.sqrt(2), -1 / math.sqrt(2)], rel=1e-5)


def test_dr_grpo_by_hand():
    assert numbers(dr_grpo(team(1.0, 0.0, 0.0, 0.5))) == [0.625, -0.375, -0.375, 0.125]


def test_rloo_by_hand():
    assert numbers(rloo(team(1.0, 0.0, 0.5))) == pytest.approx([0.75, -0.75, 0.0])


def test_role_by_hand():
    credits = [
        make_credit(1.0, "generator", 0),
        make_credit(0.0, "generator", 1),
        make_credit(1.0, "generator", 2),
        make_credit(1.0, "aggregator"),
        make_credit(0.0, "generator", 0, rollout=1),
        make_credit(0.0, "aggregator", rollout=1),
    ]
    generators = math.sqrt(1 / 3)  # of (1, 0, 1, 0), n - 1
    aggregators = math.sqrt(1 / 2)  # of (1, 0), n - 1
    half = [0.5 / generators, -0.5 / generators, 0.5 / generators, 0.5 / aggregators]
    assert numbers(role(credits)) == pytest.approx([*half, -0.5 / generators, -0.5 / aggregators], rel=1e-5)


def test_role_slot_compares_like_with_like():
    credits = [
        make_credit(1.0, slot=0),
        make_credit(1.0, slot=1),
        make_credit(0.0, slot=0, rollout=1),
        make_credit(1.0, slot=1, rollout=1),
    ]
    samples = role_slot(credits)
    assert numbers(samples) == pytest.approx([1 / math.sqrt(2), 0.0, -1 / math.sqrt(2), 0.0], rel=1e-5)
    assert [sample.signal for sample in samples] == [True, False, True, False]


def test_grpo_counts_an_episode_once_however_many_calls_it_made():
    chatty = [make_credit(1.0, slot=slot) for slot in range(5)]
    credits = [*chatty, make_credit(0.0, rollout=1), make_credit(0.0, rollout=2)]
    spread = math.sqrt((4 / 9 + 1 / 9 + 1 / 9) / 2) + 1e-6
    assert numbers(grpo(credits)) == pytest.approx([*[2 / 3 / spread] * 5, -1 / 3 / spread, -1 / 3 / spread])


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_group_of_one_carries_no_signal(rule):
    (sample,) = rule([make_credit(1.0)])
    assert (sample.advantage, sample.signal) == (0.0, False)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0])
def test_a_group_of_equal_rewards_carries_no_signal(rule, reward):
    samples = rule(team(reward, reward, reward))
    assert [(sample.advantage, sample.signal) for sample in samples] == [(0.0, False)] * 3
    assert in_loss(samples) == []


def test_rounding_alone_is_no_signal():
    assert not any(sample.signal for sample in grpo(team(0.3, 0.1 + 0.2)))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_tasks_are_never_compared_with_each_other(rule):
    samples = rule([make_credit(1.0, task="a"), make_credit(0.0, task="b")])
    assert [(sample.advantage, sample.signal) for sample in samples] == [(0.0, False)] * 2


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_credits_give_no_samples(rule):
    assert rule([]) == []


@pytest.mark.parametrize("rule", [grpo, dr_grpo, rloo], ids=["grpo", "dr_grpo", "rloo"])
def test_an_episode_with_two_rewards_cannot_be_compared_as_one(rule):
    credits = [make_credit(1.0), make_credit(0.0, "critic"), make_credit(0.0, rollout=1)]
    with pytest.raises(ValueError, match=r"task t, rollout 0: .*one reward an episode.* 1\.0 and .* 0\.0"):
        rule(credits)


def test_a_sample_has_the_tokens_of_its_call_and_a_row_without_text():
    (sample,) = grpo([make_credit(1.0, slot=2, turn=1)])
    assert sample.tokens == 3
    assert sample.row() == {
        "task": "t",
        "rollout": 0,
        "role": "generator",
        "slot": 2,
        "turn": 1,
        "reward": 1.0,
        "advantage": 0.0,
        "signal": False,
        "in_loss": False,
    }


def algorithm(**table):
    return build_algorithm(config_from({"algorithm": table}), ("generator", "critic"), {"generator", "critic"})


EPISODES = [
    make_group(
        make_episode(make_call(claim=Answer("1"), score=0.0), make_call(slot=1, claim=Answer("2"), score=1.0)),
        make_episode(make_call(claim=Answer("2"), score=1.0), make_call(slot=1), reward=0.0, rollout=1),
    )
]


def test_a_recipe_names_credit_and_advantage():
    assert numbers(algorithm().samples(EPISODES)) == pytest.approx([0.70710578, 0.70710578, -0.70710578, -0.70710578])
    own = algorithm(credit="own", advantage={"name": "grouped", "by": ["task"], "scale": "none"}).samples(EPISODES)
    assert [(sample.rollout, sample.call.key.slot) for sample in own] == [(0, 0), (0, 1), (1, 0)]
    assert numbers(own) == pytest.approx([-2 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_rewards_of_ones_own_cannot_be_compared_over_episodes(name):
    with pytest.raises(
        ConfigError, match=rf"'{name}' compares episodes, .*'own' gives .*allowed with it: role, role_slot, .*grouped"
    ):
        algorithm(credit="own", advantage=name)


@pytest.mark.parametrize("name", ["role", "role_slot"])
def test_rewards_of_ones_own_can_be_compared_over_calls(name):
    algorithm(credit="own", advantage=name).samples(EPISODES)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"advantage": "gpro"}, r"unknown algorithm\.advantage 'gpro'; did you mean 'grpo'\?"),
        ({"credit": "outcomes"}, r"unknown algorithm\.credit 'outcomes'; did you mean 'outcome'\?"),
        ({"advantage": {"name": "grpo", "by": ["task"]}}, r"algorithm\.advantage = 'grpo' takes no options; by given"),
        ({"credit": {"name": "own", "weight": 1}}, r"algorithm\.credit = 'own' takes no options; weight given"),
        ({"advantage": "grouped"}, r"algorithm\.advantage\.by is required"),
        ({"advantage": {"name": "grouped", "by": []}}, r"algorithm\.advantage\.by = \[\]: .*at least 1"),
        ({"advantage": {"name": "grouped", "by": ["rol"]}}, r"'rol': input should be 'task', 'role', 'slot'"),
        ({"advantage": {"name": "grouped", "by": ["task"], "scal": "std"}}, r"'scal'; did you mean 'scale'\?"),
    ],
)
def test_a_wrong_algorithm_is_named(table, message):
    with pytest.raises(ConfigError, match=message):
        algorithm(**table)
