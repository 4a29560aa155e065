"""Rewards compared within groups, against references written another way."""

import math
import random
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from facts import make_call, make_credit, make_episode

from counterpoint.algorithms.advantage import (
    dr_grpo,
    grouped,
    grpo,
    hierarchical,
    prompt,
    rae,
    reinforce_pp,
    rloo,
    role,
    role_slot,
    role_turn,
)
from counterpoint.algorithms.base import Credit, in_loss
from counterpoint.episode import CallKey, Proposal, Unreadable
from counterpoint.errors import ConfigError

PARTS = ["task", "role", "slot", "turn", "prompt", "proposal"]
OVER_EPISODES = {"grpo": grpo, "dr_grpo": dr_grpo, "rloo": rloo, "reinforce_pp": reinforce_pp}
OVER_CALLS = {
    "role": role,
    "role_slot": role_slot,
    "role_turn": role_turn,
    "prompt": prompt,
    "hierarchical": hierarchical,
    "grouped": partial(grouped, by=["task", "role"], baseline="others", scale="none"),
}
RULES = OVER_EPISODES | OVER_CALLS
"""Those that compare. `rae` compares with what it remembers."""


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
        "proposal": credit.call.text,
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


def slow_whitened(credits):
    """Each call's difference to the mean of its task, against a scan of its policy's calls with signal."""
    plain, found = slow_by_episode(credits, "mean", "none"), []
    for mine, (value, signal) in zip(credits, plain, strict=True):
        policy = mine.call.policy
        same = [other for one, (other, has) in zip(credits, plain, strict=True) if has and one.call.policy == policy]
        told_apart = signal and len(same) > 1 and max(same) - min(same) >= 1e-8
        found.append(((value - np.mean(same)) / (np.std(same, ddof=1) + 1e-6) if told_apart else 0.0, signal))
    return found


def check(samples, credits, wanted):
    assert [sample.call for sample in samples] == [credit.call for credit in credits]
    assert [(sample.task, sample.rollout, sample.reward) for sample in samples] == [
        (credit.task, credit.rollout, credit.reward) for credit in credits
    ]
    assert [sample.signal for sample in samples] == [signal for _, signal in wanted]
    assert [sample.in_loss for sample in samples] == [signal for _, signal in wanted]
    assert numbers(samples) == pytest.approx([value for value, _ in wanted], abs=1e-12)


def random_calls(source):
    """The calls of an episode: some of three plans are proposed, one maybe twice, and followed by calls whose text says
    which one they followed.
    """
    keys = [CallKey(name, slot, turn) for name in ("generator", "critic") for slot in range(3) for turn in range(2)]
    plans = [source.randrange(3) for _ in range(source.randint(0, 2))]
    followers, calls = [[] for _ in plans], []
    for key in source.sample(keys, source.randint(1, 6)):
        followed = source.choice([None, *range(len(plans))])
        if followed is not None:
            followers[followed].append(key)
        text = "followed nobody" if followed is None else f"followed {plans[followed]}"
        calls.append(make_call(*key, text=text, prompt_ids=(11, source.randrange(2))))
    for turn, (plan, keys) in enumerate(zip(plans, followers, strict=True)):
        claim = Proposal(tuple(keys))
        calls.append(make_call("planner", turn=turn, claim=claim, completion_ids=(20, plan), text="followed nobody"))
    return calls


def random_credits(seed, *, equal_in_an_episode):
    """Credits in a mixed order: three tasks, episodes of different length, several roles, slots, turns and prompts."""
    source = random.Random(seed)
    credits = []
    for task in ("a", "b", "c"):
        for rollout in range(source.randint(1, 5)):
            episode = make_episode(*random_calls(source), task=task, rollout=rollout)
            reward = source.choice([0.0, 0.25, 1.0])
            for call in episode.calls:
                own = reward if equal_in_an_episode else source.choice([0.0, 0.5, 1.0])
                credits.append(Credit(episode=episode, call=call, reward=own))
    source.shuffle(credits)
    return credits


PLAN = make_call("planner", claim=Proposal(()))


def team(*rewards, task="t"):
    """One call an episode, in episodes in which a plan was made that nobody followed."""
    credits = [make_credit(reward, task=task, rollout=rollout) for rollout, reward in enumerate(rewards)]
    return [replace(one, episode=replace(one.episode, calls=(PLAN, one.call))) for one in credits]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "baseline", "scale"), [("grpo", "mean", "std"), ("dr_grpo", "mean", "none"), ("rloo", "others", "none")]
)
def test_rules_over_episodes_agree_with_a_slow_reference(name, baseline, scale, seed):
    credits = random_credits(seed, equal_in_an_episode=True)
    check(RULES[name](credits), credits, slow_by_episode(credits, baseline, scale))


