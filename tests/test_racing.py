"""The decision of a race: how often it errs, whatever varies, and what it says when it cannot tell."""

import numpy as np
import pytest
from scipy.special import expit, stdtr

from counterpoint.analysis.comparison import verdict_of
from counterpoint.analysis.contrast import contrast, over_tasks
from counterpoint.analysis.milestones import milestones_of
from counterpoint.analysis.racing import (
    FIRST,
    LAST,
    LEVEL,
    compare,
    race,
    samples_for,
    seeds_to_decide,
    tasks_to_decide,
)

LOOKS = range(FIRST, LAST + 1)
SEEDS = tuple(range(LAST))


def least_p_of_paired_t(source, paths):
    """[paths]: the least p-value of the looks at seeds alone, of which nothing differs."""
    rows = source.normal(size=(paths, LAST))
    least = np.ones(paths)
    for count in LOOKS:
        part = rows[:, :count]
        t = np.abs(part.mean(axis=1)) / (part.std(axis=1, ddof=1) / count**0.5)
        least = np.minimum(least, 2 * stdtr(count - 1, -t))
    return least


def least_p_of_contrast(source, paths, seed_part, task_part, tasks=256):
    """[paths]: the same of `contrast`, from its sufficient statistics.

    The variance of noise in a row mean is 1; `seed_part` and `task_part` are those of seeds and of the mean over tasks.
    The squares of the table without its row means are a Wishart matrix, drawn by its Bartlett decomposition.
    """
    shared = source.normal(0.0, task_part**0.5, (paths, 1))
    means = source.normal(0.0, seed_part**0.5, (paths, LAST)) + shared + source.normal(size=(paths, LAST))
    lower = np.zeros((paths, LAST + 1, LAST + 1))
    for place in range(LAST + 1):
        lower[:, place, place] = np.sqrt(source.chisquare(tasks - 1 - place, paths))
        lower[:, place, :place] = source.normal(size=(paths, place))
    squares = lower @ lower.transpose(0, 2, 1)
    least = np.ones(paths)
    for count in LOOKS:
        seeds = means[:, :count].var(axis=1, ddof=1) / count
        weights = np.array([(task_part * tasks) ** 0.5, *[tasks**0.5 / count] * count])
        both = squares[:, : count + 1, : count + 1]
        of_tasks = np.einsum("i,pij,j->p", weights, both, weights) / (tasks - 1) / tasks
        noise = both[:, 1:, 1:]
        rest = np.einsum("pii->p", noise) - noise.sum(axis=(1, 2)) / count
        residual = rest / ((count - 1) * (tasks - 1) * count)
        variance = np.maximum(np.maximum(seeds + of_tasks - residual, seeds), of_tasks)
        freedom = variance**2 / (seeds**2 / (count - 1) + of_tasks**2 / (tasks - 1))
        t = np.abs(means[:, :count].mean(axis=1)) / np.sqrt(variance)
        least = np.minimum(least, 2 * stdtr(freedom, -t))
    return least


def test_the_level_of_six_looks_at_a_paired_t_test_is_known():
    least = least_p_of_paired_t(np.random.default_rng(5), 400_000)
    assert np.quantile(least, 0.05) == pytest.approx(0.0144, abs=0.0005)
    assert np.quantile(least, 1 / 30) == pytest.approx(0.0091, abs=0.0004)
    assert np.mean(least < 0.05) == pytest.approx(0.146, abs=0.005)  # looking again and again at 5 %


@pytest.mark.slow
@pytest.mark.parametrize("parts", [(0, 0), (1, 0.1), (3, 0.3), (10, 0.5), (50, 1.5), (100, 3), (200, 6), (1000, 0)])
def test_the_level_of_a_race_holds_whatever_the_variance_is_made_of(parts):
    source = np.random.default_rng([7, *map(int, parts)])
    least = np.concatenate([least_p_of_contrast(source, 20_000, *parts) for _ in range(5)])
    slack = 3 * (0.05 * 0.95 / len(least)) ** 0.5
    assert np.mean(least <= LEVEL[2]) <= 0.05 + slack
    assert np.mean(least <= LEVEL[4]) <= 1 / 30 + slack


def test_the_level_of_a_paired_t_test_would_not_hold_for_contrast():
    least = least_p_of_contrast(np.random.default_rng(8), 20_000, 100, 3)
    assert np.mean(least <= 0.0144) > 0.065
    assert np.mean(least <= LEVEL[2]) <= 0.055


def test_the_simulated_statistics_are_those_of_contrast():
    source = np.random.default_rng(9)
    found = least_p_of_contrast(source, 3000, 2.0, 0.5, tasks=16)
    least = []
    for _ in range(300):
        seeds, tasks, noise = source.normal(size=(8, 1)), source.normal(size=(1, 16)), source.normal(size=(8, 16))
        table = 2**0.5 * seeds + 8**0.5 * tasks + 4 * noise  # the noise in a row mean is 16 / 16
        least.append(min(contrast([(1.0, table[:count])]).p_value for count in LOOKS))
    for level in (0.02, 0.1, 0.3):
        assert np.mean(np.array(least) <= level) == pytest.approx(np.mean(found <= level), abs=0.06)


