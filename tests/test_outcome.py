"""Base, peak and terminal accuracy: validation picks the peak, the test split reports it."""

import json
import random
from statistics import fmean

import pytest

from counterpoint.analysis.intervals import Interval, interval, paired_interval
from counterpoint.analysis.summary import Summary, peak_of_accuracy, smooth, summarize

OLD = {"peak_step", "terminal_steps", "team", "cliff", "slope", "roles", "behaviour"}


def row(step, split, outcomes, roles=None, numbers=None):
    values = {task: value if isinstance(value, list) else [value] for task, value in outcomes.items()}
    return {
        "step": step,
        "split": split,
        "accuracy": fmean(fmean(value) for value in values.values()),
        "outcomes": values,
        "roles": roles or {},
        "numbers": numbers or {},
    }


def course(validation, test, roles=None):
    """Rows of evaluations ten steps apart: accuracy on validation, and outcomes of the tasks on test."""
    rows = []
    for index, (accuracy, outcomes) in enumerate(zip(validation, test, strict=True)):
        rows.append(row(10 * index, "validation", {"v": accuracy}))
        rows.append(row(10 * index, "test", outcomes, roles[index] if roles else None))
    return rows


@pytest.mark.parametrize(
    ("values", "width", "wanted"),
    [
        ([1.0, 2.0, 6.0], 3, [1.5, 3.0, 4.0]),
        ([0.0, 3.0, 0.0, 3.0, 6.0], 3, [1.5, 1.0, 2.0, 3.0, 4.5]),
        ([1.0, 2.0, 6.0], 1, [1.0, 2.0, 6.0]),
        ([4.0], 3, [4.0]),
        ([], 3, []),
    ],
)
def test_smoothing_is_a_centred_mean_over_the_values_that_there_are(values, width, wanted):
    assert smooth(values, width) == pytest.approx(wanted)


def test_validation_picks_the_peak_and_the_test_split_reports_it():
    validation = [0.1, 0.3, 0.5, 0.6, 0.5, 0.1]
    test = [
        {"a": 0.2, "b": 0.0},
        {"a": 1.0, "b": 1.0},
        {"a": 0.7, "b": 0.5},
        {"a": 0.4, "b": 0.4},
        {"a": 0.1, "b": 0.3},
        {"a": 0.6, "b": 0.0},
    ]
    found = summarize(course(validation, test))
    assert found.peak_step == 30  # though the test split was at its best before, smoothed or not
    assert found.team.base.value == pytest.approx(0.1)
    assert found.team.peak.value == pytest.approx(0.4)
    assert found.terminal_steps == [30, 40, 50]
    assert found.team.terminal.value == pytest.approx((0.4 + 0.2 + 0.3) / 3)
    assert found.team.gain.value == pytest.approx(0.3)
    assert found.team.drop.value == pytest.approx(0.1)


def test_a_lone_spike_of_validation_is_not_the_peak():
    validation = [0.2, 0.1, 0.9, 0.1, 0.5, 0.6, 0.5, 0.4]
    found = summarize(course(validation, [{"a": 0.5}] * 8))
    assert found.peak_step == 50


def test_where_smoothing_leaves_two_alike_the_better_one_is_the_peak():
    rise, fall = ([{"a": 0.0}, {"a": 1.0}], [{"a": 1.0}, {"a": 0.0}])
    assert summarize(course([0.1, 0.5], rise)).peak_step == 10
    assert summarize(course([0.5, 0.1], fall)).peak_step == 0
    assert summarize(course([0.5, 0.5], fall)).peak_step == 0


def test_the_peak_is_one_of_the_steps_in_question_and_equal_ones_give_the_better_then_the_first():
    accuracy = dict(enumerate([0.4, 0.4, 0.5, 0.4, 0.3, 0.5]))
    assert peak_of_accuracy(accuracy, range(6)) == 2  # smoothed as well as 1, and better than it
    assert peak_of_accuracy(accuracy, [1, 3, 4, 9]) == 1
    assert peak_of_accuracy({0: 0.5, 10: 0.5, 20: 0.5}, [0, 10, 20]) == 0
    assert peak_of_accuracy({20: 0.9, 0: 0.1, 10: 0.5}, [0, 10, 20]) == 20, "whatever the order of the evaluations"
    assert peak_of_accuracy({}, [3]) == 0