@pytest.mark.parametrize("seed", range(5))
def test_reinforce_pp_agrees_with_a_slow_reference(seed):
    credits = random_credits(seed, equal_in_an_episode=True)
    check(reinforce_pp(credits), credits, slow_whitened(credits))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "by", "baseline", "scale"),
    [
        ("role", ["task", "role"], "mean", "std"),
        ("role_slot", ["task", "role", "slot"], "mean", "std"),
        ("role_turn", ["task", "role", "turn"], "mean", "std"),
        ("prompt", ["task", "role", "turn", "prompt"], "mean", "std"),
        ("hierarchical", ["task", "role", "proposal"], "mean", "none"),
        ("grouped", ["task", "role"], "others", "none"),
    ],
)
def test_rules_over_calls_agree_with_a_slow_reference(name, by, baseline, scale, seed):
    credits = random_credits(seed, equal_in_an_episode=False)
    check(RULES[name](credits), credits, slow(credits, by, baseline, scale))


@pytest.mark.parametrize(
    "by", [list(parts) for count in range(1, len(PARTS) + 1) for parts in combinations(PARTS, count)], ids="+".join
)
def test_any_group_key_agrees_with_a_slow_reference(by):
    credits = random_credits(6, equal_in_an_episode=False)
    for baseline in ("mean", "others"):
        for scale in ("std", "none"):
            check(grouped(credits, by=by, baseline=baseline, scale=scale), credits, slow(credits, by, baseline, scale))


def test_every_part_of_a_group_key_tells_calls_apart():
    credits = random_credits(6, equal_in_an_episode=False)
    whole = numbers(grouped(credits, by=PARTS))
    for left_out in PARTS:
        assert numbers(grouped(credits, by=[part for part in PARTS if part != left_out])) != whole


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [*RULES, "rae"])
def test_the_order_of_calls_changes_no_advantage(name, seed):
    credits = random_credits(seed, equal_in_an_episode=name in OVER_EPISODES)
    order = random.Random(seed).sample(range(len(credits)), len(credits))
    rule, other = (RULES.get(name) or partial(rae, baselines={"generator": 0.25}) for _ in range(2))
    samples = rule(credits)
    assert other([credits[index] for index in order]) == [samples[index] for index in order]


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


def test_reinforce_pp_by_hand():
    # over the tasks +-1/2; 3/4 and three times -1/4; and 0 without signal, which does not count:
    # the six have the mean 0 and the sum of squares 2/4 + 9/16 + 3/16 = 5/4, so the deviation 1/2
    credits = [*team(1.0, 0.0, task="a"), *team(1.0, 0.0, 0.0, 0.0, task="b"), *team(1.0, 1.0, task="c")]
    samples = reinforce_pp(credits)
    assert numbers(samples) == pytest.approx([1.0, -1.0, 1.5, -0.5, -0.5, -0.5, 0.0, 0.0], rel=1e-5)
    assert [sample.signal for sample in samples] == [True] * 6 + [False] * 2


def test_reinforce_pp_whitens_over_the_calls_of_each_policy():
    credits = [
        *(make_credit(1.0, "generator", slot) for slot in range(3)),
        make_credit(1.0, "critic"),
        make_credit(0.0, "generator", rollout=1),
        make_credit(0.0, "critic", rollout=1),
    ]
    # +-1/2 an episode; generators: three 1/2 and one -1/2 have the mean 1/4 and the deviation 1/2
    root = 1 / math.sqrt(2)
    assert numbers(reinforce_pp(credits)) == pytest.approx([0.5, 0.5, 0.5, root, -1.5, -root], rel=1e-5)


def test_reinforce_pp_whitens_roles_that_share_a_policy_together():
    credits = [
        make_credit(1.0, "generator"),
        make_credit(1.0, "critic"),
        make_credit(1.0, "critic", 1),
        make_credit(0.0, "generator", rollout=1),
    ]
    shared = [replace(credit, call=replace(credit.call, policy="shared")) for credit in credits]
    assert numbers(reinforce_pp(shared)) == pytest.approx([0.5, 0.5, 0.5, -1.5], rel=1e-5)


