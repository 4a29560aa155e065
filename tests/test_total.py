"""The rewards of an environment of others as one score."""

import math
import re

import pytest

from counterpoint.judges.verifiers.total import total


def test_a_reward_is_the_mean_of_the_rewards_by_their_weights_and_all_are_parts():
    score = total({"right": (1.0, 3.0), "short": (0.0, 1.0), "seen": (7.0, 0.0)}, {"words": 12.0}, None)
    assert score.reward == 0.75
    assert score.parts == {"right": 1.0, "short": 0.0, "seen": 7.0, "words": 12.0}


def test_a_range_says_which_sums_are_0_and_1():
    rewards = {"right": (1.0, 2.0), "long": (1.0, -1.0)}
    assert total(rewards, {}, (-1.0, 3.0)).reward == 0.5
    assert total({"right": (-1.0, 1.0)}, {}, (-1.0, 3.0)).reward == 0.0


@pytest.mark.parametrize(
    ("rewards", "span", "reason"),
    [
        ({"right": (1.5, 1.0)}, None, r"reward 'right' = 1\.5, outside \[0, 1\]: say with task.range"),
        ({"right": (-0.1, 1.0)}, None, r"reward 'right' = -0\.1, outside"),
        ({"long": (1.0, -1.0)}, None, "'long' with the negative weight -1"),
        ({"right": (math.nan, 1.0)}, None, "no finite number as reward 'right'"),
        ({"right": (math.inf, 1.0)}, (0.0, 1.0), "no finite number"),
        ({"right": None}, None, "no finite number as reward 'right'"),
        ({"seen": (1.0, 0.0)}, None, "no reward with a weight"),
        ({}, None, "no reward with a weight"),
        ({"right": (4.0, 1.0)}, (0.0, 3.0), r"gave 4 in all, outside task\.range = \[0, 3\]"),
    ],
)
def test_what_is_no_reward_is_not_judged_with_the_reason(rewards, span, reason):
    score = total(rewards, {}, span)
    assert score.reward is None
    assert re.search(reason, score.reason)


def test_rounding_takes_no_reward_out_of_its_range():
    assert total({str(place): (1.0, 0.1) for place in range(3)}, {}, None).reward == 1.0
