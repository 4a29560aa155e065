"""Paired comparisons against enumeration, and numbers worked by hand."""

import random
from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test

from counterpoint.analysis.intervals import paired_interval
from counterpoint.analysis.paired import compare, sign_flip
from counterpoint.errors import RunError


def slow_p(differences):
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    return sum(one >= abs(sum(differences)) - 1e-9 for one in sums) / len(sums)


@pytest.mark.parametrize("seed", range(10))
def test_few_differences_are_tried_with_all_signs(seed):
    source = random.Random(seed)
    differences = [source.choice((-1.0, -0.5, 0.0, 0.25, 1.0)) for _ in range(9)]
    assert sign_flip(differences) == pytest.approx(slow_p(differences))


def test_p_values_by_hand():
    assert sign_flip([]) == 1.0
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([1.0]) == 1.0
    assert sign_flip([1.0] * 5) == pytest.approx(2 / 32)  # all plus or all minus
    assert sign_flip([1.0] * 5 + [0.0] * 50) == pytest.approx(2 / 32)  # tasks without a difference say nothing
    assert sign_flip([0.1, 0.2, -0.3]) == 1.0  # a sum that is 0 but for rounding


def test_many_differences_agree_with_an_independent_test():
    source = random.Random(1)
    differences = np.array([source.gauss(0.15, 1.0) for _ in range(60)])
    theirs = permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=50_000, rng=np.random.default_rng(2)
    )
    assert sign_flip(differences.tolist()) == pytest.approx(theirs.pvalue, abs=0.015)
    assert sign_flip([1.0] * 200) == pytest.approx(1 / 20_001)


def test_a_comparison_is_paired_by_task_over_those_that_both_have():
    one = {"a": [1.0, 0.0], "b": [1.0], "c": [1.0], "only": [0.0]}
    other = {"a": [0.0, 0.0], "b": [1.0], "c": [0.0]}
    found = compare(one, other)
    assert found.difference == paired_interval([0.5, 0.0, 1.0])
    assert found.p_value == pytest.approx(0.5)  # of the four signs of 0.5 and 1, two give at least 1.5
    assert found.as_dict() == {**found.difference._asdict(), "p_value": found.p_value}


def test_without_a_task_in_common_nothing_is_compared():
    with pytest.raises(RunError, match="no task was judged in both"):
        compare({"a": [1.0]}, {"b": [1.0]})
