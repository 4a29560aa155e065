"""What a call was worth; a call without a reward is left out, never given 0."""

import random
from dataclasses import replace
from itertools import product

import pytest
from facts import make_call, make_episode, make_group

from counterpoint.algorithms.credit import added, help_hurt, mix, outcome, own
from counterpoint.episode import NO_ANSWER, Answer, CallKey, Choice, Proposal, Unreadable

ANSWER = Answer("2")


def worth(credits):
    return [(credit.task, credit.rollout, *credit.call.key, credit.reward) for credit in credits]


def rewards(credits):
    return [credit.reward for credit in credits]


def beside(episodes, solos):
    """A group whose episodes were also played alone."""
    return replace(make_group(*episodes), solos=tuple(solos))


def random_groups(seed):
    """Two tasks; teams and solos that failed, were not judged, half right or right; calls with and without claims."""
    source = random.Random(seed)

    def episode(task, rollout):
        calls = [
            make_call(
                source.choice(["generator", "critic", "judge"]),
                slot,
                claim=source.choice([None, ANSWER, Unreadable("nothing there")]),
                score=source.choice([None, 0.0, 0.25, 1.0]),
            )
            for slot in range(source.randint(1, 5))
        ]
        calls = [replace(call, score=None) if call.claim is None else call for call in calls]
        failed = source.random() < 0.2
        reward = source.choice([None, 0.0, 0.5, 1.0])
        return make_episode(*calls, reward=reward, task=task, rollout=rollout, error="it broke" if failed else None)

    return [
        beside([episode(task, index) for index in range(5)], [episode(task, index) for index in range(5)])
        for task in ("a", "b")
    ]


def slow(groups, rule):
    """`rule(call, R, R alone)` for every call, None where there is no credit."""
    found = []
    for group in groups:
        for index in range(len(group.episodes)):
            episode, alone = group.episodes[index], group.solos[index]
            for call in episode.calls:
                reward = rule(call, episode.score.reward, alone.score.reward)
                if reward is not None:
                    found.append((group.task, index, *call.key, pytest.approx(reward, abs=1e-12)))
    return found


def slow_mix(call, team, alone):
    if team is None:
        return None
    if call.claim is None:
        return 0.75 * team + 0.125
    if call.score is None:
        return None
    if isinstance(call.claim, Unreadable):
        return 0.75 * team + 0.5 * call.score
    return 0.75 * team + 0.5 * call.score + 0.125


def slow_help_hurt(call, team, alone):
    bonus = 0.0
    if call.key.role in ("critic", "judge") and team is not None and alone is not None:
        if team == 1.0 and alone < 1.0:
            bonus = 0.25
        if team < 1.0 and alone == 1.0:
            bonus = -0.25
    return None if team is None else team + bonus


def slow_added(call, episode):
    if call.key.role != "judge":
        return episode.score.reward
    if call.score is None:
        return None
    total, count, given = 0.0, 0, 0
    for other in episode.calls:
        if other.key.role != "judge" and isinstance(other.claim, Answer):
            given += 1
            if other.score is not None:
                total, count = total + other.score, count + 1
    if given and not count:
        return None
    return call.score - (total / count if count else 0.0)


SLOW = {
    "outcome": (outcome, lambda call, team, alone: team),
    "own": (own, lambda call, team, alone: call.score),
    "mix": (lambda groups: mix(groups, team=0.75, own=0.5, format=0.125), slow_mix),
    "help_hurt": (
        lambda groups: help_hurt(groups, solo="generator", roles=["critic", "judge"], weight=0.25),
        slow_help_hurt,
    ),
}


@pytest.mark.parametrize("seed", range(5))
def test_what_a_role_added_agrees_with_a_slow_reference(seed):
    groups = random_groups(seed)
    found = [credit.reward for credit in added(groups, roles=["judge"])]
    every = [slow_added(call, episode) for group in groups for episode in group.episodes for call in episode.calls]
    assert found == pytest.approx([reward for reward in every if reward is not None])


def test_a_choice_is_worth_what_it_adds_to_a_blind_one_by_hand():
    def team(*drafts, chosen, claim=None):
        calls = [make_call(slot=slot, claim=ANSWER, score=score) for slot, score in enumerate(drafts)]
        last = make_call("aggregator", turn=1, claim=claim or Choice((), 0), score=chosen)
        return make_episode(*calls, last, reward=chosen)

    episodes = [
        team(1.0, 0.0, 0.0, chosen=1.0),  # 1 - 1/3
        team(1.0, 0.0, 0.0, chosen=0.0),  # 0 - 1/3
        team(1.0, 1.0, 1.0, chosen=1.0),  # nothing to choose
        team(0.0, 0.0, 0.0, chosen=0.0),
        team(1.0, 1.0, 0.0, chosen=0.0, claim=Unreadable("no choice")),  # as bad as a wrong choice
    ]
    found = [one.reward for one in added([make_group(*episodes)], roles=["aggregator"]) if one.call.key.turn]
    assert found == pytest.approx([2 / 3, -1 / 3, 0.0, 0.0, -2 / 3])