def simulated(source, lifts, *, tasks=256, samples=4, spread=0.1, interaction=0.4, heavy=False):
    """Runs of binary outcomes: arm -> seed -> [tasks], with the logits by which the arms are better."""
    difficulty = source.normal(1.0, 1.5, tasks)
    runs = {}
    for arm, lift in lifts.items():
        own = source.normal(0.0, interaction, tasks)
        seeds = source.standard_t(3, LAST) / 3**0.5 if heavy else source.normal(size=LAST)
        logits = [difficulty + own + lift + spread * one for one in seeds]
        runs[arm] = {
            seed: source.binomial(samples, expit(row)) / samples for seed, row in zip(SEEDS, logits, strict=True)
        }
    return runs


def named(source, races, lifts, **kinds):
    """Arm -> the share of races in which it is named; and the mean number of rounds."""
    counts, rounds = dict.fromkeys(lifts, 0.0), 0
    for _ in range(races):
        found = race(simulated(source, lifts, **kinds), SEEDS, 0.02)
        rounds += found.rounds
        if found.call == "ahead":
            counts[found.left[0]] += 1 / races
    return counts, rounds / races


def test_six_points_are_found_in_most_races_and_never_the_wrong_way_round():
    found, rounds = named(np.random.default_rng(11), 150, {"a": 0.42, "b": 0.0})
    assert found["a"] >= 0.85
    assert found["b"] == 0
    assert rounds < 6


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True])
def test_alike_arms_are_seldom_told_apart(heavy):
    found, _ = named(np.random.default_rng(13), 2000, {"a": 0.0, "b": 0.0}, heavy=heavy)
    assert sum(found.values()) <= (0.06 if heavy else 0.05)
    assert max(found.values()) <= 0.03


@pytest.mark.slow
def test_of_three_alike_arms_one_is_seldom_named():
    found, _ = named(np.random.default_rng(14), 250, {"a": 0.0, "b": 0.0, "c": 0.0})
    assert sum(found.values()) <= 0.05


def accuracy(source, logits):
    return float((source.random(len(logits)) < expit(logits)).mean())


def course(source, falls):
    """Step -> the logit of a run that rises to a plateau, from which it falls in the last evaluations, if it does."""
    levels = np.array([-1.5, -0.5, 0, 0, 0, 0, 0, 0]) + source.normal(0.0, 0.1)
    if falls:
        levels[5 + source.integers(3) :] -= 3.0
    return levels


def validated_peak(source, levels, validation):
    """The step that validation chooses, by the rule of every run."""
    rows = [
        {"step": step, "split": split, "outcomes": {}, "accuracy": accuracy(source, validation + level)}
        for step, level in enumerate(levels)
        for split in ("validation", "test")
    ]
    return milestones_of(rows).peak["step"]


def errors_with_falls(races, share):
    """The share of races of two alike arms that name one: by the accuracy at the validated peak, and at the end.

    In one arm so many of the runs fall.
    """
    wrong = np.zeros(2)
    for index in range(races):
        source = np.random.default_rng([17, index])
        validation, test = source.normal(1.0, 1.5, 64), source.normal(1.0, 1.5, 256)
        peaks, ends = ({"a": {}, "b": {}} for _ in range(2))
        for seed in SEEDS:
            for arm in "ab":
                falls = source.random() < (share if arm == "a" else 0.0)
                levels = course(source, falls)
                steps = [validated_peak(source, levels, validation), -1]
                for found, step in zip((peaks, ends), steps, strict=True):
                    found[arm][seed] = source.binomial(4, expit(test + levels[step])) / 4
        wrong += [race(found, SEEDS, 0.02).call == "ahead" for found in (peaks, ends)]
    return wrong / races


def test_falls_leave_the_error_of_the_verdict_at_the_peak_as_it_is():
    assert errors_with_falls(60, 0.25)[0] <= 0.05


@pytest.mark.slow
def test_falls_leave_the_error_of_the_verdict_at_the_peak_as_it_is_in_many_races():
    with_falls, without = errors_with_falls(300, 0.25), errors_with_falls(300, 0.0)
    assert with_falls[0] <= 0.05
    assert without[0] <= 0.05


def constant(value, tasks=64):
    return np.full(tasks, float(value))


def test_too_few_seeds_or_tasks_decide_nothing():
    runs = {"a": {0: constant(1), 1: constant(1)}, "b": {0: constant(0), 1: constant(0)}}
    assert race(runs, (0, 1), 0.02).call == "cannot tell"
    assert race(runs, (0, 1), 0.02).pairs[0].reason == "fewer than 3 paired seeds"
    one = {arm: {seed: constant(arm == "a", 1) for seed in SEEDS} for arm in "ab"}
    assert race(one, SEEDS, 0.02).pairs[0].reason == "fewer than 2 tasks"
    assert race({"a": {}, "b": {}}, (), 0.02).call == "cannot tell"


