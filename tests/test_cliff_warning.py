"""The cliff warning: by hand, on healthy runs, and on runs that fall."""

import numpy as np
import pytest

from counterpoint.analysis.cliff import cliff_warning, errors_below, in_standard_errors

EVALUATIONS = 31


def right(*counts, tasks=64):
    """Evaluations in which so many tasks are right, the first ones."""
    return [{str(task): float(task < count) for task in range(tasks)} for count in counts]


def warned(course):
    """True if the run is warned of a cliff after some evaluation. `course` (evaluations, tasks) holds outcomes."""
    rows = [dict(enumerate(map(float, outcomes))) for outcomes in course]
    return any(cliff_warning(rows[:end]) for end in range(1, len(rows) + 1))


def outcomes(source, chances, alike):
    """Right and wrong (evaluations, tasks); a fraction `alike` of the tasks draws the same number every time."""
    same, own = source.random(chances.shape[1]), source.random(chances.shape)
    numbers = np.where(source.random(chances.shape[1]) < alike, same, own)
    return numbers < chances


def fraction_warned(runs, tasks, fall, *, level, alike, equal, seed, evaluations=EVALUATIONS):
    """The fraction of runs that are warned of, which fall by `fall` at two thirds of the evaluations and stay there."""
    source, found = np.random.default_rng(seed), 0
    for _ in range(runs):
        chances = np.full(tasks, level) if equal else source.beta(level, 1 - level, tasks)
        course = np.tile(chances, (evaluations, 1))
        course[2 * evaluations // 3 :] *= 1 - fall / level
        found += warned(outcomes(source, course, alike))
    return found / runs


def test_a_warning_by_hand():
    # Means of three: .5 .385 .271 .156 .156 .156: after the first evaluation below, 22 of 64 tasks have lost a third.
    evaluations = right(32, 32, 32, 10, 10, 10, 10, 10)
    falls = [[1 / 3] * 22, [2 / 3] * 22, [1.0] * 22]
    centres = [22 / 3 / 65, 44 / 3 / 65, 22 / 65]
    squares = [(22 / 9 + 1) / 65, (88 / 9 + 1) / 65, 23 / 65]
    for fall, centre, square in zip(falls, centres, squares, strict=True):
        by_hand = centre / ((square - centre**2) / 65) ** 0.5
        assert in_standard_errors(fall + [0.0] * 42) == pytest.approx(by_hand)
        assert by_hand > 2.3
    assert [cliff_warning(evaluations[:end]) for end in range(9)] == [False] * 8 + [True]


def test_standard_errors_are_those_of_a_sample_with_one_task_more():
    differences = [1.0, 0.0, -1.0, 0.5, 0.5, 1.0, 0.0]
    doubled = np.array([*differences, *differences, 1.0, -1.0])
    assert in_standard_errors(differences) == pytest.approx(doubled.mean() / (doubled.std() / 8**0.5))
    assert in_standard_errors([0.0]) == 0.0


def test_more_evaluations_ask_for_more_standard_errors():
    assert [errors_below(means) for means in (1, 9, 29)] == [2.3] * 3
    assert errors_below(30) > 2.3
    assert errors_below(79) == pytest.approx((5.29 + 5.0 * 1.00216) ** 0.5, abs=1e-4)  # ln(79 / 29) = 1.00216


def test_a_late_mean_that_is_only_as_far_below_as_an_early_one_is_no_warning():
    """After 40 lower evaluations a fall by 6 of 64 tasks, 2.4 standard errors, is none; one by 14, 4.1, still is."""
    long_before = right(*[10] * 40)
    assert cliff_warning(right(32, 32, 32, *[26] * 7))
    assert not cliff_warning([*long_before, *right(32, 32, 32, *[26] * 7)])
    assert cliff_warning([*long_before, *right(32, 32, 32, *[18] * 7)])


def test_five_evaluations_must_be_below_the_best():
    assert not cliff_warning(right(48, 48, 48, 8, 8, 8, 8))
    assert cliff_warning(right(48, 48, 48, 8, 8, 8, 8, 8))
    assert not cliff_warning(right(48, 48, 48, 8, 8, 8, 8, 8, 48, 48, 48))


def test_a_fall_of_less_than_five_points_is_none():
    assert not cliff_warning(right(*[1000] * 3, *[952] * 9, tasks=1000))
    assert cliff_warning(right(*[1000] * 3, *[949] * 9, tasks=1000))


def test_a_run_that_falls_from_its_base_at_once_is_warned_of():
    assert cliff_warning(right(40, 6, 6, 6, 6, 6, 6, 6))


@pytest.mark.parametrize(
    "evaluations",
    [
        [],
        right(10),
        right(30, 30, 30, 10, 10, 10, 10),
        right(0, 0, 0, 0, 0, 0),
        right(64, 64, 64, 64, 64, 64),
        right(1, 0, 0, 0, 0, 0),
        right(1, 0, 0, 0, 0, 0, tasks=1),
        right(3, 0, 0, 0, 0, 0, tasks=4),
        right(0, 10, 20, 30, 40, 50, 60),
        [{}, {}, {}, {}],
        [{"a": 1.0}, {"b": 0.0}, {"c": 0.0}, {"d": 0.0}, {"e": 0.0}],
    ],
)
def test_what_is_no_fall_or_too_little_to_tell_is_no_warning(evaluations):
    assert not cliff_warning(evaluations)


def test_tasks_that_could_not_be_judged_for_once_are_left_out():
    evaluations = right(48, 48, 48, 8, 8, 8, 8, 8)
    del evaluations[2]["0"], evaluations[4]["1"], evaluations[5]["60"]
    assert cliff_warning(evaluations)


def test_the_same_fall_is_told_where_the_tasks_are_alike_and_not_where_others_are_right():
    alike = right(40, 40, 40, 30, 30, 30, 30, 30, 30)
    others = [{str(task): float(task >= 34) for task in range(64)}] * 6
    assert cliff_warning(alike)
    assert not cliff_warning([*alike[:3], *others])


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_a_fall_of_ten_points_is_warned_of_in_most_runs(alike):
    found = fraction_warned(30, 64, 0.1, level=0.8, alike=alike, equal=False, seed=1)
    assert found > 0.5


def test_healthy_runs_are_hardly_ever_warned_of():
    assert fraction_warned(20, 64, 0.0, level=0.8, alike=0.9, equal=False, seed=2) == 0.0


@pytest.mark.slow
def test_at_most_one_healthy_run_in_twenty_is_warned_of_where_evaluations_have_nothing_in_common():
    assert fraction_warned(120, 64, 0.0, level=0.6, alike=0.0, equal=True, seed=3) <= 0.05


@pytest.mark.slow
def test_a_long_healthy_run_is_not_warned_of_more_often():
    """It is 3 of 20; with the same standard errors for every mean it would be 11."""
    found = fraction_warned(20, 64, 0.0, level=0.6, alike=0.0, equal=True, seed=3, evaluations=101)
    assert found <= 0.2


@pytest.mark.slow
def test_falls_in_a_long_run_are_still_warned_of():
    assert fraction_warned(8, 64, 0.1, level=0.6, alike=0.0, equal=False, seed=4, evaluations=101) > 0.8
