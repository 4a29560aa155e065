"""Falls: one rule for a run, its onset, and rates, pairs and times over runs, against hand-worked numbers."""

import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from test_outcome import course, row
from test_verdict import right

from counterpoint.analysis.falls import (
    CLIFF_DROP,
    fate_of,
    fell,
    mcnemar,
    onset,
    percent,
    rate,
    rate_of,
)
from counterpoint.analysis.intervals import Interval, interval, paired_interval
from counterpoint.analysis.milestones import milestones_of, peak_of_accuracy
from counterpoint.analysis.summary import summarize
from counterpoint.analysis.survival import Duration, duration, kaplan_meier, logrank
from counterpoint.analysis.verdict import fate_in_words
from counterpoint.experiments import collected

PAGES = Path(__file__).parent.parent / "docs"
FALLEN = [40, 80, 90, 80, 50, 40, 40]
RUNS = 400
TABLE = {
    (1, 0.0): (0.00, 0.54),
    (1, 0.03): (0.07, None),
    (1, 0.05): (0.16, None),
    (1, 0.08): (0.51, None),
    (1, 0.12): (0.90, None),
    (4, 0.0): (0.00, 0.98),
    (4, 0.03): (0.05, None),
    (4, 0.05): (0.41, None),
    (4, 0.08): (0.93, None),
    (4, 0.12): (1.00, None),
}
"""Samples per task, true drop -> the fraction of runs that fell, and that held, of the design's simulation."""


def of(test, validation=None):
    """The rows of a run with this accuracy, in %, on 100 test tasks."""
    return course(validation or [count / 100 for count in test], [right(count) for count in test])


def drop(value, low, high):
    return Interval(value, low, high, 100)


def interval_of(low):
    return Interval(low + 0.05, low, low + 0.1, 100)


@pytest.mark.parametrize(
    ("found", "last", "wanted"),
    [
        (drop(0.05, 0.001, 0.1), [0.7, 0.7, 0.79], "fell"),
        (drop(0.049, 0.001, 0.1), [0.7, 0.7, 0.79], "cannot tell"),
        (drop(0.05, 0.0, 0.1), [0.7, 0.7, 0.79], "cannot tell"),
        (drop(0.05, 0.001, 0.1), [0.7, 0.8, 0.79], "cannot tell"),
        (drop(0.5, 0.4, 0.6), [0.3, 0.3], "cannot tell"),
        (drop(0.0, 0.0, 0.0), [0.9], "cannot tell"),
        (drop(0.02, -0.01, 0.049), [0.85, 0.85, 0.85], "held"),
        (drop(0.02, -0.01, 0.05), [0.85, 0.85, 0.85], "cannot tell"),
        (drop(-0.2, -0.3, -0.1), [0.9, 0.9, 0.9], "held"),
    ],
)
def test_the_rule_is_exact_at_its_edges(found, last, wanted):
    assert fell(found, last, interval_of(0.8)) == wanted


def test_a_run_that_still_rises_has_not_fallen_and_the_rule_of_a_fall_comes_first():
    rising = drop(0.2, 0.1, 0.3)
    assert fell(rising, [0.5, 0.7, 0.9], interval_of(0.85)) == "cannot tell"
    assert fell(rising, [0.5, 0.7, 0.9], interval_of(0.85), ends_at_peak=True) == "held"
    assert fell(rising, [0.5, 0.9], interval_of(0.85), ends_at_peak=True) == "cannot tell"
    assert fate_of(of([40, 50, 60, 90])).fell == "held"


@pytest.mark.parametrize("test", [FALLEN, [80, 30, 20, 10], [40, 80, 95, 89, 87, 86], [40, 42, 41, 41], [50, 90]])
def test_a_run_fell_exactly_if_its_summary_has_a_cliff(test):
    found = summarize(of(test))
    assert found.cliff == (fate_of(of(test)).fell == "fell")
    assert fate_of(of(test)).drop == found.drop
    assert fate_of(of(test)).peak_step == found.peak_step


def test_the_records_of_a_study_use_the_same_words():
    from counterpoint.analysis import falls

    assert collected.Fell is falls.Fell


