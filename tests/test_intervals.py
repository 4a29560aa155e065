"""Intervals of accuracies and of paired differences: numbers worked by hand, a reference, and simulated coverage."""

import random

import numpy as np
import pytest
from scipy.stats import binomtest

from counterpoint.analysis.intervals import Z, difference, interval, paired_interval


def right_and_wrong(right, count):
    return [1.0] * right + [0.0] * (count - right)


def test_none_and_all_of_ten_tasks_have_an_interval():
    none, every = interval([0.0] * 10), interval([1.0] * 10)
    assert none == (0.0, 0.0, pytest.approx(0.2775, abs=5e-5), 10)  # z^2 / (n + z^2) = 3.8415 / 13.8415
    assert every == (1.0, pytest.approx(0.7225, abs=5e-5), 1.0, 10)
    assert interval([1.0]) == (1.0, pytest.approx(0.2065, abs=5e-5), 1.0, 1)


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 3), (3, 10), (60, 64), (230, 256), (256, 256)])
def test_tasks_that_are_right_or_wrong_have_wilsons_interval(right, count):
    found, theirs = interval(right_and_wrong(right, count)), binomtest(right, count).proportion_ci(method="wilson")
    assert found[1:3] == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_values_in_between_have_the_interval_of_more_tasks():
    # 20 tasks of 0.5: with z^2 / 2 = 1.92 added of 0 and of 1, the variance is (5 + 1.92) / 23.84 - 0.25 = 0.04028, a
    # factor 0.1611 of the 0.25 of right and wrong tasks: Wilson's interval of 124.1 tasks, 0.5 +- 0.0866.
    assert interval([0.5] * 20)[1:3] == pytest.approx((0.4134, 0.5866), abs=1e-4)
    assert interval([0.5] * 2000)[1:3] == pytest.approx((0.5, 0.5), abs=0.002)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.2, 0.4, 0.9, 0.9], [1.0] * 7, [0.25], [0.9999] * 3, [0.0] * 500])
def test_an_interval_contains_its_mean_and_stays_between_0_and_1(values):
    found = interval(values)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.high > found.low
    assert found.n == len(values)


def test_tasks_that_are_answered_alike_do_not_prove_that_two_policies_are_alike():
    # Two tasks are added, of +1 and -1: the variance is 2 / 12, and 1.96 * sqrt(2 / 12 / 12) = 0.2310.
    assert paired_interval([0.0] * 10) == (0.0, pytest.approx(-0.2310, abs=5e-5), pytest.approx(0.2310, abs=5e-5), 10)
    assert paired_interval([0.0] * 256)[2] == pytest.approx(0.0107, abs=5e-5)


def test_a_paired_interval_by_hand():
    # 6 better, 1 worse of 18: centre 5 / 20, variance 9 / 20 - 1 / 16 = 0.3875, reach 1.96 * sqrt(0.3875 / 20).
    found = paired_interval([1.0] * 6 + [-1.0] + [0.0] * 11)
    assert found.value == pytest.approx(5 / 18)
    assert found[1:3] == pytest.approx((0.25 - 0.27281, 0.25 + 0.27281), abs=1e-4)
    assert paired_interval([1.0] * 10) == (1.0, pytest.approx(0.5206, abs=5e-5), 1.0, 10)


def test_a_difference_is_over_the_tasks_that_both_have():
    found = difference({"a": 1.0, "b": 0.5, "new": 1.0}, {"b": 0.0, "a": 0.75, "old": 1.0})
    assert found == paired_interval([0.25, 0.5])


def covered(truth, found):
    return sum(one.low <= truth <= one.high for one in found) / len(found)


@pytest.mark.parametrize(("count", "rate"), [(10, 0.9), (64, 0.97), (256, 0.97), (64, 0.5)])
@pytest.mark.parametrize("samples", [1, 4])
def test_the_interval_of_an_accuracy_covers_the_truth(count, rate, samples):
    source = np.random.default_rng(count)
    tasks = (source.random((1000, count)) < rate).astype(float)
    if samples > 1:  # tasks differ in difficulty: samples of a task are alike
        tasks = source.binomial(samples, source.beta(rate, 1.0 - rate, (1000, count))) / samples
    found = [interval(values) for values in tasks.tolist()]
    assert 0.91 <= covered(rate, found) <= 0.995  # 0.93 for 10 tasks at 0.9, exactly


@pytest.mark.parametrize(("count", "better", "worse"), [(64, 0.03, 0.0), (64, 0.1, 0.02), (256, 0.3, 0.05)])
def test_the_interval_of_a_difference_covers_the_truth(count, better, worse):
    draws = np.random.default_rng(0).random((1000, count))
    tasks = (draws < better).astype(float) - ((draws >= better) & (draws < better + worse))
    found = [paired_interval(values) for values in tasks.tolist()]
    assert covered(better - worse, found) >= 0.93


def test_a_bootstrap_of_few_tasks_near_1_would_not_cover_it():
    """The reason for not using one: 64 tasks at an accuracy of 0.97."""
    source = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        values = (source.random(64) < 0.97).astype(float)
        low, high = np.percentile(values[source.integers(0, 64, (500, 64))].mean(axis=1), [2.5, 97.5])
        held += low <= 0.97 <= high
    assert held / 300 < 0.9


def test_the_same_values_in_another_order_have_the_same_interval():
    values = [0.1, 0.7, 1.0, 0.0, 0.3]
    shuffled = random.Random(3).sample(values, 5)
    assert interval(shuffled)[1:3] == pytest.approx(interval(values)[1:3], abs=1e-12)
    assert pytest.approx(1.959964, abs=1e-6) == Z
