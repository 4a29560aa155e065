"""What came before falls: marks, and diagnostics of runs that fell beside those that held."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats
from synthetic_study import write_study

from counterpoint.analysis.aligned import beside
from counterpoint.analysis.signatures.base import Finding
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.reports.before_falls import (
    DIAGNOSTICS,
    aligned,
    before_falls,
    differences,
    marks,
    marks_of,
    values_of,
)
from counterpoint.reports.gather import gather
from counterpoint.reports.seen import CellSeen, Gathered, Seen

OUTCOMES = pl.DataFrame(
    schema={"milestone": str, "role": str, "task": str, "value": float, "samples": int},
)


def seen(name, *, fell="held", onset=None, steps=40, coherence=None, metrics=(), **more):
    """A run of voting with the coherence of its generator at each step, and an evaluation every 5."""
    rows = [(step, "eval/test/accuracy", 0.5) for step in range(0, steps + 1, 5)]
    if coherence is not None:
        rows += [(step, "gradient/generator/generator/coherence", coherence(step)) for step in range(1, steps + 1)]
    record = RunRecord(
        run=name,
        path=name,
        labels={},
        seed=0,
        state="finished",
        workflow="voting",
        sharing="isolated",
        steps=steps,
        peak_step=20,
        terminal_steps=(steps,),
        fell=fell,
        onset=onset,
        **more,
    )
    return Seen(
        record=record,
        roles=["generator", "aggregator"],
        routing={"generator": ["generator"], "aggregator": ["aggregator"]},
        metrics=pl.DataFrame([*rows, *metrics], schema={"step": int, "name": str, "value": float}, orient="row"),
        outcomes=OUTCOMES,
    )


def gathered(*runs, control=()):
    cells = [
        CellSeen(name="cell", labels={}, runs=list(runs)),
        CellSeen(name="c", labels={}, runs=control, control="c"),
    ]
    collected = Collected(runs=(), outcomes=pl.DataFrame(), metrics=pl.DataFrame())
    return Gathered(title="t", cells=cells, collected=collected, compared=None)


def rising(step):
    return 0.9 if step > 15 else 0.5


def flat(step):
    return 0.5 + 0.01 * (step % 2)


def test_with_one_kind_of_runs_the_difference_is_that_of_welch():
    source = np.random.default_rng(0)
    fell, held = source.normal(1.0, 1.0, 6).tolist(), source.normal(0.0, 3.0, 9).tolist()
    found = beside({"k": fell}, {"k": held})
    expected = stats.ttest_ind(fell, held, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(np.mean(fell) - np.mean(held))
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.p_value == pytest.approx(expected.pvalue)


def test_kinds_count_with_their_falls():
    found = beside({"a": [2.0, 4.0, 3.0], "b": [10.0]}, {"a": [1.0, 3.0], "b": [6.0, 8.0], "c": [100.0]})
    assert found.fell == pytest.approx(0.75 * 3 + 0.25 * 10)
    assert found.held == pytest.approx(0.75 * 2 + 0.25 * 7)
    assert (found.falls, found.holds, found.kinds) == (4, 4, 2)
    own, other = 1.0 * (0.75**2 / 3 + 0.25**2 / 1), 2.0 * (0.75**2 / 2 + 0.25**2 / 2)
    freedom = (own + other) ** 2 / (own**2 / 2 + other**2 / 2)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(own + other)
    assert (found.low, found.high) == (pytest.approx(1.5 - reach), pytest.approx(1.5 + reach))


def test_without_a_spread_between_runs_there_is_no_interval():
    assert beside({"a": [1.0]}, {"a": [0.0, 0.5]}).low is None
    assert beside({"a": [1.0, 1.0]}, {"a": [0.0, 0.0]}).p_value is None
    assert beside({"a": [1.0]}, {"b": [0.0]}) is None
    assert beside({"a": []}, {"a": [0.0]}) is None


def test_the_interval_holds_the_truth_in_95_of_100_cases():
    source = np.random.default_rng(1)
    hits = 0
    for _ in range(600):
        fell = {kind: source.normal(kind + 0.5, 1.0, 4).tolist() for kind in range(3)}
        held = {kind: source.normal(kind, 2.0, 5).tolist() for kind in range(3)}
        found = beside(fell, held)
        hits += found.low <= 0.5 <= found.high
    assert 0.92 < hits / 600 < 0.98


def test_a_diagnostic_that_rises_before_falls_is_told():
    falls = [
        seen(f"f{place}", fell="fell", onset=30, coherence=lambda s, p=place: rising(s) + 0.01 * p)
        for place in range(4)
    ]
    holds = [seen(f"h{place}", coherence=lambda s, p=place: flat(s) + 0.01 * p) for place in range(4)]
    (found,) = differences(gathered(*falls, *holds))
    assert (found.diagnostic, found.verdict) == ("amplification per call", "higher")
    assert found.found.fell == pytest.approx(0.915)  # steps 16 to 25: the last evaluation before step 30 is at 25
    assert found.found.held == pytest.approx(0.52)
    (told,) = before_falls(gathered(*falls, *holds))
    assert told.startswith("before falls, amplification per call was higher: 0.92 against 0.52")
    assert "(4 falls, 4 runs that held, p < 0.001 after Holm)" in told


def test_runs_that_held_are_read_at_the_steps_of_those_that_fell():
    falls = [seen("f0", fell="fell", onset=20, coherence=flat), seen("f1", fell="fell", onset=40, coherence=flat)]
    holds = [seen("h0", coherence=lambda step: float(step))]
    table = aligned(gathered(*falls, *holds)).filter(offset=0)
    assert table["held"].to_list() == [30.0]
    assert table["falls"].to_list() == [2]
    late = aligned(gathered(*falls, *holds)).filter(offset=5)
    assert late["falls"].to_list() == [1], "the other run has no step 45"
    assert late["held"].to_list() == [25.0]


def test_a_difference_by_chance_is_not_told():
    levels = np.random.default_rng(3).normal(0.5, 0.1, 6).tolist()
    runs = [seen(f"f{place}", fell="fell", onset=30, coherence=lambda _, p=place: levels[p]) for place in range(3)]
    runs += [seen(f"h{place}", coherence=lambda _, p=place: levels[p]) for place in range(3, 6)]
    assert [one.verdict for one in differences(gathered(*runs))] == ["cannot tell"]
    (told,) = before_falls(gathered(*runs))
    assert told.startswith("before falls, it cannot be told of amplification per call")


def test_stopped_runs_and_those_of_which_it_cannot_be_told_are_no_healthy_runs():
    fell = seen("f", fell="fell", onset=30, coherence=rising)
    stopped = seen("s", stopped="cliff", coherence=flat)
    unclear = seen("u", fell="cannot tell", coherence=flat)
    other = seen("o", coherence=flat)
    other = replace(other, record=replace(other.record, sharing="shared"))
    control = seen("c", coherence=flat)
    found = gathered(fell, stopped, unclear, other, control=[control])
    assert differences(found) == []
    assert before_falls(found) == [
        "1 run fell, but none of the same workflow, sharing and labels held: there is nothing to compare it with"
    ]
    assert aligned(found).is_empty()


def test_without_a_fall_nothing_is_claimed():
    assert before_falls(gathered(seen("h"))) == [
        "none of 1 finished run fell: nothing is known of what comes before a fall"
    ]


def test_a_fall_after_the_first_evaluation_is_looked_at_from_the_first_step():
    found = differences(gathered(*(seen(f"f{p}", fell="fell", onset=5, coherence=rising) for p in range(2)), seen("h")))
    assert found == [], "there is no step before the evaluation at 0"


def test_marks_are_the_steps_at_which_means_reach_their_thresholds():
    run = seen("f", fell="fell", onset=30, coherence=lambda step: 0.9 if 11 <= step <= 24 else 0.5)
    finding = Finding(signature="capture", where="p by generator", steps=(8, 27), evidence=("x",))
    metrics = pl.DataFrame(
        [(35, "warning/cliff", 1.0), (36, "warning/cliff", 1.0)], schema=run.metrics.schema, orient="row"
    )
    run = replace(run, findings=[finding], metrics=pl.concat([run.metrics, metrics]))
    found = marks_of(run)
    # the mean of 5 steps is 0.82 with four of them at 0.9 and one at 0.5: from step 14 to step 25
    assert found == [
        ("capture", "p by generator", 8, 27),
        ("amplification", "generator", 14, 25),
        ("peak", "", 20, 20),
        ("onset", "", 30, 30),
        ("warning", "cliff", 35, 35),
        ("end", "", 40, 40),
    ]
    assert marks_of(seen("s", stopped="cliff"))[-1].kind == "stopped"


def test_relative_and_lowest_diagnostics():
    metrics = [
        (step, f"role/{role}/entropy", value) for role, value in (("a", 1.0), ("b", 2.0)) for step in range(1, 6)
    ]
    metrics += [(9, "role/a/entropy", 0.5), (9, "role/b/entropy", 0.5), (9, "role/a/tokens", 3.0)]
    run = seen("r", metrics=metrics)
    assert values_of([run], DIAGNOSTICS["entropy"])[run.record.run][9] == pytest.approx(0.25)
    assert values_of([run], DIAGNOSTICS["length"])[run.record.run] == {}, "there is no length at the start"


def test_dominance_of_a_policy_with_one_role_says_nothing():
    alone = seen("r", metrics=[(1, "gradient/generator/dominance", 1.0)])
    assert values_of([alone], DIAGNOSTICS["dominance"])[alone.record.run] == {}
    shared = replace(alone, routing={"generator": ["generator"], "aggregator": ["generator"]})
    assert values_of([shared], DIAGNOSTICS["dominance"])[shared.record.run] == {1: 1.0}


def test_planted_amplification_is_marked_where_it_begins(tmp_path):
    planted = write_study(tmp_path / "study", cells=10, seeds=2)
    found = gather([tmp_path / "study"])
    amplified = marks(found).filter(kind="amplification")
    first = dict(amplified.group_by("run").agg(pl.col("step").min()).iter_rows())
    expected = {name: plan.amplified for name, plan in planted.items() if plan.amplified is not None}
    assert first.keys() == expected.keys()
    assert all(0 <= first[name] - step <= 4 for name, step in expected.items())
    fell = {run.record.run for cell in found.cells for run in cell.runs if run.record.fell == "fell"}
    assert fell
    assert fell <= {name for name, plan in planted.items() if plan.onset is not None}