def simulated(samples, fall, rng):
    """The fates of runs with 9 evaluations of 256 tasks, the last three of them lower by `fall`; 64 choose the peak."""
    test, validation = rng.normal(1.2, 1.5, (RUNS, 256)), rng.normal(1.2, 1.5, (RUNS, 64))
    levels = np.tile(np.r_[-1.5, -0.5, np.zeros(7)], (RUNS, 1))
    low, high = np.full(RUNS, -8.0), np.zeros(RUNS)
    wanted = expit(test).mean(axis=1) - fall
    for _ in range(25):
        middle = (low + high) / 2
        is_low = expit(test + middle[:, None]).mean(axis=1) < wanted
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    levels[:, -3:] += high[:, None]
    right_ones = rng.binomial(samples, expit(test[:, None] + levels[:, :, None])) / samples
    accuracy = (rng.random((RUNS, 9, 64)) < expit(validation[:, None] + levels[:, :, None])).mean(axis=2)
    for outcomes, chosen in zip(right_ones, accuracy, strict=True):
        peak = outcomes[peak_of_accuracy(dict(enumerate(chosen)), range(9))]
        found = paired_interval((peak - outcomes[-3:].mean(axis=0)).tolist())
        yield fell(found, outcomes[-3:].mean(axis=1).tolist(), interval(peak.tolist()))


@pytest.mark.parametrize(("samples", "fall"), TABLE)
def test_falls_are_found_as_often_as_the_design_says(samples, fall):
    found = list(simulated(samples, fall, np.random.default_rng(3)))
    fallen, held = TABLE[samples, fall]
    assert found.count("fell") / RUNS == pytest.approx(fallen, abs=0.05)
    if held is not None:
        assert found.count("held") / RUNS == pytest.approx(held, abs=0.05)


def test_a_run_without_an_evaluation_after_the_base_has_no_fate():
    assert fate_of([]) is None
    assert fate_of(of([40])) is None


def test_a_run_without_a_task_at_both_its_peak_and_its_end_has_no_fate():
    assert fate_of(course([0.9, 0.5, 0.5, 0.5], [right(90), *[{"other": 0.0}] * 3])) is None


def test_a_task_that_an_evaluation_lacks_is_left_out_of_the_drop_and_of_the_range():
    rows = of(FALLEN)
    lacking = [{**one, "outcomes": {**one["outcomes"]}} for one in rows]
    for place in (5, 13):  # the test evaluations of the peak and of the end
        del lacking[place]["outcomes"]["99"]
    found = fate_of(lacking)
    assert (found.fell, found.onset.step) == ("fell", 30)
    assert found.drop.n == 99


def test_the_rule_is_there_without_the_second_that_scipy_stats_takes():
    code = "import sys, counterpoint.analysis.summary; print('scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_an_onset_is_the_first_evaluation_from_which_all_are_below_the_peak():
    found = fate_of(of(FALLEN))
    assert (found.fell, found.peak_step, found.onset.step, found.last) == ("fell", 20, 30, 60)
    again = fate_of(of([40, 80, 90, 60, 90, 60, 50, 50, 50], [0.4, 0.8, 0.9, 0.8, 0.8, 0.5, 0.4, 0.4, 0.4]))
    assert (again.peak_step, again.onset.step) == (20, 50)  # it had come back at step 40


def test_the_range_of_an_onset_holds_it_and_is_the_same_in_every_call():
    near = of([40, 80, 90, 84, 82, 60, 50, 50, 50], [0.4, 0.8, 1.0, 0.8, 0.6, 0.5, 0.5, 0.5, 0.5])
    found = onset(milestones_of(near))
    assert found == onset(milestones_of(near))
    assert found.low <= found.step <= found.high
    assert (found.low, found.step, found.high) == (30, 40, 50)
    assert found.missing == 0.0
    sure = onset(milestones_of(of([0, 100, 100, 0, 0, 0, 0])))
    assert (sure.low, sure.step, sure.high) == (30, 30, 30)


