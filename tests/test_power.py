"""The size of a study: against published shapes of the t test, scipy's noncentral t, and simulated studies."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import nct
from scipy.stats import t as student
from studies_by_chance import contrasts

from counterpoint.analysis.contrast import contrast
from counterpoint.analysis.power import Components, components, error_of, needed, power, smallest_visible

PLAIN = Components(seeds=1.0, tasks=0.0, noise=0.0)
"""A t test over seeds, in standard deviations of the paired difference."""


def test_it_is_the_noncentral_t_where_scipy_has_it():
    for seeds in (3, 5, 8, 20):
        for effect in (0.2, 1.0, 1.5):
            limit, far = student.ppf(0.975, seeds - 1), effect * seeds**0.5
            exact = nct.sf(limit, seeds - 1, far) + nct.cdf(-limit, seeds - 1, far)
            assert power(PLAIN, effect, seeds, 256) == pytest.approx(exact, abs=1e-5)
            assert power(PLAIN, -effect, seeds, 256) == power(PLAIN, effect, seeds, 256)


def test_without_an_effect_the_power_is_the_error_and_a_large_effect_is_always_found():
    assert power(PLAIN, 0.0, 5, 256) == pytest.approx(0.05, abs=1e-5)
    assert power(PLAIN, 1000.0, 2, 256) == pytest.approx(1.0)  # scipy's noncentral t is NaN near here


@pytest.mark.parametrize(("effect", "seeds"), [(0.75, 16), (1.0, 10), (1.5, 6), (2.0, 5), (3.0, 4)])
def test_the_seeds_that_a_paired_t_test_needs(effect, seeds):
    assert needed(PLAIN, effect, 5, 256).seeds == seeds
    assert power(PLAIN, effect, seeds, 256) >= 0.8 > power(PLAIN, effect, seeds - 1, 256)


@pytest.mark.parametrize(("seeds", "effect"), [(3, 11.3), (5, 3.3), (8, 1.9)])
def test_the_smallest_visible_difference_of_one_of_twelve_comparisons(seeds, effect):
    found = smallest_visible(PLAIN, seeds, 256, confidence=1 - 0.05 / 12)
    assert found == pytest.approx(effect, abs=0.05)
    assert power(PLAIN, found, seeds, 256, confidence=1 - 0.05 / 12) == pytest.approx(0.8)


def normal_studies(parts, effect, seeds, tasks, studies, source):
    return (
        effect
        + source.normal(0, parts.seeds**0.5, (studies, seeds, 1))
        + source.normal(0, parts.tasks**0.5, (studies, 1, tasks))
        + source.normal(0, parts.noise**0.5, (studies, seeds, tasks))
    )


@pytest.mark.parametrize(
    ("parts", "effect", "seeds"),
    [
        (Components(seeds=0.03**2, tasks=0.05, noise=0.1), 0.06, 5),
        (Components(seeds=0.03**2, tasks=0.05, noise=0.1), 0.10, 3),
        (Components(seeds=0.02**2, tasks=0.15, noise=0.1), 0.08, 4),
        (Components(seeds=0.04**2, tasks=0.0, noise=0.05), 0.06, 6),
    ],
)
def test_simulated_power_is_that_of_the_formula(parts, effect, seeds):
    drawn = normal_studies(parts, effect, seeds, 128, 4000, np.random.default_rng(seeds))
    value, error, freedom = contrasts([(1.0, drawn)])
    found = np.mean(np.abs(value) > student.ppf(0.975, freedom) * error)
    assert 0.3 < found < 0.95
    assert found == pytest.approx(power(parts, effect, seeds, 128), abs=0.03)


def test_components_are_those_that_made_the_outcomes():
    truth = Components(seeds=0.08**2, tasks=0.06, noise=0.1)
    drawn = normal_studies(truth, 0.0, 4, 64, 400, np.random.default_rng(1))
    found = [components([(1.0, study)]) for study in drawn]
    assert np.mean([one.noise for one in found]) == pytest.approx(truth.noise, rel=0.02)
    assert np.mean([one.tasks for one in found]) == pytest.approx(truth.tasks, rel=0.03)
    assert np.mean([one.seeds for one in found]) == pytest.approx(truth.seeds, rel=0.1)  # negative ones are 0
    two = [components([(1.0, one), (-1.0, other)]) for one, other in zip(drawn[:200], drawn[200:], strict=True)]
    assert np.mean([one.noise for one in two]) == pytest.approx(2 * truth.noise, rel=0.02)
    assert all(sum(one.shares) == pytest.approx(1.0) for one in two)


def test_a_study_of_the_same_size_is_expected_to_have_the_same_error():
    source = np.random.default_rng(9)
    drawn = normal_studies(Components(seeds=0.05**2, tasks=0.06, noise=0.1), 0.0, 4, 64, 2, source)
    parts = [(1.0, drawn[0]), (-1.0, drawn[1])]
    found = contrast(parts)
    assert error_of(components(parts), 4, 64) == pytest.approx((found.error, found.freedom))


def test_where_tasks_vary_too_much_for_any_number_of_seeds_the_tasks_that_are_needed_are_said():
    parts = Components(seeds=0.01**2, tasks=0.2, noise=0.1)
    found = needed(parts, 0.03, 5, 256)
    assert found.seeds is None
    assert power(parts, 0.03, 5, found.tasks) >= 0.8 > power(parts, 0.03, 5, found.tasks - 1)
    assert power(parts, 0.03, 1000, 256) < 0.8
    neither = needed(Components(seeds=0.1**2, tasks=0.2, noise=0.1), 0.03, 5, 256)
    assert (neither.seeds, neither.tasks) == (None, None)
    assert needed(parts, 0.3, 5, 256).tasks == 256


def test_more_seeds_never_hurt_and_more_tasks_hardly():
    parts = Components(seeds=0.03**2, tasks=0.1, noise=0.1)
    by_seeds = [power(parts, 0.06, seeds, 256) for seeds in (2, 3, 4, 6, 10, 100, 1000)]
    by_tasks = [power(parts, 0.06, 4, tasks) for tasks in (2, 8, 32, 128, 1000, 10**6)]
    assert all(less < more for less, more in pairwise(by_seeds))
    assert all(less < more + 0.01 for less, more in pairwise(by_tasks))
    between = (by_tasks[-2] + by_tasks[-1]) / 2  # above the power of a million tasks, below that of a thousand
    found = needed(replace(parts, tasks=0.1), 0.06, 4, 32, wanted=between)
    assert found.seeds is None
    assert found.tasks <= 1000


def test_runs_without_any_spread_see_every_difference():
    none = components([(1.0, np.full((3, 8), 0.5))])
    assert (none.seeds, none.tasks, none.noise) == (0.0, 0.0, 0.0)
    assert (power(none, 0.01, 3, 8), power(none, 0.0, 3, 8)) == (1.0, 0.0)
    assert smallest_visible(none, 3, 8) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power(PLAIN, 1.0, 1, 256), "at least 2 seeds and 2 tasks, not 1 and 256"),
        (lambda: smallest_visible(PLAIN, 5, 1), "not 5 and 1"),
        (lambda: smallest_visible(PLAIN, 5, 256, wanted=1.0), r"above 0.05 and at most 0.999, not 1.0"),
        (lambda: needed(PLAIN, 1.0, 5, 256, wanted=0.01), r"at most 0.999, not 0.01"),
        (lambda: needed(PLAIN, 0.0, 5, 256), "other than 0, not 0.0"),
        (lambda: needed(PLAIN, float("nan"), 5, 256), "other than 0, not nan"),
        (lambda: components([(1.0, np.zeros((3, 4))), (1.0, np.zeros((2, 4)))]), r"same number of seeds, not \[2, 3\]"),
        (lambda: components([(1.0, np.zeros((1, 4)))]), "at least 2 by 2"),
    ],
)
def test_what_no_study_can_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
