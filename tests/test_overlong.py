"""What becomes of replies that are too long."""

import random

import pytest
from facts import make_call

from counterpoint.algorithms.overlong import keep, mask, soft


def reply(length, finish="stop"):
    return make_call(completion_ids=(5,) * length, finish=finish)


def test_kept_replies_lose_nothing_and_are_in_the_loss():
    for call in (reply(1), reply(1000, "length")):
        assert (keep().penalty(call), keep().masks(call)) == (0.0, False)


def test_masked_are_the_replies_that_reached_the_limit_before_they_ended():
    assert not mask().masks(reply(1000, "stop"))
    assert mask().masks(reply(3, "length"))
    assert mask().penalty(reply(1000, "length")) == 0.0


@pytest.mark.parametrize(
    ("length", "taken_off"),
    [(1, 0.0), (5, 0.0), (6, 0.0), (7, 0.25), (8, 0.5), (9, 0.75), (10, 1.0), (12, 1.0)],
)
def test_a_soft_penalty_grows_over_the_last_tokens_by_hand(length, taken_off):
    rule = soft(max_tokens=10, buffer=4)
    assert rule.penalty(reply(length)) == taken_off
    assert soft(max_tokens=10, buffer=4, penalty=0.5).penalty(reply(length)) == taken_off / 2


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_a_soft_penalty_keeps_every_reply_in_the_loss_and_asks_for_its_length_alone(finish):
    rule = soft(max_tokens=10, buffer=4)
    assert not rule.masks(reply(10, finish))
    assert rule.penalty(reply(8, finish)) == 0.5


def test_a_buffer_as_long_as_the_limit_takes_something_off_every_token():
    rule = soft(max_tokens=8, buffer=8)
    assert [rule.penalty(reply(length)) for length in (1, 2, 8)] == [0.125, 0.25, 1.0]


def test_a_soft_penalty_agrees_with_a_slow_reference():
    source = random.Random(0)
    for _ in range(50):
        limit = source.randint(1, 40)
        buffer, length, most = source.randint(1, limit), source.randint(1, 45), source.uniform(0.1, 3.0)
        over = [place for place in range(1, min(length, limit) + 1) if place > limit - buffer]
        found = soft(max_tokens=limit, buffer=buffer, penalty=most).penalty(reply(length))
        assert found == pytest.approx(most * len(over) / buffer, rel=1e-12)