def test_reinforce_pp_gives_a_policy_that_it_cannot_tell_apart_from_its_mean_no_advantage():
    credits = [
        make_credit(1.0, "generator"),
        make_credit(0.0, "generator", rollout=1),
        make_credit(1.0, "critic"),
        make_credit(0.0, "judge", 0, rollout=1),
        make_credit(0.0, "judge", 1, rollout=1),
    ]
    assert numbers(reinforce_pp(credits))[2:] == [0.0, 0.0, 0.0]


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


def test_role_weighs_an_episode_by_its_calls_where_grpo_counts_it_once():
    credits = [*(make_credit(1.0, slot=slot) for slot in range(3)), make_credit(0.0, rollout=1)]
    # over the calls: mean 3/4, deviation 1/2; over the episodes: mean 1/2, deviation sqrt(1/2)
    assert numbers(role(credits)) == pytest.approx([0.5, 0.5, 0.5, -1.5], rel=1e-5)
    root = 1 / math.sqrt(2)
    assert numbers(grpo(credits)) == pytest.approx([root, root, root, -root], rel=1e-5)


def test_parallel_calls_are_compared_with_each_other_by_role_and_with_their_like_by_role_slot():
    credits = [
        make_credit(1.0, slot=0),
        make_credit(1.0, slot=1),
        make_credit(0.0, slot=0, rollout=1),
        make_credit(1.0, slot=1, rollout=1),
    ]
    samples = role_slot(credits)
    assert numbers(samples) == pytest.approx([1 / math.sqrt(2), 0.0, -1 / math.sqrt(2), 0.0], rel=1e-5)
    assert [sample.signal for sample in samples] == [True, False, True, False]
    assert numbers(role(credits)) == pytest.approx([0.5, 0.5, -1.5, 0.5], rel=1e-5)  # mean 3/4, deviation 1/2


def test_parallel_calls_of_one_episode_alone_are_a_group_by_role_and_none_by_role_slot():
    credits = [make_credit(1.0, slot=0), make_credit(0.0, slot=1)]
    assert numbers(role(credits)) == pytest.approx([1 / math.sqrt(2), -1 / math.sqrt(2)], rel=1e-5)
    assert [(sample.advantage, sample.signal) for sample in role_slot(credits)] == [(0.0, False)] * 2


REFINED = [
    make_credit(0.0, turn=0),
    make_credit(1.0, turn=1),
    make_credit(1.0, turn=0, rollout=1),
    make_credit(1.0, turn=1, rollout=1),
]


def test_a_refinement_is_compared_with_first_drafts_by_role_and_with_refinements_by_role_turn():
    samples = role_turn(REFINED)
    assert numbers(samples) == pytest.approx([-1 / math.sqrt(2), 0.0, 1 / math.sqrt(2), 0.0], rel=1e-5)
    assert [sample.signal for sample in samples] == [True, False, True, False]
    assert numbers(role(REFINED)) == pytest.approx([-1.5, 0.5, 0.5, 0.5], rel=1e-5)


def test_rounds_compare_all_their_parallel_calls():
    credits = [make_credit(1.0, slot=0, turn=1), make_credit(0.0, slot=1, turn=1), make_credit(0.0, turn=0)]
    samples = role_turn(credits)
    assert numbers(samples) == pytest.approx([1 / math.sqrt(2), -1 / math.sqrt(2), 0.0], rel=1e-5)
    assert [sample.signal for sample in samples] == [True, True, False]


def test_only_answers_to_the_same_prompt_are_compared_by_prompt():
    credits = [
        make_credit(1.0, prompt=(5, 6)),
        make_credit(0.0, prompt=(5, 6), rollout=1),
        make_credit(0.5, prompt=(5, 7), rollout=2),
        make_credit(0.0, prompt=(5, 7), rollout=3),
        make_credit(0.0, prompt=(5, 7), rollout=4),
        make_credit(1.0, prompt=(5,), rollout=5),
        make_credit(0.0, prompt=(5, 6), turn=1, rollout=6),
    ]
    samples = prompt(credits)
    root, third = 1 / math.sqrt(2), 1 / math.sqrt(12)  # (1/2, 0, 0): mean 1/6, deviation sqrt(1/12)
    wanted = [root, -root, 1 / 3 / third, -1 / 6 / third, -1 / 6 / third, 0.0, 0.0]
    assert numbers(samples) == pytest.approx(wanted, rel=1e-5)
    assert [sample.signal for sample in samples] == [True] * 5 + [False] * 2


