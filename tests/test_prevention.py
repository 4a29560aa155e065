"""What interventions did: planted effects are found, null ones are not, and a lower peak is no recommendation."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from command_line import command_line
from interventions_by_chance import Effect, study_of
from scipy.stats import t as student
from studies_by_chance import answers, contrasts, difficulties
from test_compared import crossed

from counterpoint.analysis.comparison import Side, compare_methods
from counterpoint.analysis.falls import mcnemar
from counterpoint.analysis.multiplicity import holm
from counterpoint.errors import ConfigError
from counterpoint.experiments.collected_files import write
from counterpoint.experiments.prevented import ORDER, outcome_of
from counterpoint.experiments.preventing import Sides, mean_difference, prevention
from counterpoint.reports.comparison import prevention as picture
from counterpoint.reports.figures.prevented import prevented
from counterpoint.reports.prevented_table import comma_separated, latex, markdown

NOTHING = Effect()
CELLS = ("isolated", "shared")
PLANTED = {
    "nothing": NOTHING,
    "anchor": Effect(peak=0.15, falls=0),
    "null": NOTHING,
    "slow": Effect(peak=-0.9, falls=0),
    "harm": Effect(peak=-1.0, falls=5),
    "stop": Effect(peak=0.1, stopped=True),
}


def outcomes(found):
    return {one.label: one.outcome for one in found.pooled}


def without(collected, leaves_out):
    """The same study without the runs for which `leaves_out` is true."""
    runs = tuple(run for run in collected.runs if not leaves_out(run))
    return replace(collected, runs=runs)


@pytest.fixture(scope="module")
def study():
    return study_of(PLANTED, cells=CELLS)


@pytest.fixture(scope="module")
def found(study):
    return prevention(study)


def test_an_intervention_that_prevents_falls_is_found_and_nothing_else(found):
    assert outcomes(found) == {
        "anchor": "prevents the fall",
        "stop": "goes back to the peak",
        "null": "cannot tell",
        "slow": "costs the peak",
        "harm": "ends lower",
    }
    (best,) = found.preventing
    assert (best.pairs.first, best.pairs.second, best.falls.fell, best.falls_without.fell) == (8, 0, 0, 8)
    assert best.pairs.p_value == pytest.approx(2 * 0.5**8)
    assert (best.where, best.cells, best.kept.found.comparisons) == ("", CELLS, 10)
    assert best.signatures == {"cliff": (0, 8)}


def test_all_ends_and_peaks_are_one_family_and_those_of_the_cells_another(found):
    for which, size in ((found.pooled, 10), (found.cells, 20)):
        family = [difference for one in which for difference in (one.kept, one.peak)]
        assert len(family) == size
        assert [one.p_value for one in family] == holm([one.found.estimate.p_value for one in family])
        assert all(one.p_value <= 0.05 for one in family if one.found.verdict == "ahead")


def test_one_that_ends_higher_at_the_cost_of_the_peak_is_not_recommended():
    found = prevention(
        study_of({"nothing": Effect(fall=2.5, falls=5), "slow": Effect(peak=-0.6, falls=0)}, cells=CELLS)
    )
    assert outcomes(found) == {"slow": "ends higher, costs the peak"}
    assert not found.preventing
    assert "no label of intervention is shown to prevent the fall without a lower peak" in found.sentences


def test_one_that_does_nothing_is_alike_where_runs_differ_little():
    found = prevention(
        study_of({"nothing": Effect(falls=0), "null": Effect(falls=0)}, spread=0.0, tasks=1500, samples=8)
    )
    assert outcomes(found) == {"null": "alike"}
    assert "no run of these fell, so that no fall could be prevented here" in found.sentences
    assert "alike within 3 points: null" in found.sentences


def test_stopped_runs_are_said_to_have_gone_back_and_not_to_have_prevented_a_fall(found):
    (stop,) = [one for one in found.pooled if one.label == "stop"]
    assert (stop.stopped, stop.runs, stop.falls.told, stop.falls.cannot_tell) == (8, 10, 2, 8)
    (told,) = [line for line in found.sentences if line.startswith("stop goes back to the peak")]
    assert "8 of 10 runs ended where they went back to" in told
    assert any(line.startswith("stop: 8 of 10 runs were stopped") for line in found.warnings)


def test_over_one_cell_the_difference_is_that_of_compare_and_of_the_sums_of_squares(study):
    alone = prevention(without(study, lambda run: run.sharing == "shared"))
    assert alone.cells == ()
    (anchor,) = [one for one in alone.pooled if one.label == "anchor"]
    rows = []
    for seed in range(5):
        one, other = (study.outcomes_of(f"{label}-isolated-s{seed}", "peak") for label in ("anchor", "nothing"))
        rows.append([one[task] - other[task] for task in sorted(one)])
    assert anchor.peak.found.shown == pytest.approx(crossed(np.array(rows)))


def test_the_mean_over_cells_weighs_them_equally_and_takes_their_seeds_as_independent():
    chance = np.random.default_rng(3)
    cells = [
        Sides(
            one=Side(name="a", seeds=tuple(range(count)), values=chance.random((count, 40))),
            other=Side(name="b", seeds=tuple(range(count)), values=chance.random((count, 40))),
        )
        for count in (2, 5)
    ]
    pooled = mean_difference(cells, 0.03)
    single = [compare_methods(cell.one, cell.other) for cell in cells]
    assert mean_difference(cells[:1], 0.03).estimate == single[0].estimate
    assert pooled.estimate.value == pytest.approx(np.mean([one.estimate.value for one in single]))
    assert (pooled.seeds, pooled.paired) == ((2, 2), True)
    # V = max(S + T/J - E, S, T/J) with S, E the sums over cells of a quarter of their own.
    differences = [cell.one.values - cell.other.values for cell in cells]
    own = sum(d.mean(axis=1).var(ddof=1) / len(d) / 4 for d in differences)
    tasks = sum(d.mean(axis=0) / 2 for d in differences).var(ddof=1) / 40
    rest = 0.0
    for d in differences:
        residual = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0, keepdims=True) + d.mean()
        rest += (residual**2).sum() / ((len(d) - 1) * 39) / (4 * len(d) * 40)
    assert pooled.estimate.error == pytest.approx(max(own + tasks - rest, own, tasks) ** 0.5)


def made(value, low, high, verdict):
    """A comparison with this interval, over seeds and over tasks alone."""
    side = Side(name="a", seeds=(0, 1), values=np.array([[0.0, 1.0], [1.0, 1.0]]))
    found = compare_methods(side, replace(side, name="b", values=side.values[::-1] * 0.5))
    estimate = replace(found.estimate, value=value, low=low, high=high, error=0.01)
    return replace(
        found, estimate=estimate, tasks_alone=found.tasks_alone._replace(low=low, high=high), verdict=verdict
    )


UP, DOWN, OPEN, ALIKE = (
    made(0.1, 0.05, 0.15, "ahead"),
    made(-0.1, -0.15, -0.05, "ahead"),
    made(0.0, -0.1, 0.1, "cannot tell"),
    made(0.0, -0.02, 0.02, "alike"),
)
FEWER = mcnemar({0: "fell", 1: "held"}, {0: "held", 1: "held"})
AS_MANY = mcnemar({0: "fell"}, {0: "fell"})
NONE_FELL = mcnemar({0: "held"}, {0: "held"})
MORE = mcnemar({0: "held"}, {0: "fell"})
UNTOLD = mcnemar({0: "fell", 1: "fell"}, {0: "cannot tell", 2: "held"})
LITTLE = made(0.02, 0.01, 0.029, "ahead")


@pytest.mark.parametrize(
    ("kept", "peak", "pairs", "stopped", "outcome"),
    [
        (UP, ALIKE, FEWER, 0, "prevents the fall"),
        (UP, UP, FEWER, 0, "prevents the fall"),
        (UP, ALIKE, AS_MANY, 0, "ends higher, falls as often"),
        (UP, ALIKE, NONE_FELL, 0, "ends higher, falls as often"),
        (UP, ALIKE, MORE, 0, "ends higher, falls as often"),
        (UP, ALIKE, UNTOLD, 0, "ends higher, falls cannot be told"),
        (UP, OPEN, UNTOLD, 0, "ends higher, peak cannot be told"),
        (UP, ALIKE, UNTOLD, 1, "goes back to the peak"),
        (UP, ALIKE, FEWER, 1, "goes back to the peak"),
        (UP, OPEN, FEWER, 0, "ends higher, peak cannot be told"),
        (UP, OPEN, FEWER, 3, "ends higher, peak cannot be told"),
        (UP, DOWN, FEWER, 0, "ends higher, costs the peak"),
        (UP, made(-0.01, -0.0299, 0.0, "cannot tell"), FEWER, 0, "prevents the fall"),
        (UP, made(-0.01, -0.03, 0.0, "cannot tell"), FEWER, 0, "ends higher, peak cannot be told"),
        (DOWN, UP, FEWER, 0, "ends lower"),
        (OPEN, DOWN, FEWER, 0, "costs the peak"),
        (OPEN, ALIKE, FEWER, 0, "cannot tell"),
        (ALIKE, ALIKE, AS_MANY, 0, "alike"),
        (ALIKE, LITTLE, AS_MANY, 0, "alike"),
        (ALIKE, UP, AS_MANY, 0, "peaks higher, ends alike"),
        (ALIKE, OPEN, AS_MANY, 0, "cannot tell"),
        (ALIKE, DOWN, AS_MANY, 0, "costs the peak"),
        (OPEN, UP, AS_MANY, 0, "cannot tell"),
        (replace(UP, verdict="cannot tell"), ALIKE, FEWER, 0, "cannot tell"),
    ],
)
def test_a_verdict_needs_every_one_of_its_conditions(kept, peak, pairs, stopped, outcome):
    assert outcome_of(kept, peak, pairs, stopped=stopped) == outcome
    assert outcome in ORDER


@pytest.mark.parametrize(
    ("peak", "stopped", "outcome"),
    [
        (ALIKE, 0, "ends higher, trains fewer steps"),
        (ALIKE, 1, "ends higher, trains fewer steps"),
        (OPEN, 0, "ends higher, peak cannot be told"),
    ],
)
def test_one_that_trains_fewer_steps_prevents_nothing(peak, stopped, outcome):
    assert outcome_of(UP, peak, FEWER, stopped=stopped, shorter=1) == outcome
    assert outcome in ORDER


def test_a_label_of_some_cells_is_compared_there_and_the_others_are_said_to_be_missing(study):
    found = prevention(without(study, lambda run: (run.labels["intervention"], run.sharing) == ("anchor", "isolated")))
    (anchor,) = [one for one in found.pooled if one.label == "anchor"]
    assert (anchor.cells, anchor.where, anchor.runs) == (("shared",), "", 5)
    assert "anchor is the mean over 1 of 2 cells: shared" in found.warnings


@pytest.mark.parametrize("seeds", [0, 1, 2, 3])
def test_any_number_of_seeds_says_what_it_can(seeds):
    collected = study_of(PLANTED, cells=CELLS, seeds=3)
    runs = tuple(run if run.seed < seeds else replace(run, state="absent", peak_step=None) for run in collected.runs)
    found = prevention(replace(collected, runs=runs))
    assert found.sentences
    assert json.loads(json.dumps(found.as_dict()))["reference"] == "nothing"
    assert markdown(found)
    if seeds == 0:
        assert found.sentences == [
            "nothing can be said yet: no label of intervention has finished runs beside those of nothing"
        ]
    if seeds == 1:
        assert set(outcomes(found).values()) == {"cannot tell"}
        assert all(one.kept.p_value is None for one in found.pooled)


def test_a_cell_without_the_reference_and_runs_that_failed_are_named():
    collected = study_of({"nothing": NOTHING, "anchor": Effect(falls=0)}, cells=CELLS)
    lost = {"nothing-shared-s0", "nothing-shared-s1", "anchor-isolated-s3", "anchor-isolated-s4"}
    runs = [replace(run, state="failed", peak_step=None) if run.run in lost else run for run in collected.runs]
    found = prevention(replace(collected, runs=tuple(runs)))
    assert "isolated: anchor: 3 of 5 runs finished" in found.warnings
    (anchor,) = [one for one in found.cells if one.where == "isolated"]
    assert anchor.outcome == "cannot tell"
    assert anchor.kept.found.reasons[0] == "2 of 5 runs of anchor are missing"
    bare = without(collected, lambda run: run.run.startswith("nothing-shared"))
    assert "shared: left out, as nothing has no finished run there" in prevention(bare).warnings


STRONG = {"nothing": Effect(falls=5), "anchor": Effect(peak=0.4, falls=0)}


def changed(collected, is_one, **fields):
    """The same study, with these fields in the runs for which `is_one` is true."""
    return replace(collected, runs=tuple(replace(run, **fields) if is_one(run) else run for run in collected.runs))


@pytest.mark.parametrize("label", ["anchor", "nothing"])
@pytest.mark.parametrize("lost", [0, 2, 3, 4, 5])
def test_the_more_runs_of_a_cell_fail_the_less_can_be_told(label, lost):
    collected = study_of(STRONG, cells=CELLS)
    found = prevention(
        changed(
            collected,
            lambda run: run.run.startswith(f"{label}-isolated") and run.seed < lost,
            state="failed",
            peak_step=None,
        )
    )
    (anchor,) = found.pooled
    assert anchor.outcome == ("prevents the fall" if lost <= 2 else "cannot tell")
    assert anchor.kept.found.reasons == (() if lost <= 2 else (f"{lost} of 10 runs of {label} are missing",))
    assert anchor.cells == (CELLS if lost <= 3 else ("shared",))
    rate = anchor.falls if label == "anchor" else anchor.falls_without
    assert (rate.runs, rate.missing) == (10, lost)
    assert (anchor.pairs.first, anchor.pairs.left_out) == (10 - lost, lost)
    assert found.falls["isolated"].missing == lost * (label == "nothing")
    if lost == 5:
        assert f"isolated: {label} has no finished run: 5 missing" in found.warnings
        out = "isolated: left out of the means, as nothing has no finished run there"
        assert (out in found.warnings) == (label == "nothing")


def test_a_cell_that_no_run_has_begun_is_not_missing():
    waiting = changed(study_of(STRONG, cells=CELLS), lambda run: run.sharing == "isolated", state="absent")
    (anchor,) = prevention(waiting).pooled
    assert (anchor.outcome, anchor.cells, anchor.falls.runs) == ("prevents the fall", ("shared",), 5)


def test_a_cell_whose_tasks_nobody_knows_is_missing_from_every_mean():
    cells = ("easy-a", "easy-b", "hard-a", "hard-b", "hard-c")
    collected = changed(study_of(STRONG, cells=cells), lambda run: run.sharing.startswith("hard"), tasks_sha256="other")
    died = changed(collected, lambda run: run.sharing == "hard-c", state="failed", peak_step=None, tasks_sha256="")
    easy, hard = prevention(died).pooled
    assert [(one.where, one.cells) for one in (easy, hard)] == [("easy", cells[:2]), ("hard", cells[2:4])]
    assert {one.falls.missing for one in (easy, hard)} == {5}
    assert {one.outcome for one in (easy, hard)} == {"cannot tell"}


@pytest.mark.parametrize("how", ["cannot tell", "other seeds"])
def test_nothing_is_said_of_falls_without_a_pair_that_tells(how):
    collected = study_of(STRONG)
    fields = {"fell": "cannot tell"} if how == "cannot tell" else {}
    apart = [
        replace(run, **fields, seed=run.seed + 10 * (how == "other seeds"))
        if run.labels["intervention"] == "anchor"
        else run
        for run in collected.runs
    ]
    found = prevention(replace(collected, runs=tuple(apart)))
    assert outcomes(found) == {"anchor": "ends higher, falls cannot be told"}
    assert any(line.startswith("anchor: ends higher, falls cannot be told: +") for line in found.sentences)
    assert "| ends higher, falls cannot be told |" in markdown(found)


@pytest.mark.parametrize("known", [True, False])
def test_a_label_that_trains_fewer_steps_is_cut_off_and_the_steps_are_named(known):
    short = changed(
        study_of(STRONG),
        lambda run: run.labels["intervention"] == "anchor",
        planned=50 if known else 0,
        steps=50,
    )
    found = prevention(short)
    assert outcomes(found) == {"anchor": "ends higher, trains fewer steps"}
    (anchor,) = found.pooled
    assert (anchor.shorter, anchor.falls.told, anchor.falls.cannot_tell, anchor.pairs.first) == (5, 0, 5, 0)
    (told,) = [line for line in found.warnings if line.startswith("anchor: 5 of 5 runs trained 50 steps, and noth")]
    assert "nothing 100: " in told
    assert any(line.startswith("anchor: ends higher, trains fewer steps: +") for line in found.sentences)
    longer = prevention(changed(short, lambda run: run.labels["intervention"] == "nothing", planned=50))
    assert outcomes(longer) == {"anchor": "prevents the fall"}


def test_one_that_peaks_higher_and_ends_alike_is_not_called_alike():
    effects = {"nothing": Effect(falls=0), "high": Effect(peak=0.5, fall=0.5, falls=5)}
    found = prevention(study_of(effects, spread=0.0, tasks=1500, samples=8))
    assert outcomes(found) == {"high": "peaks higher, ends alike"}
    assert any(line.startswith("high: peaks higher, ends alike: ") for line in found.sentences)


def test_wrong_names_are_errors_that_say_what_there_is(study):
    with pytest.raises(ConfigError, match=r"unknown label of intervention in --reference 'nothin'; did you mean 'noth"):
        prevention(study, reference="nothin")
    with pytest.raises(ConfigError, match=r"unknown axis of --by 'intervenion'; did you mean 'intervention'"):
        prevention(study, by="intervenion")


def test_the_command_prints_writes_and_draws_the_same(study, found, tmp_path):
    write(study, tmp_path)
    files = [tmp_path / "found.json", tmp_path / "found.svg"]
    done = command_line("compare", tmp_path, "--reference", "nothing", "--json", files[0], "--out", files[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[: len(found.sentences)] == found.sentences
    assert json.loads(files[0].read_text(encoding="utf-8"))["sentences"] == found.sentences
    assert "<svg" in files[1].read_text(encoding="utf-8")
    both = command_line("compare", tmp_path, "--reference", "nothing", "--against", tmp_path)
    assert "--reference and --against exclude each other" in both.stderr


def test_tables_have_a_row_for_every_label_the_best_first(found):
    rows = [line.split(" | ")[0].strip("| ") for line in markdown(found).splitlines() if line.startswith("| ")]
    assert rows[2:7] == ["anchor", "stop", "null", "slow", "harm"]
    assert latex(found).count(r"\begin{tabular}") == 2
    lines = comma_separated(found).splitlines()
    assert len(lines) == 1 + 2 * (5 + 10)
    assert lines[1].startswith(",anchor,peak,")


def test_the_picture_has_the_labels_with_their_falls(found):
    assert picture(found).data["prevention-rows"].height == 10
    drawn = prevented(found.pooled, found)
    assert drawn.title == "Each intervention minus nothing, over the cells"
    assert drawn.data["rows"]["of"].to_list()[0].replace("\n", " ") == "anchor: 0 of 10 fell, 8 of 10 without"
    assert prevented((), found) is None


@pytest.mark.slow
def test_of_ten_that_do_nothing_one_is_named_in_at_most_six_percent_of_studies():
    studies, source = 400, np.random.default_rng(1)
    difficulty = difficulties(source, studies)
    draw = partial(answers, source, studies, 5, 0.25, difficulty, samples=2)
    p_values = []
    for _amount in ("kept", "peak"):
        nothing = [draw() for cell in CELLS]
        for _ in range(10):
            parts = [(0.5, draw() - nothing[place]) for place in range(2)]
            value, error, freedom = contrasts(parts)
            p_values.append(2 * student.sf(np.abs(value) / error, freedom))
    named = sum(min(holm(list(own))) <= 0.05 for own in np.array(p_values).T)
    assert 0.005 * studies <= named <= 0.06 * studies