def test_runs_without_any_spread_are_judged_by_their_tasks():
    far = {arm: {seed: constant(arm == "a") for seed in SEEDS} for arm in "ab"}
    assert race(far, SEEDS, 0.02).left == ("a",)
    few = {arm: {seed: constant(1, 4) for seed in SEEDS} for arm in "ab"}
    assert race(few, SEEDS, 0.02).call == "cannot tell"  # four tasks, all right: the fifth may differ
    many = {arm: {seed: constant(1, 4000) for seed in SEEDS} for arm in "ab"}
    assert race(many, SEEDS, 0.02).call == "alike"


def test_one_run_unlike_the_rest_keeps_a_race_open():
    source = np.random.default_rng(3)
    runs = {arm: {seed: source.binomial(4, 0.6, 256) / 4 for seed in SEEDS} for arm in "ab"}
    runs["a"] = {seed: np.clip(row + 0.15, 0, 1) for seed, row in runs["a"].items()}
    assert race(runs, SEEDS, 0.02).left == ("a",)
    runs["a"][4] = np.zeros(256)
    found = compare("a", "b", runs, SEEDS[:6], 0.02, LEVEL[2])
    assert found.call == "cannot tell"
    assert found.reason.startswith("one run is unlike the rest (seed 4: a difference of -6")


def test_an_arm_of_which_a_third_failed_decides_nothing():
    source = np.random.default_rng(4)
    runs = {arm: {seed: source.binomial(4, p, 256) / 4 for seed in SEEDS} for arm, p in (("a", 0.8), ("b", 0.5))}
    for seed in (0, 1, 2):
        del runs["b"][seed]
    found = race(runs, SEEDS, 0.02)
    assert (found.call, found.pairs[0].reason) == ("cannot tell", "3 of 8 runs of b failed")


def test_a_race_of_one_five_arms_or_nine_rounds_is_refused():
    for arms in ("a", "abcde"):
        with pytest.raises(ValueError, match="2 to 4 arms"):
            race({arm: {} for arm in arms}, SEEDS, 0.02)
    with pytest.raises(ValueError, match="at most 8 rounds"):
        race({"a": {}, "b": {}}, range(9), 0.02)


def test_the_seeds_that_would_decide_follow_from_what_seeds_and_tasks_add():
    source = np.random.default_rng(6)
    rows = 0.05 + 0.03 * source.normal(size=(3, 1)) + np.zeros((3, 1000)) + 0.001 * source.normal(size=(3, 1000))
    needed = seeds_to_decide(rows, 0.02, LEVEL[2])
    spread, mean = rows.mean(axis=1).std(ddof=1), abs(rows.mean())
    from scipy.stats import t

    by_hand = next(n for n in range(4, 200) if t.ppf(1 - LEVEL[2] / 2, n - 1) * spread / n**0.5 < mean)
    assert needed == by_hand
    by_task = np.tile(source.normal(0.0, 0.5, 40), (4, 1)) + 0.01 * source.normal(size=(4, 40))
    assert seeds_to_decide(by_task - by_task.mean(), 0.02, LEVEL[2]) is None
    assert tasks_to_decide(by_task - by_task.mean(), 0.02) > 1000


def test_where_runs_agree_on_nearly_all_tasks_more_tasks_are_asked_for_and_not_more_seeds():
    source = np.random.default_rng(7)
    answers = {seed: (source.random(64) < 0.9).astype(float) for seed in SEEDS}
    for rounds in (3, 8):
        pair = race({"a": answers, "b": answers}, SEEDS[:rounds], 0.02).pairs[0]
        assert (pair.call, pair.decided_by) == ("cannot tell", None)  # 64 tasks without a difference are +-4.2 points
        assert pair.tasks_needed > 256
    near = np.zeros((3, pair.tasks_needed))
    assert verdict_of(contrast([(1.0, near)], 1 - LEVEL[2]), over_tasks([(1.0, near)]), 0.02) == "alike"
    assert seeds_to_decide(np.zeros((3, 64)), 0.05, LEVEL[2]) == 4


@pytest.mark.parametrize(
    ("tasks", "margin", "share", "samples"),
    [
        (256, 0.02, 0.0, 8),  # even 8 leave more than a point: the most
        (5000, 0.02, 0.0, 1),
        (1000, 0.03, 0.0, 4),
        (256, 0.02, 0.1, 2),  # 4 would cost 40 %
        (256, 0.02, 0.9, 1),
    ],
)
def test_a_pilot_is_evaluated_with_as_many_samples_as_help_and_can_be_paid(tasks, margin, share, samples):
    assert samples_for(tasks, margin, lambda count: share * count) == samples
