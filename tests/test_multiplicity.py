"""Several comparisons at once: against statsmodels, enumeration, and simulated families."""

from itertools import product

import numpy as np
import pytest

from counterpoint.analysis.contrast import at_confidence, estimate
from counterpoint.analysis.multiplicity import anywhere, false_discoveries, holm, overview, primary, simultaneous

SOME = np.concatenate([(source := np.random.default_rng(18)).random(6), source.random(4) ** 6]).tolist()
"""The adjusted values below are statsmodels 0.15.0's: multipletests(SOME, method="holm") and method="fdr_bh"."""
HOLM = [1.0, 1.0, 1.0, 0.5008545284001807, 1.0, 1.0, 0.5008545284001807, 0.2948250104913431, 0.10384453164394704,
        3.363030981953192e-05]  # fmt: skip
BH = [0.5704368131679611, 0.7971274214313512, 0.4680388800600057, 0.16544983599623264, 0.9697713192928598,
      0.70490843170994, 0.16544983599623264, 0.12284375437139296, 0.057691406468859466,
      3.363030981953192e-05]  # fmt: skip


def test_adjusted_p_values_are_those_of_statsmodels():
    assert holm(SOME) == pytest.approx(HOLM, rel=1e-12)
    assert false_discoveries(SOME) == pytest.approx(BH, rel=1e-12)


def test_holm_by_hand():
    # 0.01 x 3; 0.03 x 2 = 0.06; 0.04 x 1 = 0.04 is less than that of the smaller 0.03, so 0.06 too.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([0.02, 0.02]) == [0.04, 0.04]
    assert (holm([]), false_discoveries([])) == ([], [])


@pytest.mark.parametrize("function", [holm, false_discoveries])
@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1, float("inf")])
def test_what_is_no_p_value_is_refused(function, wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        function([0.5, wrong])


def test_a_family_errs_anywhere_in_at_most_5_percent_of_studies():
    p_values = np.random.default_rng(2).random((2000, 12))
    assert np.mean([min(holm(row)) <= 0.05 for row in p_values.tolist()]) == pytest.approx(0.049, abs=0.015)
    assert np.mean(p_values.min(axis=1) <= 0.05) > 0.4  # without it, 46 %


def test_members_of_a_family_have_both_intervals_and_its_size():
    alone = {name: estimate(value, 0.01, 6.0, seeds=5, tasks=256) for name, value in (("a", 0.06), ("b", 0.02))}
    found = primary(alone)
    assert (found["a"].rejected, found["b"].rejected) == (True, False)
    assert (found["a"].p_value, found["a"].comparisons) == (2 * alone["a"].p_value, 2)
    wide = at_confidence(alone["b"], 0.975)
    assert (found["b"].low, found["b"].high) == (wide.low, wide.high)
    assert found["b"].estimate == alone["b"]
    assert primary({}) == {}
    assert simultaneous([]) == []
    assert [(one.low, one.high) for one in simultaneous([alone["a"]])] == [
        pytest.approx((alone["a"].low, alone["a"].high))
    ]


def slow(differences):
    """The fraction of all combinations of signs whose statistic is at least as large, with loops."""

    def statistic(cells):
        return sum((sum(cell) / len(cell)) ** 2 / (sum(one**2 for one in cell) / len(cell)) for cell in cells)

    signs = list(product((1, -1), repeat=sum(map(len, differences))))
    above = 0
    for combination in signs:
        rest = list(combination)
        flipped = [[rest.pop(0) * one for one in cell] for cell in differences]
        above += statistic(flipped) >= statistic(differences) - 1e-12
    return above / len(signs)


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (3, 3), (2, 5)])
def test_the_test_over_cells_tries_every_combination_of_signs_where_there_are_few(shape):
    differences = np.random.default_rng(shape).normal(0.3, 1.0, shape).tolist()
    assert anywhere(differences) == pytest.approx(slow(differences))


def test_the_test_over_cells_with_many_differences_is_the_same_in_every_call_and_near_the_exact_one():
    cells = [[0.5, 1.0, 2.0, 1.5, 0.3], [1.0, -0.2, 0.4, 0.8, 0.1], [0.3, 0.2, -0.1, 0.6, 0.7]]
    assert anywhere(cells) == anywhere(cells)
    assert anywhere(cells) == pytest.approx(slow(cells), abs=0.01)


def test_cells_without_any_difference_count_for_nothing():
    assert anywhere([[0.0, 0.0, 0.0]]) == 1.0
    assert anywhere([[0.0, 0.0], [1.0, 2.0, 3.0], []]) == anywhere([[1.0, 2.0, 3.0]]) == 0.25
    assert anywhere([[1e-3, 2e-3, 3e-3]]) == 0.25
    assert anywhere([[1.0, 0.0, 1.0]]) == 0.5


def test_three_seeds_of_one_cell_cannot_reject_but_twelve_cells_can():
    assert anywhere([[1.0, 1.1, 0.9]]) == 0.25
    assert anywhere([[1.0, 1.1, 0.9]] * 12) == pytest.approx(1 / 10_001)


def test_the_test_over_cells_errs_in_5_percent_of_studies_whatever_the_spread_of_the_cells():
    source = np.random.default_rng(3)
    spreads = np.array([1.0, 1.0, 1.0, 8.0])[:, None]
    p_values = [anywhere((source.normal(0, 1, (4, 3)) * spreads).tolist()) for _ in range(800)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("wrong", [[], [[]], [[0.1, float("nan")]]])
def test_the_test_over_cells_needs_differences(wrong):
    with pytest.raises(ValueError, match="needs a difference, and none that is missing"):
        anywhere(wrong)


def test_the_overview_of_a_map_by_hand():
    found = overview([[1.0, 2.0], [-1.0, 1.0], [-3.0, -3.0], [0.0, 6.0]])
    assert (found.mean, found.middle) == pytest.approx((0.375, 0.75))  # means 1.5, 0, -3, 3; the middle two 0, 1.5
    assert found.better == pytest.approx((1.0 + 0.5 + 0.0 + 0.75) / 4)
    assert (found.cells, found.p_value) == (4, anywhere([[1.0, 2.0], [-1.0, 1.0], [-3.0, -3.0], [0.0, 6.0]]))