def test_a_run_that_comes_back_has_no_onset():
    assert onset(milestones_of(of([40, 90, 50, 89]))) is None
    assert fate_of(of([40, 90, 50, 89])).onset is None


def test_an_onset_without_a_task_that_all_evaluations_have_knows_no_range():
    rows = course([0.9, 0.3, 0.2, 0.1], [{str(100 * at + task): 0.0 for task in range(100)} for at in range(4)])
    rows[1] = row(0, "test", {str(task): 1.0 for task in range(100)})
    assert onset(milestones_of(rows)) == (10, 10, 30, 1.0)


def rolled_back(test, back):
    """A run that a roll-back ended, with this accuracy after it."""
    step = 10 * len(test)
    after = [{**row(step, split, right(back)), "rolled_back": True} for split in ("validation", "test")]
    return [*of(test), *after]


def test_a_run_that_was_rolled_back_fell_before_that():
    rows = rolled_back(FALLEN, 90)
    assert summarize(rows).drop.value == pytest.approx(0.0)  # the end is the peak again
    found = fate_of(rows, stopped="validation accuracy fell off its peak")
    assert (found.fell, found.stopped, found.last) == ("fell", "validation accuracy fell off its peak", 60)
    assert found.drop == summarize(of(FALLEN)).drop
    assert fate_of(rows).stopped == "rolled back"


def test_a_run_that_was_stopped_and_did_not_fall_never_counts_as_held():
    calm = [40, 80, 90, 90, 90, 90]
    assert fate_of(of(calm)).fell == "held"
    assert fate_of(of(calm), stopped="my own reason").fell == "cannot tell"
    assert fate_of(rolled_back(calm, 90)).fell == "cannot tell"


def test_a_final_evaluation_of_the_rolled_back_weights_counts_no_more_than_the_other():
    rows = rolled_back(FALLEN, 90)
    assert fate_of(rows, [row(70, "test", right(90))]) == fate_of(rows)


def test_the_fate_of_a_run_in_words():
    assert fate_in_words(fate_of(of(FALLEN))) == (
        "fell: 46.7 points [36.1, 55.4] below its peak at step 20, from step 30 on (between 30 and 40)"
    )
    assert fate_in_words(fate_of(rolled_back(FALLEN, 90), stopped="the alarm")).endswith(
        "; stopped after the evaluation at step 60: the alarm"
    )
    assert fate_in_words(fate_of(of([80, 30, 20, 10]))).startswith("fell: 60.0 points [49.")
    assert " below the base, from step 10 on" in fate_in_words(fate_of(of([80, 30, 20, 10])))
    many = course([0.4, 0.8, 0.9, 0.8, 0.8], [right(count, 1000) for count in (400, 800, 900, 898, 899)])
    assert fate_in_words(fate_of(many)).startswith("held: it lost at most 0.4 points from its peak at step 20")
    assert fate_in_words(fate_of(of([40, 50, 60, 90]))) == "held: its peak is its last evaluation"
    assert fate_in_words(fate_of(of([40, 50, 60, 90]), stopped="the alarm")).startswith(
        "cannot tell whether it fell: its peak is its last evaluation; stopped "
    )
    assert fate_in_words(fate_of(of([40, 80, 90, 84, 83], [0.4, 0.8, 1.0, 0.6, 0.5]))).startswith(
        "cannot tell whether it fell: it lost 4.3 points [0.1, 8.4]"
    )


def test_a_final_evaluation_decides_where_the_one_during_training_could_not():
    rows = of([40, 80, 90, 86, 84, 83], [0.4, 0.8, 1.0, 0.6, 0.5, 0.4])
    assert fate_of(rows).fell == "cannot tell"
    again = [row(20, "test", right(95)), *(row(step, "test", right(70)) for step in (30, 40, 50))]
    found = fate_of(rows, again)
    assert (found.fell, found.onset.step, found.drop.value) == ("fell", 30, pytest.approx(0.25))


