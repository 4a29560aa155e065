"""The weight of each token in a policy's update, against sums over the tokens one by one and numbers by hand."""

import math
import random
from functools import partial

import pytest
from facts import make_call

from counterpoint.algorithms.aggregation import balanced, call, constant, nominal, token
from counterpoint.algorithms.base import Sample

PLAIN = {"token": token, "call": call, "constant": partial(constant, max_tokens=10)}
RULES = {
    **PLAIN,
    **{f"balanced {name}": partial(balanced, aggregation=rule) for name, rule in PLAIN.items()},
    **{f"nominal {name}": partial(nominal, aggregation=rule, calls=8) for name, rule in PLAIN.items()},
    "nominal balanced call": partial(nominal, aggregation=partial(balanced, aggregation=call), calls=8),
}


def update(*spoken):
    """The samples of an update: (role, length) of each call."""
    return [
        Sample(
            task="t",
            rollout=index,
            call=make_call(role, completion_ids=(5,) * length),
            reward=0.0,
            advantage=1.0,
            signal=True,
        )
        for index, (role, length) in enumerate(spoken)
    ]


def lengths(*values):
    return update(*(("generator", length) for length in values))


def random_update(seed):
    source = random.Random(seed)
    return update(
        *((source.choice(["generator", "critic", "judge"]), source.randint(1, 10)) for _ in range(source.randint(1, 8)))
    )


def slow(name, samples):
    """The weights, from the mean over nested lists of ones in which one token is a 1 among zeros."""

    def mean(values):
        return sum(values) / len(values)

    def whole(rows):
        if "token" in name:
            return mean([value for row in rows for value in row])
        if "call" in name:
            return mean([mean(row) for row in rows])
        return mean([sum(row) / 10 for row in rows])

    def value(rows):
        if "balanced" not in name:
            found = whole(rows)
        else:
            roles = [sample.call.key.role for sample in samples]
            found = mean([whole([row for row, role in zip(rows, roles, strict=True) if role == r]) for r in set(roles)])
        return found * len(rows) / 8 if "nominal" in name else found

    weights = []
    for one in range(len(samples)):
        rows = [[0.0] * sample.tokens for sample in samples]
        rows[one][-1] = 1.0
        weights.append(value(rows))
    return weights


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", RULES)
def test_every_aggregation_agrees_with_a_slow_reference(name, seed):
    samples = random_update(seed)
    assert RULES[name](samples) == pytest.approx(slow(name, samples), rel=1e-12)


def test_token_aggregation_gives_every_token_of_the_update_the_same_weight():
    assert token(lengths(1, 3, 4)) == [1 / 8, 1 / 8, 1 / 8]


def test_call_aggregation_gives_every_call_of_the_update_the_same_weight():
    assert call(lengths(1, 3, 4)) == [1 / 3, 1 / 9, 1 / 12]


def test_constant_aggregation_gives_a_token_the_same_weight_whatever_the_lengths_are():
    assert constant(lengths(1, 3, 4), max_tokens=10) == [1 / 30, 1 / 30, 1 / 30]
    assert constant(lengths(10, 10, 10), max_tokens=10) == [1 / 30, 1 / 30, 1 / 30]


TALK = (("generator", 1), ("critic", 2), ("generator", 3), ("generator", 4))


@pytest.mark.parametrize(
    ("aggregation", "wanted"),
    [
        (token, [1 / 16, 1 / 4, 1 / 16, 1 / 16]),  # half of 1/8, half of 1/2
        (call, [1 / 6, 1 / 4, 1 / 18, 1 / 24]),  # 1 / (2 * 3 * L), 1 / (2 * 1 * 2)
        (partial(constant, max_tokens=10), [1 / 60, 1 / 20, 1 / 60, 1 / 60]),
    ],
)
def test_balanced_roles_by_hand(aggregation, wanted):
    assert balanced(update(*TALK), aggregation) == pytest.approx(wanted, rel=1e-12)


def of_roles(samples, weights):
    totals = {}
    for sample, weight in zip(samples, weights, strict=True):
        role = sample.call.key.role
        totals[role] = totals.get(role, 0.0) + weight * sample.tokens
    return totals


@pytest.mark.parametrize("name", ["token", "call"])
def test_a_balanced_role_weighs_as_much_as_any_other_however_often_it_speaks(name):
    samples = update(*TALK, *[("judge", 7)] * 9)
    thirds = {"generator": 1 / 3, "critic": 1 / 3, "judge": 1 / 3}
    assert of_roles(samples, balanced(samples, PLAIN[name])) == pytest.approx(thirds)
    assert of_roles(samples, PLAIN[name](samples)) != pytest.approx(thirds, abs=0.1)


@pytest.mark.parametrize("aggregation", PLAIN.values(), ids=PLAIN)
def test_one_role_alone_has_nothing_to_be_balanced_with(aggregation):
    assert balanced(lengths(1, 3, 4), aggregation) == aggregation(lengths(1, 3, 4))


@pytest.mark.parametrize("name", ["token", "call", "balanced token", "balanced call"])
def test_the_weights_of_an_update_sum_to_one_over_its_tokens(name):
    samples = update(("generator", 7), ("critic", 1), ("generator", 2), ("judge", 9), ("critic", 9), ("generator", 3))
    weights = RULES[name](samples)
    assert math.fsum(w * s.tokens for w, s in zip(weights, samples, strict=True)) == pytest.approx(1.0, rel=1e-12)


def test_the_weights_of_a_constant_aggregation_sum_to_the_mean_length_over_the_longest():
    samples = lengths(2, 4, 9)
    weights = constant(samples, max_tokens=10)
    assert sum(w * s.tokens for w, s in zip(weights, samples, strict=True)) == pytest.approx(5 / 10)


@pytest.mark.parametrize(
    ("aggregation", "wanted"),
    [
        (token, [2 / 25, 2 / 25]),  # 2/5 of the 1/5 that each of five tokens weighs
        (call, [1 / 5, 1 / 20]),
        (partial(constant, max_tokens=10), [1 / 50, 1 / 50]),
        (partial(balanced, aggregation=call), [1 / 5, 1 / 20]),
    ],
)
def test_a_remainder_of_two_calls_by_hand_where_an_update_has_five(aggregation, wanted):
    samples = update(("generator", 1), ("critic", 4))
    assert nominal(samples, aggregation, calls=5) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("name", ["token", "call", "constant", "balanced call"])
def test_an_update_of_the_nominal_size_weighs_what_it_would_anyway(name):
    samples = update(*TALK)
    assert nominal(samples, RULES[name], calls=4) == pytest.approx(RULES[name](samples), rel=1e-15)


def test_a_call_weighs_the_same_in_a_full_update_as_in_the_remainder():
    full, remainder = lengths(1, 2, 3, 4), lengths(5)
    for samples in (full, remainder):
        weights = nominal(samples, call, calls=4)
        assert [w * s.tokens for w, s in zip(weights, samples, strict=True)] == pytest.approx([1 / 4] * len(samples))


@pytest.mark.parametrize("aggregation", RULES.values(), ids=RULES)
def test_the_order_of_calls_changes_no_weight(aggregation):
    samples = random_update(7)
    order = random.Random(0).sample(range(len(samples)), len(samples))
    weights = aggregation(samples)
    assert aggregation([samples[index] for index in order]) == [weights[index] for index in order]


@pytest.mark.parametrize("aggregation", RULES.values(), ids=RULES)
def test_an_update_without_calls_has_no_weights(aggregation):
    assert aggregation([]) == []