def test_an_unreadable_draft_is_a_draft_that_is_worth_nothing():
    drafts = [make_call(slot=0, claim=ANSWER, score=1.0), make_call(slot=1, claim=Unreadable(NO_ANSWER), score=0.0)]
    last = make_call("aggregator", turn=1, claim=Choice((), 0), score=1.0)
    found = added([make_group(make_episode(*drafts, last, reward=1.0))], roles=["aggregator"])
    assert rewards(found) == [1.0, 1.0, 0.5]


def test_nothing_can_be_said_of_a_choice_among_drafts_that_were_not_judged():
    def rewards_with(*drafts):
        calls = [make_call(slot=slot, claim=ANSWER, score=score) for slot, score in enumerate(drafts)]
        last = make_call("aggregator", turn=1, claim=Choice((), 0), score=1.0)
        return rewards(added([make_group(make_episode(*calls, last, reward=1.0))], roles=["aggregator"]))

    assert rewards_with(None, None) == [1.0, 1.0]
    assert rewards_with(None, 0.0) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("rule", "reference"), SLOW.values(), ids=SLOW)
def test_every_credit_agrees_with_a_slow_reference(rule, reference, seed):
    groups = random_groups(seed)
    assert worth(rule(groups)) == slow(groups, reference)


@pytest.mark.parametrize(("rule", "reference"), SLOW.values(), ids=SLOW)
def test_a_credit_knows_its_call_and_the_episode_it_was_made_in(rule, reference):
    for credit in rule(random_groups(0)):
        assert any(credit.call is call for call in credit.episode.calls)


@pytest.mark.parametrize(("rule", "reference"), SLOW.values(), ids=SLOW)
def test_no_episodes_give_no_credit(rule, reference):
    assert rule([]) == []


def test_outcome_gives_every_call_its_episodes_reward_in_the_order_played():
    groups = [
        make_group(
            make_episode(make_call(slot=0), make_call(slot=1), make_call("critic", turn=1), reward=0.25),
            make_episode(make_call(), reward=0.0, rollout=1),
        ),
        make_group(make_episode(make_call(), task="u")),
    ]
    assert worth(outcome(groups)) == [
        ("t", 0, "generator", 0, 0, 0.25),
        ("t", 0, "generator", 1, 0, 0.25),
        ("t", 0, "critic", 0, 1, 0.25),
        ("t", 1, "generator", 0, 0, 0.0),
        ("u", 0, "generator", 0, 0, 1.0),
    ]


def test_outcome_ignores_what_a_claim_was_worth():
    call = make_call(claim=ANSWER, score=1.0)
    assert rewards(outcome([make_group(make_episode(call, reward=0.0))])) == [0.0]


def test_a_failed_or_unjudged_episode_gives_no_outcome():
    groups = [
        make_group(
            make_episode(make_call(), error="it broke"),
            make_episode(make_call(), reward=None, rollout=1),
            make_episode(make_call(), reward=0.0, rollout=2),
        )
    ]
    assert worth(outcome(groups)) == [("t", 2, "generator", 0, 0, 0.0)]


def test_own_gives_each_call_the_worth_of_its_claim():
    episode = make_episode(
        make_call(slot=0, claim=ANSWER, score=1.0),
        make_call(slot=1, claim=ANSWER, score=0.25),
        make_call("critic", claim=Unreadable("no verdict"), score=0.0),
        make_call("planner", claim=Proposal((CallKey("generator", 0, 0), CallKey("generator", 1, 0))), score=0.625),
        reward=0.0,
    )
    assert rewards(own([make_group(episode)])) == [1.0, 0.25, 0.0, 0.625]


def test_own_abstains_where_there_is_no_claim_or_no_verdict_on_it():
    episode = make_episode(
        make_call(slot=0),
        make_call(slot=1, claim=ANSWER, score=None),
        make_call(slot=2, claim=ANSWER, score=0.0),
    )
    credits = own([make_group(episode)])
    assert [(credit.call.key, credit.reward) for credit in credits] == [(CallKey("generator", 2, 0), 0.0)]


