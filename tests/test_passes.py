"""pass@k and majority@k against enumeration of every draw, and numbers worked by hand."""

import random
from itertools import combinations
from statistics import fmean

import pytest

from counterpoint.analysis.intervals import interval
from counterpoint.analysis.passes import Attempt, majority_at, pass_at, passes, powers_of_two


def drawn(attempts, k):
    """Every way to draw k of the attempts."""
    return [[attempts[place] for place in places] for places in combinations(range(len(attempts)), k)]


def slow_majority(attempts, k):
    """The mean over all draws of the chance that the answer taken is right: ties, and who speaks for it, by lot."""
    values = []
    for draw in drawn(attempts, k):
        votes = {}
        for answer, right in draw:
            if answer is not None:
                votes.setdefault(answer.strip().lower(), []).append(right)
        most = max(map(len, votes.values()), default=0)
        leading = [found for found in votes.values() if len(found) == most]
        values.append(fmean(fmean(found) for found in leading) if leading else 0.0)
    return fmean(values)


def random_attempts(source, count):
    answers = source.choices(["7", "8", "9", "A", "a ", None], k=count)
    return [Attempt(answer, answer == "7" or (answer == "A" and source.random() < 0.5)) for answer in answers]


@pytest.mark.parametrize("right", range(7))
@pytest.mark.parametrize("k", range(1, 7))
def test_pass_at_k_is_the_mean_over_all_draws(right, k):
    attempts = [Attempt(None, place < right) for place in range(6)]
    slow = fmean(float(any(one.right for one in draw)) for draw in drawn(attempts, k))
    assert pass_at(6, right, k) == pytest.approx(slow, abs=1e-12)


def test_pass_at_k_by_hand():
    assert pass_at(4, 1, 2) == pytest.approx(0.5)  # the right one is in 3 of 6 pairs
    assert pass_at(4, 3, 2) == 1.0
    assert pass_at(2000, 1, 1000) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(25))
def test_majority_at_k_is_the_mean_over_all_draws(seed):
    source = random.Random(seed)
    attempts = random_attempts(source, source.randint(2, 9))
    for k in range(1, len(attempts) + 1):
        assert majority_at(attempts, k) == pytest.approx(slow_majority(attempts, k), abs=1e-12)


def test_majority_by_hand():
    right, wrong, other = Attempt("7", True), Attempt("8", False), Attempt("9", False)
    assert majority_at([right, wrong], 2) == pytest.approx(0.5)  # a tie
    assert majority_at([right, right, wrong, other], 4) == pytest.approx(1.0)
    assert majority_at([right, wrong, wrong], 3) == 0.0
    assert majority_at([right, wrong, wrong], 1) == pytest.approx(1 / 3)
    assert majority_at([right, Attempt(None, False)], 2) == pytest.approx(1.0)  # what is not there has no vote
    assert majority_at([Attempt(None, False)] * 3, 2) == 0.0


def test_the_majority_of_one_is_a_pass_of_one():
    attempts = random_attempts(random.Random(3), 12)
    right = sum(one.right and one.answer is not None for one in attempts)
    assert majority_at(attempts, 1) == pytest.approx(pass_at(12, right, 1))


def test_many_attempts_are_counted_without_overflow():
    attempts = [Attempt("7", True)] * 600 + [Attempt("8", False)] * 400
    assert majority_at(attempts, 1) == pytest.approx(0.6)
    # Of 3 drawn of so many: 0.6^3 + 3 * 0.6^2 * 0.4, but for the draws being without replacement.
    assert majority_at(attempts, 3) == pytest.approx(0.648, abs=1e-3)


def test_passes_are_means_over_the_tasks_with_enough_attempts():
    right, wrong = Attempt("7", True), Attempt("8", False)
    attempts = {"one": [right, right, wrong, wrong], "two": [wrong] * 4, "three": [right, wrong]}
    found = passes(attempts, 5)
    assert list(found.any_right) == list(found.majority) == [1, 2, 4]
    assert found.any_right[1] == interval([0.5, 0.0, 0.5])
    assert found.any_right[2] == interval([pass_at(4, 2, 2), 0.0, 1.0])
    assert (found.any_right[4].value, found.any_right[4].n) == (0.5, 2)
    assert found.majority[4].value == pytest.approx(0.25)
    assert found.as_dict()["pass"]["4"] == found.any_right[4]._asdict()
    assert list(found.as_dict()["majority"]) == ["1", "2", "4"]


def test_nothing_is_said_of_more_attempts_than_any_task_has():
    found = passes({"one": [Attempt("7", True)]}, 2)
    assert list(found.any_right) == [1]


def test_powers_of_two():
    assert [powers_of_two(most) for most in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2], [1, 2, 4, 8]]


def test_problems_that_are_all_solved_do_not_prove_that_the_next_one_will_be():
    found = passes({str(task): [Attempt("7", True)] * 4 for task in range(10)}, 4)
    for worth in (found.any_right[4], found.majority[4]):
        assert (worth.value, worth.high) == (1.0, 1.0)
        assert worth.low == pytest.approx(0.7225, abs=5e-5)
