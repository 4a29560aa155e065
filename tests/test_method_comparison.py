"""Two methods compared: pairing, verdicts, what forbids one, and the sentence."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from studies_by_chance import answers, difficulties

from counterpoint.analysis.comparison import (
    Side,
    compare_methods,
    level,
    paired_seeds,
    unlike_the_rest,
    verdict_of,
)
from counterpoint.analysis.contrast import contrast, estimate
from counterpoint.analysis.intervals import Interval, interval, paired_interval
from counterpoint.analysis.outliers import points, unlike_warning
from counterpoint.analysis.power import power
from counterpoint.errors import ConfigError, RunError

WIDE = Interval(0.0, -1.0, 1.0, 256)


def sides(ahead=0.0, seeds=(5, 5), spread=0.1, tasks=256, planned=(0, 0)):
    """Two methods on equal tasks; the second is `ahead` on the logit scale."""
    source = np.random.default_rng(8)
    easy = difficulties(source, 1)
    values = [
        answers(source, 1, count, spread, easy, ability=1.0 + more, samples=4)[0, :, :tasks]
        for count, more in zip(seeds, (0.0, ahead), strict=True)
    ]
    names = ("shared", "isolated")
    shared, isolated = (
        Side(name=name, seeds=tuple(range(len(found))), values=found, planned=many)
        for name, found, many in zip(names, values, planned, strict=True)
    )
    return isolated, shared


def constant(name, value, seeds=3, tasks=256):
    return Side(name=name, seeds=tuple(range(seeds)), values=np.full((seeds, tasks), float(value)))


def test_equal_seeds_are_paired_whatever_their_order_and_others_are_two_parts():
    isolated, shared = sides(0.3)
    found = compare_methods(isolated, shared)
    turned = Side(name="shared", seeds=shared.seeds[::-1], values=shared.values[::-1])
    assert found.paired
    assert found.estimate == contrast([(1.0, isolated.values - shared.values)])
    assert compare_methods(isolated, turned).estimate == found.estimate
    later = Side(name="shared", seeds=(5, 6, 7, 8, 9), values=shared.values)
    apart = compare_methods(isolated, later)
    assert not apart.paired
    assert apart.estimate == contrast([(1.0, isolated.values), (-1.0, shared.values)])


def test_where_one_run_of_five_is_missing_the_seeds_that_both_have_are_paired():
    isolated, shared = sides(0.3, planned=(5, 5))
    four = Side(name="shared", seeds=(0, 1, 3, 4), values=shared.values[[0, 1, 3, 4]], planned=5)
    found = compare_methods(isolated, four)
    assert (found.paired, found.seeds) == (True, (4, 4))
    assert found.estimate == contrast([(1.0, isolated.values[[0, 1, 3, 4]] - four.values)])
    assert found.warnings == ("1 run without a partner of the same seed left out",)
    assert not found.reasons  # one of five is missing: not more than 20 %
    three = Side(name="shared", seeds=(0, 1, 4), values=shared.values[[0, 1, 4]], planned=5)
    assert paired_seeds(isolated, three) == []


def test_more_than_a_fifth_of_the_runs_missing_allows_no_verdict():
    isolated, shared = sides(0.5)
    assert compare_methods(isolated, shared).verdict == "ahead"
    three = Side(name="shared", seeds=(0, 1, 4), values=shared.values[[0, 1, 4]], planned=5)
    found = compare_methods(isolated, three)
    assert found.verdict == "cannot tell"
    assert found.sentence.startswith(
        "cannot tell, because 2 of 5 runs of shared are missing: isolated minus shared is "
    )
    assert "(5 and 3 seeds, not paired, 256 tasks)" in found.sentence


def test_the_sentence_says_who_is_ahead_by_how_much_on_how_many_seeds_and_tasks():
    isolated, shared = sides(0.5)
    found = compare_methods(isolated, shared)
    low, value, high = (100 * number for number in (found.estimate.low, found.estimate.value, found.estimate.high))
    assert found.sentence == (
        f"isolated is ahead by {value:.1f} points [{low:.1f}, {high:.1f}] (5 paired seeds, 256 tasks)"
    )
    other = compare_methods(shared, isolated)
    assert (other.sentence, other.leader) == (found.sentence, "isolated")
    assert other.estimate.value == -found.estimate.value


def test_methods_that_differ_by_less_than_the_margin_are_alike():
    source = np.random.default_rng(1)
    easy = (source.random((1, 1000)) < 0.7).astype(float)
    noisy = np.abs(easy - (source.random((2, 5, 1000)) < 0.04))
    one, other = (
        Side(name=name, seeds=(0, 1, 2, 3, 4), values=values) for name, values in zip(("a", "b"), noisy, strict=True)
    )
    found = compare_methods(one, other)
    assert found.verdict == "alike"
    assert found.sentence.startswith("a and b are alike within 3 points: a minus b is ")
    assert compare_methods(one, other, margin=0.002).verdict == "cannot tell"
    ahead = Side(name="a", seeds=one.seeds, values=np.maximum(one.values, source.random((5, 1000)) < 0.03))
    small = compare_methods(ahead, other)
    assert (small.verdict, small.leader, small.small) == ("ahead", "a", True)
    assert ", less than the margin of 3 points (5 paired seeds, 1000 tasks)" in small.sentence
    assert not compare_methods(ahead, other, margin=0.01).small


def test_what_cannot_be_told_comes_with_what_such_a_study_would_find():
    found = compare_methods(*sides(0.0, seeds=(3, 3), spread=0.4))
    assert found.verdict == "cannot tell"
    assert found.visible == pytest.approx(found.estimate.visible)
    assert found.sentence.endswith(
        f"; {100 * found.visible:.1f} points would be found in 80 % of such studies, 3 points with about"
        f" {found.needed.seeds} seeds"
    )


def test_one_seed_gives_the_interval_over_tasks_and_no_verdict():
    for seeds, words in (((1, 1), "1 seed, "), ((3, 1), "1 and 3 seeds, ")):
        isolated, shared = sides(2.0, seeds=seeds)
        found = compare_methods(isolated, shared)
        over = paired_interval((isolated.values.mean(axis=0) - shared.values.mean(axis=0)).tolist())
        assert (found.estimate, found.verdict, found.leader) == (None, "cannot tell", "")
        assert found.shown == pytest.approx(over[:3])
        assert f"({words}an interval over 256 tasks alone)" in found.sentence
        assert "one seed of isolated" in found.sentence


def test_one_task_says_nothing_about_others():
    found = compare_methods(constant("a", 1, tasks=1), constant("b", 0, tasks=1))
    assert (found.verdict, found.reasons) == ("cannot tell", ("one task says nothing about others",))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.2, "ahead"),
        (-0.2, -0.001, "ahead"),
        (0.001, 0.029, "ahead"),
        (-0.029, 0.029, "alike"),
        (-0.031, 0.01, "cannot tell"),
        (-0.0001, 0.04, "cannot tell"),
    ],
)
def test_verdicts(low, high, verdict):
    half, value = (high - low) / 2, (high + low) / 2
    found = estimate(value, half / 1.96, 1e9, seeds=5, tasks=256)
    alone = Interval(value, value - 0.9 * half, value + 0.9 * half, 256)
    assert verdict_of(found, alone) == verdict
    assert verdict_of(found, WIDE) == "cannot tell"


def test_runs_that_agree_on_every_task_prove_nothing_about_other_tasks():
    for tasks, verdict in ((10, "cannot tell"), (256, "alike")):
        found = compare_methods(constant("a", 1, tasks=tasks), constant("b", 1, tasks=tasks))
        assert found.verdict == verdict
        assert found.shown == pytest.approx(paired_interval([0.0] * tasks)[:3])
    two = compare_methods(constant("a", 1, tasks=2), constant("b", 0, tasks=2))
    assert two.verdict == "cannot tell"
    assert compare_methods(constant("a", 1), constant("b", 0)).verdict == "ahead"


def verdicts(difference, studies, source):
    """The verdicts on simulated studies of two methods with a true difference, and the one that is ahead."""
    found = []
    for _ in range(studies):
        runs = source.normal(0.0, 0.005, (2, 5, 1)) + source.normal(0.0, 0.05, (2, 1, 256))
        values = 0.5 + runs + source.normal(0.0, 0.05, (2, 5, 256)) + np.array([difference, 0.0])[:, None, None]
        better, worse = (
            Side(name=name, seeds=(0, 1, 2, 3, 4), values=one)
            for name, one in zip(("better", "worse"), values, strict=True)
        )
        one = compare_methods(better, worse)
        found.append((one.verdict, one.leader))
    return found


def test_verdicts_err_in_as_few_studies_as_they_say():
    source = np.random.default_rng(12)
    equal = verdicts(0.0, 300, source)
    assert sum(verdict == "ahead" for verdict, _ in equal) / 300 <= 0.06
    assert sum(verdict == "alike" for verdict, _ in equal) / 300 >= 0.9
    apart = verdicts(0.03, 300, source)
    assert sum(verdict == "alike" for verdict, _ in apart) / 300 <= 0.04
    assert all(leader != "worse" for _, leader in apart)
    assert sum(leader == "better" for _, leader in apart) / 300 >= 0.9


def test_tasks_left_out_are_a_warning_above_5_percent():
    isolated, shared = sides()
    assert compare_methods(isolated, shared, left_out=13).warnings == ()  # 13 of 269 is 4.8 %
    assert compare_methods(isolated, shared, left_out=14).warnings == (
        "14 of 270 tasks were left out: a run has no outcome for them",
    )


def test_a_run_unlike_the_rest_is_a_warning():
    isolated, shared = sides(0.3, spread=0.05)
    fallen = isolated.values.copy()
    fallen[3] = 0.0
    found = compare_methods(Side(name="isolated", seeds=isolated.seeds, values=fallen), shared)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("the difference with seed 3 is unlike the rest (-")
    apart = compare_methods(
        Side(name="isolated", seeds=(7, 8, 9, 10, 11), values=fallen),
        Side(name="shared", seeds=shared.seeds, values=shared.values),
    )
    assert apart.warnings[0].startswith("the run of isolated with seed 10 is unlike the rest (0.0, the others ")


@pytest.mark.parametrize(
    ("values", "which"),
    [
        ([0.01, 0.02, 0.03, 0.02, -0.30], 4),
        ([0.5, 0.01, 0.02, 0.03, 0.02, 0.015], 0),
        ([-0.2, 0.0, 0.01, 0.2, 0.02, 0.015], 0),  # 14 deviations away, on a side where another one is as far
        ([0.01, 0.02, 0.03, 0.02, 0.06], None),  # skewed, but 4 points away
        ([0.0, 0.0, 0.0, 0.0, 0.0], None),
        ([0.1] * 7, None),
        ([0.01, 0.02, 0.03, -0.30], None),  # four runs are too few to say
        ([-0.1, -0.05, 0.0, 0.05, 0.1], None),
        ([0.0, 0.0, 0.0, 0.0, 0.5], 4),
        ([], None),
    ],
)
def test_one_run_is_unlike_the_rest(values, which):
    assert unlike_the_rest(values) == which


def test_a_healthy_study_is_seldom_called_unlike():
    source = np.random.default_rng(0)
    for spread, low, high in ((0.02, 0.0, 0.05), (0.06, 0.1, 0.3), (1.0, 0.1, 0.3)):
        found = [unlike_the_rest(runs) for runs in source.normal(0.0, spread, (200, 5)).tolist()]
        assert low <= sum(one is not None for one in found) / 200 <= high


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (Side(name="a", seeds=(), values=np.zeros((0, 4))), constant("b", 1, tasks=4), "a has no finished run"),
        (constant("a", 1, tasks=0), constant("b", 1, tasks=0), "not 3 seeds by at least 1 tasks"),
        (constant("a", 1, tasks=4), constant("b", 1, tasks=5), r"shape \[3, 4\], not 3 seeds by 5 tasks"),
        (Side(name="a", seeds=(0, 1, 0), values=np.zeros((3, 4))), constant("b", 1, tasks=4), "two runs of a have the"),
        (constant("a", float("nan"), tasks=4), constant("b", 1, tasks=4), "12 outcomes of a are missing"),
        (Side(name="a", seeds=(0, 1), values=np.zeros((3, 4))), constant("b", 1, tasks=4), "not 2 seeds by 4 tasks"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(one, other, message):
    with pytest.raises(RunError, match=message) as error:
        compare_methods(one, other)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("margin", [-0.1, 1.0, 3, float("nan")])
def test_a_margin_is_a_difference_in_accuracy(margin):
    with pytest.raises(ConfigError, match=f"not {margin}"):
        compare_methods(*sides(), margin=margin)


def test_a_comparison_is_written_as_plain_values():
    found = compare_methods(*sides(0.5)).as_dict()
    again = json.loads(json.dumps(found))
    assert (again["verdict"], again["leader"], again["small"]) == ("ahead", "isolated", False)
    assert again["estimate"]["value"] == found["estimate"]["value"]
    assert again["tasks_alone"]["n"] == 256


def test_a_level_has_an_interval_over_seeds_and_tasks_or_over_tasks_alone():
    isolated, _ = sides()
    found = level(isolated.values, difference=False)
    assert found.estimate == contrast([(1.0, isolated.values)])
    assert found.words.endswith("(5 seeds, 256 tasks)")
    one = level(isolated.values[:1], difference=False)
    assert one.estimate is None
    assert one.shown == pytest.approx(interval(isolated.values[0].tolist())[:3])
    assert one.words.endswith("(1 seed, an interval over 256 tasks alone)")
    change = level(isolated.values[:1] - 0.5, difference=True)
    assert change.shown == pytest.approx(paired_interval((isolated.values[0] - 0.5).tolist())[:3])
    every = level(np.ones((3, 10)), difference=False)
    assert every.words == "100.0 [72.2, 100.0] (3 seeds, an interval over 10 tasks alone)"
    for empty in (np.zeros((0, 4)), np.zeros((3, 0))):
        with pytest.raises(RunError, match="nothing to average"):
            level(empty, difference=False)
    with pytest.raises(ValueError, match=r"not from 0\.5 to 3"):
        level(np.array([[0.5, 3.0]]), difference=False)


def test_differences_of_gains_can_be_compared():
    one, other = constant("a", 1, tasks=400), constant("b", -1, tasks=400)
    assert compare_methods(one, other).sentence.startswith("a is ahead by 200.0 points [")


def test_the_page_of_statistics_shows_the_verdict_that_its_code_prints(capsys):
    page = (Path(__file__).parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")
    page = page.split("## Calculate it yourself")[1]
    code, shown = (re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL) for kind in ("python", "text"))
    exec(code[0], {})
    assert capsys.readouterr().out == shown[0]


def test_a_verdict_that_the_tasks_alone_take_away_says_so():
    values = np.array(
        [[1, 1, 0, 0, 1], [1, 0, 0, 1, 1], [1, 1, 0, 0, 1], [1, 1, 0, 1, 0], [1, 1, 1, 0, 0]], dtype=float
    )
    one = Side(name="a", seeds=(0, 1, 2, 3, 4), values=values)
    found = compare_methods(one, Side(name="b", seeds=one.seeds, values=np.zeros((5, 5))))
    low, high = found.tasks_alone.low, found.tasks_alone.high
    assert found.shown[1] > 0.0 > low
    assert found.sentence.startswith(
        f"cannot tell, because over the 5 tasks alone it is [{100 * low:.1f}, {100 * high:.1f}]: a minus b is 60.0"
    )


def test_the_seeds_that_are_said_to_be_needed_find_the_margin():
    found = compare_methods(*sides(0.0, seeds=(3, 3), spread=0.4))
    seeds, corrected = found.needed.seeds, replace(found, comparisons=6)
    assert (
        power(found.variances, found.margin, seeds, 256) >= 0.8 > power(found.variances, found.margin, seeds - 1, 256)
    )
    assert corrected.needed.seeds > seeds
    assert corrected.visible > found.visible
    assert f"about {seeds} seeds" in found.sentence
    assert replace(found, margin=0.0).sentence.endswith("of such studies")


def test_runs_that_are_alike_in_being_unlike_the_rest_are_named_together():
    warning = unlike_warning(np.array([0.0, -0.3, 0.001, -0.31, 0.002]), (5, 6, 7, 8, 9))
    assert warning.startswith(
        "the differences with seeds 6 and 8 are unlike the rest (-31.0 to -30.0, the others 0.0 to 0.2)"
    )
    assert points(-0.0001) == "0.0"