MIXED = make_episode(
    make_call(slot=0, claim=ANSWER, score=1.0),
    make_call(slot=1, claim=ANSWER, score=0.25),
    make_call(slot=2, claim=Unreadable("no answer"), score=0.0),
    make_call("planner"),
    reward=0.5,
)


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        ({}, [1.0, 0.625, 0.5, 0.5]),  # R + own / 2
        ({"team": 2.0, "own": 0.5, "format": 0.125}, [1.625, 1.25, 1.0, 1.125]),
        ({"team": 1.0, "own": 0.0}, [0.5, 0.5, 0.5, 0.5]),
        ({"team": 0.0, "own": 1.0}, [1.0, 0.25, 0.0, 0.0]),
        ({"team": 0.0, "own": 0.0, "format": 0.25}, [0.25, 0.25, 0.0, 0.25]),
    ],
)
def test_mix_gives_the_numbers_worked_out_by_hand(weights, wanted):
    assert rewards(mix([make_group(MIXED)], **weights)) == wanted


def test_mix_abstains_where_the_claim_or_the_episode_was_not_judged():
    groups = [
        make_group(
            make_episode(make_call(slot=0, claim=ANSWER), make_call(slot=1, claim=ANSWER, score=1.0)),
            make_episode(make_call(claim=ANSWER, score=1.0), reward=None, rollout=1),
            make_episode(make_call(claim=ANSWER, score=1.0), error="it broke", rollout=2),
        )
    ]
    assert worth(mix(groups)) == [("t", 0, "generator", 1, 0, 1.5)]


@pytest.mark.parametrize(
    ("team", "alone", "wanted"),
    [
        (1.0, 0.0, 1.25),  # it helped
        (0.0, 1.0, -0.25),  # it hurt
        (1.0, 1.0, 1.0),
        (0.0, 0.0, 0.0),
        (0.5, 0.0, 0.5),  # half right is wrong, as alone
        (0.5, 1.0, 0.25),
        (1.0, 0.5, 1.25),
        (1.0, None, 1.0),  # nothing to compare with
        (0.0, None, 0.0),
    ],
)
def test_help_hurt_gives_the_numbers_worked_out_by_hand(team, alone, wanted):
    played = make_episode(make_call("critic"), make_call("generator", turn=1), reward=team)
    groups = [beside([played], [make_episode(make_call(), reward=alone)])]
    assert rewards(help_hurt(groups, solo="generator", roles=["critic"], weight=0.25)) == [wanted, team]


def test_help_hurt_adds_half_of_a_reward_unless_told_otherwise():
    groups = [beside([make_episode(make_call("critic"))], [make_episode(make_call(), reward=0.0)])]
    assert rewards(help_hurt(groups, solo="generator", roles=["critic"])) == [1.5]


def test_help_hurt_sets_each_episode_against_the_solo_of_its_own_rollout_and_task():
    groups = [
        beside(
            [make_episode(make_call("critic"), reward=1.0, task=task, rollout=index) for index in range(2)],
            [make_episode(make_call(), reward=alone, task=task, rollout=index) for index, alone in enumerate(solos)],
        )
        for task, solos in (("a", (0.0, 1.0)), ("b", (1.0, 0.0)))
    ]
    assert worth(help_hurt(groups, solo="generator", roles=["critic"], weight=0.25)) == [
        ("a", 0, "critic", 0, 0, 1.25),
        ("a", 1, "critic", 0, 0, 1.0),
        ("b", 0, "critic", 0, 0, 1.0),
        ("b", 1, "critic", 0, 0, 1.25),
    ]


@pytest.mark.parametrize("alone", [0.0, 1.0])
def test_help_hurt_gives_a_failed_episode_no_credit(alone):
    solo = make_episode(make_call(), reward=alone)
    groups = [beside([make_episode(make_call("critic"), error="it broke")], [solo])]
    assert help_hurt(groups, solo="generator", roles=["critic"]) == []


def test_help_hurt_does_not_make_do_without_solo_episodes():
    with pytest.raises(ValueError, match="shorter"):
        help_hurt([make_group(make_episode(make_call("critic")))], solo="generator", roles=["critic"])


@pytest.mark.parametrize(("rule", "reference"), SLOW.values(), ids=SLOW)
def test_the_order_of_tasks_changes_no_credit(rule, reference):
    groups = random_groups(1)
    assert sorted(worth(rule(groups))) == sorted(worth(rule(groups[::-1])))


def test_the_weights_of_a_mix_are_what_tells_the_team_from_the_claim():
    for team, claim in product((0.0, 1.0), repeat=2):
        episode = make_episode(make_call(claim=ANSWER, score=claim), reward=team)
        assert rewards(mix([make_group(episode)], team=1.0, own=0.25)) == [team + 0.25 * claim]