def test_parallel_calls_with_the_same_prompt_are_one_group_by_prompt():
    credits = [make_credit(1.0, slot=0), make_credit(0.0, slot=1), make_credit(0.0, "critic"), make_credit(1.0, slot=2)]
    samples = prompt(credits)
    assert [sample.signal for sample in samples] == [True, True, False, True]
    deviation = math.sqrt(1 / 3)  # of (1, 0, 1): mean 2/3
    assert numbers(samples) == pytest.approx([1 / 3 / deviation, -2 / 3 / deviation, 0, 1 / 3 / deviation], rel=1e-5)


def test_two_steps_of_rae_by_hand():
    baselines = {}
    first = [make_credit(1.0), make_credit(0.0, slot=1), make_credit(1.0, slot=2), make_credit(0.5, "critic")]
    assert numbers(rae(first, baselines=baselines)) == [1.0, 0.0, 1.0, 0.5]  # the baselines start at 0
    assert baselines == pytest.approx({"generator": 1 / 30, "critic": 1 / 40})  # a twentieth of 2/3 and of 1/2
    second = [make_credit(1.0), make_credit(0.0, "critic")]
    assert numbers(rae(second, baselines=baselines)) == pytest.approx([29 / 30, -1 / 40])
    assert baselines == pytest.approx({"generator": 0.95 / 30 + 0.05, "critic": 0.95 / 40})


def test_rae_moves_a_baseline_after_it_was_used_and_once_a_step():
    baselines = {"generator": 0.5}
    samples = rae(team(1.0, 0.0, 0.0, 0.0), baselines=baselines, decay=0.5)
    assert numbers(samples) == [0.5, -0.5, -0.5, -0.5]
    assert baselines == {"generator": 0.375}  # half of 1/2 and half of 1/4


def test_rae_does_not_care_about_tasks_and_leaves_roles_that_did_not_speak_alone():
    baselines = {"generator": 0.25, "critic": 0.75}
    samples = rae([make_credit(1.0, task="a"), make_credit(0.0, task="b")], baselines=baselines, decay=0.0)
    assert numbers(samples) == [0.75, -0.25]
    assert baselines == {"generator": 0.5, "critic": 0.75}


def test_with_rae_every_call_has_signal():
    baselines = {"generator": 1.0}
    assert [(one.advantage, one.signal, one.in_loss) for one in rae([make_credit(1.0)], baselines=baselines)] == [
        (0.0, True, True)
    ]
    assert rae([], baselines=baselines) == []
    assert baselines == {"generator": 1.0}


def planned(rollout, plan, of_plan, *rewards):
    """The credits of an episode in which `plan` was worth `of_plan`, and the workers that followed it `rewards`."""
    workers = [make_call("worker", slot) for slot in range(len(rewards))]
    claim = Proposal(tuple(worker.key for worker in workers))
    planner = make_call("planner", claim=claim, completion_ids=plan)
    episode = make_episode(planner, *workers, rollout=rollout)
    return [
        Credit(episode=episode, call=call, reward=reward)
        for call, reward in zip(episode.calls, (of_plan, *rewards), strict=True)
    ]


def test_hierarchical_by_hand():
    credits = [*planned(0, (5, 6), 0.5, 1.0, 0.0), *planned(1, (7,), 1.0, 1.0, 1.0), *planned(2, (7,), 0.0, 0.0)]
    samples = hierarchical(credits)
    # plans: 1/2, 1 and 0; followers of (5, 6): 1 and 0; followers of (7,), proposed twice: 1, 1 and 0
    wanted = [0.0, 0.5, -0.5, 0.5, 1 / 3, 1 / 3, -0.5, -2 / 3]
    assert numbers(samples) == pytest.approx(wanted)
    assert all(sample.signal for sample in samples)


def test_proposals_are_followed_within_their_task():
    here = planned(0, (5, 6), 1.0, 1.0, 0.0)
    there = [replace(one, episode=replace(one.episode, task="u")) for one in planned(0, (5, 6), 0.0, 1.0, 1.0)]
    samples = hierarchical([*here, *there])
    assert numbers(samples) == [0.0, 0.5, -0.5, 0.0, 0.0, 0.0]
    assert [sample.signal for sample in samples] == [False, True, True, False, False, False]