@pytest.mark.parametrize("runs", [1, 2, 3, 5, 8, 20])
def test_no_fall_leaves_the_exact_bound(runs):
    found = rate(0, runs)
    assert found.at_most == pytest.approx(1 - 0.05 ** (1 / runs))
    assert (found.low, found.at_least) == (0.0, 0.0)
    everyone = rate(runs, runs)
    assert everyone.at_least == pytest.approx(0.05 ** (1 / runs))
    assert (everyone.high, everyone.at_most) == (1.0, 1.0)


def test_a_rate_in_words():
    assert rate(0, 3).words == "0 of 3 fell; a rate of up to 63 % is still possible"
    assert rate(0, 8).words == "0 of 8 fell; a rate of up to 31 % is still possible"
    assert rate(3, 3).words == "3 of 3 fell; a rate from 37 % up is still possible"
    assert rate(4, 11).words == "4 of 11 fell; a rate from 15 % to 65 % is still possible"
    assert rate(4, 11).interval == "4 of 11 fell [15 %, 65 %]"
    assert rate(0, 5).short == "0 of 5 (at most 45 %)"
    assert rate(1, 5).short == "1 of 5 (at most 66 %)"
    assert rate(0, 0).words == "there is no run"


def test_runs_that_cannot_be_told_are_counted_apart_and_widen_the_rate_to_both_sides():
    found = rate_of(["fell", "held", "cannot tell", "held", None])
    assert (found.fell, found.told, found.cannot_tell, found.missing, found.runs) == (1, 3, 1, 1, 5)
    assert (found.low, found.high) == (rate(1, 5).low, rate(3, 5).high)
    assert (found.at_least, found.at_most) == (rate(1, 5).at_least, rate(3, 5).at_most)
    assert found.short == "1 of 3 (at most 92 %), of 1 more it cannot be told, 1 did not finish"
    unknown = rate_of(["cannot tell", "cannot tell"])
    assert (unknown.low, unknown.high, unknown.at_least, unknown.at_most) == (0.0, 1.0, 0.0, 1.0)
    assert unknown.short == "cannot tell (2 runs)"
    assert rate_of(["cannot tell", None]).short == "cannot tell (1 run), 1 did not finish"
    assert (rate_of([None]).short, rate_of([]).short) == ("1 did not finish", "no run")
    assert unknown.words.startswith("0 of 0 fell, of 2 more it cannot be told; a rate of up to 100 % is")
    assert rate_of([]) == rate(0, 0)


@pytest.mark.parametrize("wrong", [(-1, 3, 0), (4, 3, 0), (1, 3, -1)])
def test_an_impossible_count_is_refused(wrong):
    with pytest.raises(ValueError, match="cannot have fallen"):
        rate(wrong[0], wrong[1], cannot_tell=wrong[2])


def test_a_share_is_never_rounded_to_certainty():
    assert [percent(share) for share in (0.0, 0.001, 0.632, 0.999, 1.0)] == [
        "0 %",
        "below 1 %",
        "63 %",
        "above 99 %",
        "100 %",
    ]


def test_mcnemar_counts_pairs_and_is_exact():
    one = {("a", seed): "fell" if seed in (0, 20) else "held" for seed in range(21)}
    other = {("a", seed): "fell" if 1 <= seed <= 8 or seed == 20 else "held" for seed in range(21)}
    found = mcnemar(one, other)
    assert (found.first, found.second, found.both, found.neither, found.left_out) == (1, 8, 1, 11, 0)
    assert found.p_value == pytest.approx(20 / 512)  # 2 (1 + 9) / 2^9
    assert found.words("shared", "isolated") == (
        "in 1 of 21 pairs only shared fell, in 8 only isolated (p = 0.039, exact McNemar test)"
    )


def test_mcnemar_leaves_out_and_counts_pairs_that_cannot_be_told_or_have_one_run():
    found = mcnemar({1: "fell", 2: "cannot tell", 3: "held", 4: None}, {1: "held", 2: "fell", 5: "fell", 4: "held"})
    assert (found.first, found.second, found.left_out) == (1, 0, 4)
    assert "4 left out" in found.words("a", "b")
    empty = mcnemar({}, {})
    assert (empty.p_value, empty.left_out) == (1.0, 0)