def test_a_run_that_never_gets_better_has_its_peak_at_the_base():
    found = summarize(course([0.9, 0.2, 0.1], [{"a": 1.0, "b": 0.5}, {"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 0.5}]))
    assert found.peak_step == 0
    assert found.team.gain == Interval(0.0, 0.0, 0.0, 2)
    assert found.terminal_steps == [10, 20]
    assert found.team.drop.value == pytest.approx(0.75 - (0.5 + 0.25) / 2)


def test_the_base_is_never_part_of_the_terminal():
    found = summarize(course([0.5, 0.5], [{"a": 1.0}, {"a": 0.0}]))
    assert found.terminal_steps == [10]
    assert found.team.terminal.value == 0.0


def test_the_rows_may_come_in_any_order():
    rows = course([0.1, 0.5, 0.6, 0.5], [{"a": 0.2}, {"a": 1.0}, {"a": 0.7}, {"a": 0.4}])
    shuffled = random.Random(0).sample(rows, len(rows))
    assert summarize(shuffled) == summarize(rows)


def test_there_is_no_outcome_before_the_first_evaluation_after_the_base():
    rows = course([0.1, 0.5], [{"a": 0.2}, {"a": 1.0}])
    assert summarize([]) is None
    assert summarize(rows[:2]) is None
    assert summarize(rows[:3]) is None  # the second one has validation only
    assert summarize(rows[2:]) is None  # no base
    assert summarize(rows) is not None


def test_several_samples_of_a_task_weigh_as_one_task():
    found = summarize(course([0.1, 0.5], [{"a": 0.0, "b": 0.0}, {"a": [1.0, 1.0, 1.0, 0.0], "b": [0.0]}]))
    assert found.team.peak.value == pytest.approx((0.75 + 0.0) / 2)
    assert found.team.peak.n == 2


def test_each_role_has_a_course_of_its_own():
    roles = [
        {"generator": {"a": [0.0, 1.0]}, "aggregator": {"a": [0.0]}},
        {"generator": {"a": [1.0, 1.0]}},  # no aggregator was judged here
        {"generator": {"a": [1.0, 0.5]}, "aggregator": {"a": [1.0]}},
    ]
    found = summarize(course([0.1, 0.5, 0.6], [{"a": 0.0}, {"a": 1.0}, {"a": 0.5}], roles))
    assert list(found.roles) == ["generator", "aggregator"]
    generator, aggregator = found.roles["generator"], found.roles["aggregator"]
    assert (aggregator.base.value, aggregator.peak.value, aggregator.terminal.value) == (0.0, 1.0, 1.0)
    assert (found.peak_step, generator.base.value, generator.peak.value) == (20, 0.5, 0.75)
    assert generator.terminal.value == pytest.approx((1.0 + 0.75) / 2)
    assert found.roles["aggregator"].gain.value == 1.0


def test_a_role_that_falls_silent_has_no_accuracy_where_it_was_not_called():
    roles = [{"solver": {"a": [0.0], "b": [1.0]}, "judge": {"b": [0.25]}}, *[{"solver": {"a": [1.0], "b": [1.0]}}] * 2]
    found = summarize(course([0.1, 0.5, 0.6], [{"a": 0.0, "b": 1.0}, *[{"a": 1.0, "b": 1.0}] * 2], roles))
    judge = found.roles["judge"]
    assert (judge.base, judge.peak, judge.terminal, judge.gain, judge.drop) == (
        interval([0.25]),
        *[None] * 4,
    )
    assert Summary.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_a_role_that_was_called_on_other_tasks_at_the_peak_has_no_gain():
    roles = [{"judge": {"a": [0.0]}}, {"judge": {"b": [1.0]}}]
    judge = summarize(course([0.1, 0.5], [{"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 1.0}], roles)).roles["judge"]
    assert (judge.base.value, judge.peak.value, judge.gain, judge.drop.value) == (0.0, 1.0, None, 0.0)


def test_a_role_that_was_not_called_is_data_and_not_an_error():
    roles = [{"solver": {"a": [0.0]}, "judge": {"a": [0.0]}}, {"solver": {"a": [1.0]}}, {"solver": {"a": [1.0]}}]
    found = summarize(course([0.1, 0.5, 0.6], [{"a": 0.0}, {"a": 1.0}, {"a": 1.0}], roles))
    judge = found.roles["judge"]
    assert judge.base.value == 0.0
    assert (judge.peak, judge.terminal, judge.gain, judge.drop) == (None, None, None, None)
    assert Summary.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    later = summarize(course([0.1, 0.5, 0.6], [{"a": 0.0}, {"a": 1.0}, {"a": 1.0}], roles[::-1]))
    assert (later.roles["judge"].base, later.roles["judge"].gain) == (None, None)
    assert later.roles["judge"].peak.value == 0.0


def test_a_role_that_answered_other_tasks_has_no_difference():
    roles = [{"judge": {"a": [0.0]}}, {"judge": {"b": [1.0]}}]
    judge = summarize(course([0.1, 0.5], [{"a": 0.0, "b": 0.0}] * 2, roles)).roles["judge"]
    assert (judge.base.n, judge.peak.n, judge.gain) == (1, 1, None)


def test_the_summary_holds_plain_values():
    plain = summarize(course([0.1, 0.5], [{"a": 0.0}, {"a": 1.0}], [{"solver": {"a": [0.5]}}] * 2)).as_dict()
    assert set(plain) == {
        "peak_step",
        "terminal_steps",
        "base",
        "peak",
        "terminal",
        "gain",
        "drop",
        "cliff",
        "slope",
        "roles",
        "behaviour",
        "kept",
        "fall",
        "rise",
        "last",
        "tokens",
        "validation_tasks",
        "controls",
        "rolled_back",
        "verdict",
    }
    assert plain["gain"] == paired_interval([1.0])._asdict()
    assert plain["fall"] is None  # nothing comes after the peak
    assert plain["roles"]["solver"]["drop"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 1}


def test_a_summary_comes_back_from_its_plain_values():
    numbers = [{"role/solver/precision": 0.5}, {}, {}]
    rows = course([0.1, 0.5, 0.4], [{"a": 0.0, "b": 1.0}] * 3, [{"solver": {"a": [0.5]}}] * 3)
    for row_, measured in zip(rows, [one for one in numbers for _ in range(2)], strict=True):
        row_["numbers"] = measured
    rows[-1]["controls"] = {"one answer of solver": {"tokens": 7.0, "outcomes": {"a": [1.0], "b": [0.0]}}}
    found = summarize(rows)
    (control,) = found.controls
    assert (control.accuracy.value, control.difference) == (0.5, paired_interval([-1.0, 1.0]))
    plain = json.loads(json.dumps(found.as_dict()))
    assert Summary.from_dict(plain) == found
    earlier = {name: plain[name] for name in plain if name not in set(Summary.__dataclass_fields__) - OLD}
    assert Summary.from_dict(earlier).verdict  # a summary of an earlier version has words too
    assert found.gain == found.team.gain
    assert found.drop == found.team.drop


def test_behaviour_is_read_off_the_test_split_at_the_same_steps():
    numbers = [
        {"role/judge/precision": 0.5, "role/judge/coherence": 9.0, "policy/judge/updates": 1.0, "episode/oracle": 0.4},
        {"role/judge/precision": 0.9, "episode/oracle": 0.8},
        {"role/judge/precision": 0.7, "role/judge/recall": 0.2},
    ]
    steps = zip((0, 10, 20), (0.1, 0.5, 0.9), numbers, strict=True)
    rows = [
        entry
        for step, accuracy, measured in steps
        for entry in (row(step, "validation", {"v": accuracy}), row(step, "test", {"a": 0.5}, numbers=measured))
    ]
    found = summarize(rows)
    assert found.peak_step == 20
    assert found.behaviour == {
        "role/judge/precision": (0.5, 0.7, pytest.approx(0.8)),
        "role/judge/recall": (None, 0.2, 0.2),  # undefined where no draft was right
        "episode/oracle": (0.4, None, 0.8),
    }
    assert found.as_dict()["behaviour"]["role/judge/recall"] == {"base": None, "peak": 0.2, "terminal": 0.2}


def test_a_run_that_was_rolled_back_ends_where_it_went_back_to():
    rows = course([0.1, 0.8, 0.8, 0.4, 0.3], [{"a": value} for value in (0.2, 0.85, 0.85, 0.5, 0.4)])
    rows += [{**row(50, split, {"a": 0.85}), "rolled_back": True} for split in ("validation", "test")]
    found = summarize(rows)
    assert found.terminal_steps == [50]
    assert found.peak_step in (10, 20)
    assert found.team.terminal.value == 0.85
    assert found.team.drop.value == 0.0
    assert not found.cliff