def test_a_call_followed_the_proposal_that_names_it_and_no_other():
    keys = [CallKey("worker", slot, 0) for slot in range(4)]
    plans = [
        make_call("planner", turn=turn, claim=Proposal(tuple(keys[2 * turn : 2 * turn + 2])), completion_ids=(turn,))
        for turn in range(2)
    ]
    episode = make_episode(*plans, *(make_call(*key) for key in keys))
    rewards = (0.0, 0.0, 1.0, 0.0, 0.25, 0.75)
    credits = [Credit(episode=episode, call=call, reward=own) for call, own in zip(episode.calls, rewards, strict=True)]
    assert numbers(hierarchical(credits)) == [0.0, 0.0, 0.5, -0.5, -0.25, 0.25]


def test_who_follows_nobody_is_compared_with_its_like_on_the_task():
    credits = []
    for rollout, reward in enumerate((1.0, 0.0, 0.5)):
        planner, worker = planned(rollout, (rollout,), reward, 1.0)
        writer = make_call("writer")
        episode = replace(planner.episode, calls=(*planner.episode.calls, writer))
        credits += [replace(worker, episode=episode), Credit(episode=episode, call=writer, reward=reward)]
    samples = hierarchical(credits)
    assert numbers(samples) == [0.0, 0.5, 0.0, -0.5, 0.0, 0.0]
    assert [sample.signal for sample in samples] == [False, True] * 3


def test_a_plan_that_cannot_be_read_is_compared_with_the_other_plans():
    unread = make_call("planner", claim=Unreadable("no strategy"))
    credits = [*planned(0, (5,), 1.0, 1.0, 0.0), Credit(episode=make_episode(unread), call=unread, reward=0.0)]
    assert numbers(hierarchical(credits)) == [0.5, 0.5, -0.5, -0.5]
    assert hierarchical(credits[-1:])[0].signal is False


def test_a_step_in_which_nobody_proposed_compares_the_calls_of_a_role():
    assert numbers(hierarchical([make_credit(1.0), make_credit(0.0, rollout=1)])) == [0.5, -0.5]


def test_grpo_counts_an_episode_once_however_many_calls_it_made():
    chatty = [make_credit(1.0, slot=slot) for slot in range(5)]
    credits = [*chatty, make_credit(0.0, rollout=1), make_credit(0.0, rollout=2)]
    spread = math.sqrt((4 / 9 + 1 / 9 + 1 / 9) / 2) + 1e-6
    assert numbers(grpo(credits)) == pytest.approx([*[2 / 3 / spread] * 5, -1 / 3 / spread, -1 / 3 / spread])


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("reward", [0.25, 1.0])
def test_a_group_of_one_carries_no_signal(rule, reward):
    (sample,) = rule(team(reward))
    assert (sample.advantage, sample.signal, sample.in_loss) == (0.0, False, False)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0])
def test_a_group_of_equal_rewards_carries_no_signal(rule, reward):
    samples = rule(team(reward, reward, reward))
    assert [(sample.advantage, sample.signal) for sample in samples] == [(0.0, False)] * 3
    assert in_loss(samples) == []


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_group_of_different_rewards_carries_signal(rule):
    samples = rule(team(1.0, 0.0))
    assert all(sample.signal for sample in samples)
    assert numbers(samples)[0] > 0 > numbers(samples)[1]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_rounding_alone_is_no_signal(rule):
    assert [(one.advantage, one.signal) for one in rule(team(0.3, 0.1 + 0.2))] == [(0.0, False)] * 2


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_tasks_are_never_compared_with_each_other(rule):
    samples = rule([*team(1.0, task="a"), *team(0.0, task="b")])
    assert [(sample.advantage, sample.signal) for sample in samples] == [(0.0, False)] * 2


@pytest.mark.parametrize("rule", OVER_CALLS.values(), ids=OVER_CALLS)
def test_roles_are_never_compared_with_each_other(rule):
    (one,), (other,) = team(1.0), team(0.0)
    other = replace(other, call=make_call("critic", prompt_ids=one.call.prompt_ids))
    assert [(sample.advantage, sample.signal) for sample in rule([one, other])] == [(0.0, False)] * 2


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_credits_give_no_samples(rule):
    assert rule([]) == []


@pytest.mark.parametrize("rule", OVER_EPISODES.values(), ids=OVER_EPISODES)
def test_an_episode_with_two_rewards_cannot_be_compared_as_one(rule):
    credits = [make_credit(1.0), make_credit(0.0, "critic"), make_credit(0.0, rollout=1)]
    with pytest.raises(ConfigError, match=r"task t, rollout 0: .*one reward per episode.* 1\.0 and .* 0\.0"):
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
