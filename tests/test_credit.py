"""What a call was worth; a call without a reward is left out, never given 0."""

from facts import make_call, make_episode, make_group

from counterpoint.algorithms.credit import outcome, own
from counterpoint.episode import Answer, CallKey, Unreadable

ANSWER = Answer("2")


def worth(credits):
    return [(credit.task, credit.rollout, *credit.call.key, credit.reward) for credit in credits]


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
    assert [credit.reward for credit in outcome([make_group(make_episode(call, reward=0.0))])] == [0.0]


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
        reward=0.0,
    )
    assert [credit.reward for credit in own([make_group(episode)])] == [1.0, 0.25, 0.0]


def test_own_abstains_where_there_is_no_claim_or_no_verdict_on_it():
    episode = make_episode(
        make_call(slot=0),
        make_call(slot=1, claim=ANSWER, score=None),
        make_call(slot=2, claim=ANSWER, score=0.0),
    )
    credits = own([make_group(episode)])
    assert [(credit.call.key, credit.reward) for credit in credits] == [(CallKey("generator", 2, 0), 0.0)]


def test_no_episodes_give_no_credit():
    assert outcome([]) == own([]) == []