def test_durations_are_censored_only_where_a_run_held():
    assert duration("fell", 30, 60) == Duration(30, True)
    assert duration("held", None, 60) == Duration(60, False)
    assert duration("cannot tell", None, 60) is None
    assert duration(None, None, 60) is None
    with pytest.raises(ValueError, match="has an onset"):
        duration("fell", None, 60)


def test_kaplan_meier_on_a_hand_worked_case_with_ties():
    found = kaplan_meier([Duration(10, True), Duration(20, True), Duration(20, True), Duration(15, False)])
    assert found.steps == (10, 15, 20)
    assert found.surviving == pytest.approx((3 / 4, 3 / 4, 0.0))
    assert (found.at_risk, found.falls, found.runs, found.median) == ((4, 3, 2), 3, 4, 20)
    longer = kaplan_meier([Duration(10, True), Duration(20, True), Duration(20, False), Duration(30, True)])
    assert longer.surviving == pytest.approx((3 / 4, 1 / 2, 0.0))  # what is censored at a fall was still at risk
    assert longer.at_risk == (4, 3, 1)
    assert longer.median == 20
    step = 1 / (4 * 3) / np.log(0.75) ** 2  # Greenwood's variance of log(-log S) after the first fall
    reach = np.exp(1.959964 * np.sqrt(step))
    assert (longer.low[0], longer.high[0]) == pytest.approx((0.75**reach, 0.75 ** (1 / reach)))


def test_kaplan_meier_without_falls_without_runs_and_with_falls_alone():
    held = kaplan_meier([Duration(60, False)] * 5)
    assert (held.surviving, held.median, held.falls) == ((1.0,), None, 0)
    assert (held.low, held.high) == (pytest.approx((0.025 ** (1 / 5),)), (1.0,))
    fallen = kaplan_meier([Duration(10, True)] * 3)
    assert (fallen.surviving, fallen.low, fallen.high, fallen.median) == ((0.0,), (0.0,), (1.0,), 10)
    assert kaplan_meier([]).steps == ()
    assert kaplan_meier([]).median is None


def test_the_log_rank_test_on_a_hand_worked_case_with_ties():
    one = [Duration(10, True), Duration(20, True)]
    other = [Duration(10, True), Duration(30, False)]
    found = logrank(one, other)
    # at 10: 2 falls of 4, expected 1, variance 1/3; at 20: 1 fall of 2, expected 1/2, variance 1/4
    assert found.statistic == pytest.approx((2 - 1.5) / np.sqrt(1 / 3 + 1 / 4))
    assert 0.4 < found.p_value < 0.6
    assert logrank(other, one).statistic == pytest.approx(-found.statistic)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([], []),
        ([Duration(10, True)], []),
        ([Duration(60, False)] * 3, [Duration(60, False)] * 2),
        ([Duration(10, False)], [Duration(20, True)]),
    ],
)
def test_nothing_to_compare_gives_no_difference(one, other):
    assert logrank(one, other) == (0.0, 1.0)


def test_arms_that_fall_at_other_times_differ():
    early, late = [Duration(10 + at, True) for at in range(8)], [Duration(60, False)] * 8
    assert logrank(early, late).p_value < 0.001
    assert CLIFF_DROP == 0.05


def test_the_example_of_the_page_prints_what_it_says():
    (page,) = [
        text for path in PAGES.glob("*.md") if "## Several runs: k of n" in (text := path.read_text(encoding="utf-8"))
    ]
    bounds = re.search(r"\| none fell of \|(.*)\n.*\n\| the rate can still be \|(.*)\n", page)
    counts, shares = ([cell.strip() for cell in row.strip(" |").split("|")] for row in bounds.groups())
    assert [percent(rate(0, int(count)).at_most) for count in counts] == shares
    example = re.search(r"```python\n(from counterpoint.analysis.falls .*?)```", page, re.DOTALL)[1]
    with redirect_stdout(StringIO()) as printed:
        exec(compile(example, "falls", "exec"), {})
    first, second = printed.getvalue().splitlines()
    assert f"# {first}" in example
    assert second == "in 0 of 5 pairs only shared fell, in 2 only isolated (p = 0.5, exact McNemar test)"
