"""Early warnings: counts of a study's runs, checked by hand and on planted data, and files that are no calibration."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from counterpoint.analysis.calibration import (
    FLOOR,
    LEAST_AUC,
    Calibration,
    Case,
    calibrate,
    numbers_of,
    read_calibration,
)
from counterpoint.analysis.early import DIAGNOSTICS, Measured, measured, slots_of
from counterpoint.analysis.history import History
from counterpoint.analysis.left_out import left_out_auc
from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments import evidence
from counterpoint.experiments.calibrated import calibrated
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.recipe import load_config

COHERENCE, AMPLIFICATION = "gradient/generator/generator/coherence", "gradient/generator/generator/amplification"


def amplified(value, slots=3, last=60):
    """The numbers of a run in which the parallel calls of a role have this amplification, every fifth step."""
    steps = range(5, last + 1, 5)
    return {AMPLIFICATION: dict.fromkeys(steps, value), COHERENCE: dict.fromkeys(steps, value / slots)}


def case(name, value, fell="held", *, onset=None, cell="a", last=60, workflow="voting", sharing="isolated", slots=3):
    return Case(
        run=name,
        cell=cell,
        workflow=workflow,
        sharing=sharing,
        fell=fell,
        onset=onset or (30 if fell == "fell" else None),
        last=last,
        numbers=amplified(value, slots),
    )


def study():
    """11 runs of 30 above 0.8 of 3 slots, of which 4 fell later, and 2 of the 19 below; in three cells."""
    above = [case(f"h{at}", 2.5 + at / 100, "fell" if at >= 7 else "held", cell="abc"[at % 3]) for at in range(11)]
    below = [case(f"l{at}", 1.5 + at / 100, "fell" if at >= 17 else "held", cell="abc"[at % 3]) for at in range(19)]
    return [*above, *below]


def planted(shift, seed=0, runs=60, cells=6):
    source = np.random.default_rng(seed)
    fell = source.random(runs) < 0.4
    return source.normal(size=runs) + shift * fell, fell, [f"cell {at % cells}" for at in range(runs)]


def test_a_rate_is_quoted_as_counts_with_its_interval():
    made = calibrate("zeng2026_micro", study(), [10])
    (entry,) = made.entries
    assert (entry.diagnostic, entry.role, entry.slots, entry.step) == ("amplification", "generator", 3, 10)
    assert (entry.threshold, entry.chosen) == (pytest.approx(2.4), "signature")
    assert (entry.above.fell, entry.above.told, entry.below.fell, entry.below.told) == (4, 11, 2, 19)
    found = made.read_against("voting", "isolated", amplified(2.61))
    assert found.sentences == (
        "amplification of generator at least 2.4 of 3 slots by step 10 (here 2.61): 4 of 11 such runs fell later"
        " [15 %, 65 %]; of the others, 2 of 19 [3 %, 31 %]",
    )
    (other,) = made.read_against("voting", "isolated", amplified(1.9)).sentences
    assert "below 2.4 of 3 slots by step 10 (here 1.9): 2 of 19 such runs fell later [3 %, 31 %]; of the" in other
    assert made.about == "the study zeng2026_micro: 30 runs of up to 60 steps, 6 fell"


def test_runs_on_one_side_of_a_threshold_are_counted_together_whatever_their_values(tmp_path, monkeypatch):
    calibrate("planted", study(), [10]).write(tmp_path / "planted.json")
    monkeypatch.setattr(evidence, "CALIBRATIONS", ((tmp_path, "*.json"),))
    shown = []
    for value in (2.6, 1.9, 1.8):
        numbers = amplified(value)
        rows = [{"step": step, **{name: numbers[name][step] for name in numbers}} for step in numbers[AMPLIFICATION]]
        shown.append(History(metrics=rows, evaluations=[], routing={}, claims={}))
    _, first, second, *_ = evidence.recorded_rates(load_config("voting_arithmetic"), {"isolated": shown})
    assert first.startswith(
        "isolated, 2 of 3 runs: amplification of generator below 2.4 of 3 slots by step 10 (here 1.9, 1.8)"
    )
    assert second.startswith("isolated, 1 of 3 runs: amplification of generator at least 2.4 of 3 slots")


def test_nothing_is_said_of_another_workflow_sharing_role_or_number_of_slots():
    made = calibrate("s", study(), [10, 20])
    for workflow, sharing in (("debate", "isolated"), ("voting", "shared")):
        found = made.read_against(workflow, sharing, amplified(2.6))
        assert found.sentences == ()
        assert found.reason == f"the study s has no calibrated runs of {workflow} with {sharing} policies"
    other_role = {name.replace("generator", "writer"): values for name, values in amplified(2.6).items()}
    for numbers in (amplified(2.6, slots=5), other_role):
        found = made.read_against("voting", "isolated", numbers)
        assert found == ((), "no diagnostic in the study s has the roles and slots of this run")


def test_a_run_is_read_at_the_last_calibrated_step_that_it_reached():
    made = calibrate("s", study(), [10, 20])
    assert "by step 10 " in made.read_against("voting", "isolated", amplified(2.6, last=15)).sentences[0]
    assert "by step 20 " in made.read_against("voting", "isolated", amplified(2.6, last=60)).sentences[0]
    assert made.read_against("voting", "isolated", amplified(2.6, last=5)).reason == (
        "the first calibrated step is 10, and the run has 5"
    )
    assert "the run has 0" in made.read_against("voting", "isolated", {}).reason


def test_nothing_is_said_from_few_runs():
    few = [one for one in study() if one.run[0] == "l" or one.run in ("h0", "h1", "h2", "h3", "h4")]
    made = calibrate("s", few, [10])
    (entry,) = made.entries
    assert entry.chosen == "median"  # 5 runs above the threshold of the signature are too few
    assert min(entry.above.told, entry.below.told) >= FLOOR
    tiny = [case(f"t{at}", 2.0 + at / 20, "fell" if at >= 7 else "held", cell="abc"[at % 3]) for at in range(14)]
    found = calibrate("s", tiny, [10]).read_against("voting", "isolated", amplified(2.6))
    assert found == ((), "fewer than 8 runs of the study s were like this one")


def test_a_diagnostic_that_told_no_runs_apart_is_not_quoted():
    source = np.random.default_rng(4)
    runs = [replace(one, fell="held", onset=None) for one in study()]
    for place in source.permutation(30)[:6]:
        runs[place] = replace(runs[place], fell="fell", onset=40)
    made = calibrate("s", runs, [10])
    assert made.entries[0].auc < LEAST_AUC
    assert made.read_against("voting", "isolated", amplified(2.6)).reason == (
        "no diagnostic told runs that fell later from others in the study s"
    )


@pytest.mark.parametrize("fate", ["held", "fell"])
def test_a_study_in_which_all_runs_end_alike_tells_nothing_apart(fate):
    made = calibrate("s", [replace(one, fell=fate, onset=30 if fate == "fell" else None) for one in study()], [10])
    assert made.entries[0].auc is None
    assert made.entries[0].above.fell == (11 if fate == "fell" else 0)
    found = made.read_against("voting", "isolated", amplified(2.6))
    own = "of the study s with these roles and policies"
    told = f"all runs {own} that can be told fell later"
    assert found == ((), told if fate == "fell" else f"no run {own} is known to have fallen later")


def test_a_study_of_one_cell_is_said_to_be_too_small():
    made = calibrate("s", [replace(one, cell="only") for one in study()], [10])
    found = made.read_against("voting", "isolated", amplified(2.6))
    assert found == ((), "the study s has too few cells to say which diagnostic tells runs apart")


def test_an_empty_study_is_a_calibration_that_says_nothing(tmp_path):
    made = calibrate("s", [])
    made.write(tmp_path / "calibration.json")
    assert read_calibration(tmp_path / "calibration.json") == made
    assert made.entries == ()
    assert made.read_against("voting", "isolated", amplified(2.6)).sentences == ()


def test_runs_that_fell_before_ended_before_or_cannot_be_told_are_not_counted():
    runs = [
        *study(),
        case("early", 2.7, "fell", onset=10),
        case("short", 2.7, last=10),
        case("unclear", 2.7, "cannot tell"),
        case("failed", 2.7, None),
    ]
    made = calibrate("s", runs, [10])
    (entry,) = made.entries
    assert (entry.above.fell, entry.above.told, entry.cannot_tell) == (4, 11, 1)
    assert (made.runs, made.fell, made.cannot_tell) == (33, 7, 1)
    assert made.about == "the study s: 33 runs of up to 60 steps, 7 fell, and of 1 it cannot be told"


def test_a_number_that_is_equal_in_all_runs_has_no_entry():
    alike = [replace(one, numbers=amplified(2.5)) for one in study()]
    assert calibrate("s", alike, [10]).entries == ()


def test_the_threshold_never_looks_at_the_falls():
    one = calibrate("s", study(), [10]).entries[0]
    turned = [
        replace(run, fell="held" if run.fell == "fell" else "fell", onset=None if run.fell == "fell" else 30)
        for run in study()
    ]
    other = calibrate("s", turned, [10]).entries[0]
    assert (other.threshold, other.chosen) == (one.threshold, one.chosen)
    assert other.above.fell == one.above.told - one.above.fell


def test_impossible_steps_and_runs_given_twice_are_refused():
    with pytest.raises(ValueError, match="a step is at least 1, not 0"):
        calibrate("s", study(), [0])
    with pytest.raises(ValueError, match="odd fell, and has no onset"):
        calibrate("s", [replace(case("odd", 2.5), fell="fell")])
    with pytest.raises(ValueError, match="given twice"):
        calibrate("s", [*study(), study()[0]])


def test_a_planted_diagnostic_is_found_with_its_cells_left_out_in_either_direction():
    for shift in (2.0, -2.0):
        assert left_out_auc(*planted(shift)) > 0.8


def test_noise_is_at_chance():
    found = [left_out_auc(*planted(0.0, seed)) for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    assert np.mean([one >= LEAST_AUC for one in found]) <= 0.1


def test_a_direction_that_one_cell_alone_shows_is_not_carried_to_it():
    values = [*range(10), *range(10), *range(10)]
    fell = [at >= 5 for at in range(10)] + [at < 5 for at in range(10)] * 2
    cells = ["odd"] * 10 + ["even"] * 10 + ["other"] * 10
    assert left_out_auc(values, fell, cells) < 0.7
    assert left_out_auc(values, fell[:10] * 3, cells) == 1.0


def test_the_left_out_auc_is_that_of_mann_and_whitney_where_all_cells_agree():
    values, fell, cells = planted(1.5, seed=3)
    pairs = [(high > low) + (high == low) / 2 for high in values[fell] for low in values[~fell]]
    assert left_out_auc(values, fell, cells) == pytest.approx(np.mean(pairs))
    assert left_out_auc(np.round(values), fell, cells) == pytest.approx(
        np.mean([(a > b) + (a == b) / 2 for a in np.round(values)[fell] for b in np.round(values)[~fell]])
    )


def test_an_auc_that_no_other_cell_can_confirm_is_unknown():
    assert left_out_auc([1, 2, 3, 4], [False, False, True, True], ["a"] * 4) is None
    assert left_out_auc([], [], []) is None
    assert left_out_auc([1, 1, 1, 1], [False, True] * 2, ["a", "a", "b", "b"]) is None  # no direction at all


def test_every_diagnostic_reads_the_numbers_of_a_run():
    steps = range(1, 21)
    numbers = {
        "gradient/all/dominance": dict.fromkeys(steps, 0.9),
        "gradient/all/norm": dict.fromkeys(steps, 7.0),
        "gradient/all/voter/share": {step: step / 20 for step in steps},
        "gradient/all/voter/persistence": dict.fromkeys(steps, 0.6),
        "gradient/all/voter/amplification": {5: 9.0, 10: 9.0, 15: 2.0, 20: 2.2},
        "gradient/all/voter/coherence": {15: 2.0 / 3, 20: 2.2 / 3},
        "gradient/all/judge+voter/cosine": dict.fromkeys(steps, 0.3),
        "role/judge/echo": {20: 0.5, 19: float("nan")},
        "role/judge/entropy": {**dict.fromkeys(range(1, 5), 0.4), **dict.fromkeys(range(5, 21), 0.1)},
        "role/judge/tokens": {**dict.fromkeys(range(1, 5), 10.0), **dict.fromkeys(range(5, 21), 40.0)},
        "role/judge/tokens_high": dict.fromkeys(steps, 99.0),
        "role/judge/accuracy": dict.fromkeys(steps, 0.5),
    }
    assert measured(numbers, 20) == {
        Measured("dominance", "", 0): 0.9,
        Measured("gradient share", "voter", 3): pytest.approx(sum(range(11, 21)) / 200),
        Measured("persistence", "voter", 3): 0.6,
        Measured("amplification", "voter", 3): pytest.approx(2.1),
        Measured("echo", "judge", 0): 0.5,
        Measured("entropy", "judge", 0): pytest.approx(0.25),
        Measured("length", "judge", 0): pytest.approx(4.0),
    }
    assert {key.diagnostic for key in measured(numbers, 20)} == set(DIAGNOSTICS)


def test_the_highest_of_several_policies_counts_and_a_role_without_parallel_calls_has_no_slots():
    numbers = {f"gradient/{policy}/voter/share": {10: value} for policy, value in (("a", 0.2), ("b", 0.7))}
    assert measured(numbers, 10) == {Measured("gradient share", "voter", 0): 0.7}
    assert slots_of({AMPLIFICATION: {5: 0.0}, COHERENCE: {5: 0.0}}, "generator") == 0
    assert measured({"role/a/tokens": {1: 0.0, 10: 5.0}, "role/a/entropy": {10: 1.0}}, 10) == {}


def test_numbers_come_from_the_frame_of_collected_metrics():
    rows = [
        ("one", 5, AMPLIFICATION, 2.4),
        ("one", 10, AMPLIFICATION, None),
        ("one", 15, AMPLIFICATION, float("nan")),
        ("one", 5, "time/act", 1.0),
        ("two", 5, "episode/score", 0.5),
    ]
    frame = pl.DataFrame(rows, schema=["run", "step", "name", "value"], orient="row")
    assert numbers_of(frame) == {"one": {AMPLIFICATION: {5: 2.4}}, "two": {}}
    assert numbers_of(frame.clear()) == {}


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "calibration.json"
    made = calibrate("zeng2026_micro", study(), [10, 20])
    made.write(path)
    assert read_calibration(path) == made
    text = path.read_bytes()
    read_calibration(path).write(path)
    assert path.read_bytes() == text
    assert json.loads(text)["format"] == 1


def plain():
    return json.loads(calibrate("s", study(), [10]).model_dump_json())


def broken(**changes):
    return {**plain(), **changes}


def in_entry(**changes):
    made = plain()
    made["entries"][0].update(changes)
    return made


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a calibration: it is not JSON"),
        ("", "is not a calibration: it is not JSON"),
        ("[" * 100_000, "is not a calibration: it is not JSON"),
        ([], "is not a calibration: it has no format"),
        ({"runs": 3}, "is not a calibration: it has no format"),
        (broken(format=2), "has the format 2; this version reads 1"),
        (broken(format=True), "format"),
        (broken(runs=-1), "runs = -1: input should be greater than or equal to 0"),
        (broken(runs="many"), "runs = 'many': input should be a valid integer"),
        (broken(fell=40), "40 + 0 runs are more than 30"),
        (broken(extra=1), "unknown key 'extra'"),
        (broken(entries=plain()["entries"] * 2), "two entries have the same workflow"),
        ({name: value for name, value in plain().items() if name != "study"}, "study is required"),
        (in_entry(threshold=float("nan")), "entries.0.threshold"),
        (in_entry(auc=1.5), "entries.0.auc = 1.5: input should be less than or equal to 1"),
        (in_entry(step=0), "entries.0.step = 0: input should be greater than or equal to 1"),
        (in_entry(above={"fell": 5, "told": 4}), "5 of 4 runs cannot have fallen"),
        (in_entry(diagnostic="stars"), "unknown diagnostic 'stars'; allowed: gradient share, dominance"),
        (in_entry(chosen="falls"), "entries.0.chosen = 'falls': input should be 'signature' or 'median'"),
        (in_entry(above=[4, 11]), "entries.0.above"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "calibration.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        read_calibration(path)
    text = str(raised.value)
    assert text.startswith(str(path))
    assert message in text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 320


def test_a_missing_file_and_one_that_is_not_text_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_calibration(tmp_path / "nowhere.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not JSON"):
        read_calibration(tmp_path / "binary.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_calibration(tmp_path)


def test_a_calibration_cannot_be_changed():
    made = calibrate("s", study(), [10])
    assert isinstance(made, Calibration)
    with pytest.raises(ValueError, match="frozen"):
        made.runs = 5


def collected(runs):
    """The collected results of a study of these cases."""
    rows = [
        (run.run, step, name, value)
        for run in runs
        for name, values in run.numbers.items()
        for step, value in values.items()
    ]
    records = tuple(
        RunRecord(
            run=run.run,
            path="",
            labels={"task": run.cell, "workflow": run.workflow},
            sharing=run.sharing,
            seed=0,
            state="finished" if run.fell else "failed",
            steps=run.last,
            fell=run.fell,
            onset=run.onset,
        )
        for run in runs
    )
    metrics = pl.DataFrame(rows, schema={"run": str, "step": int, "name": str, "value": float}, orient="row")
    return Collected(runs=records, outcomes=pl.DataFrame(), metrics=metrics)


def labelled():
    return [replace(one, labels={"task": one.cell, "workflow": one.workflow}) for one in study()]


def test_a_collected_study_is_calibrated_without_its_controls():
    found = collected([*study(), case("failed", 2.7, None), case("control", 2.7, "fell")])
    *runs, control = found.runs
    marked = replace(found, runs=(*runs, replace(control, control="single")))
    assert calibrated(marked, "s", [10, 20]) == calibrate("s", labelled(), [10, 20])
    assert calibrated(collected([]), "s").entries == ()


def test_a_cell_that_never_ran_and_has_no_labels_of_its_workflow_is_left_out():
    found = collected([*study(), case("absent", 2.7, None)])
    *runs, absent = found.runs
    absent = replace(absent, labels={}, sharing="", state="absent")
    assert calibrated(replace(found, runs=(*runs, absent)), "s", [10]) == calibrate("s", labelled(), [10])


def test_a_collected_run_of_an_unknown_workflow_is_named():
    found = collected([case("mine", 2.5)])
    with pytest.raises(RunError, match="mine: neither its record nor its labels say which workflow it has"):
        calibrated(replace(found, runs=(replace(found.runs[0], labels={}),)), "s")


def slow_auc(values, fell, cells):
    """The definition, pair by pair: the other cells vote, and each pair of a run that fell and one that held counts."""
    later, held = ([at for at, one in enumerate(fell) if one == wanted] for wanted in (True, False))
    points = []
    for one in later:
        for other in held:
            out = {cells[one], cells[other]}
            votes = [np.sign(values[a] - values[b]) for a in later for b in held if not out & {cells[a], cells[b]}]
            if direction := np.sign(sum(votes)):
                points.append((1 + direction * np.sign(values[one] - values[other])) / 2)
    return sum(points) / len(points) if points else None


@pytest.mark.parametrize("seed", range(40))
def test_the_left_out_auc_is_the_one_counted_pair_by_pair(seed):
    source = np.random.default_rng(seed)
    runs = int(source.integers(2, 25))
    fell = source.random(runs) < source.uniform(0.1, 0.9)
    cells = [f"c{one}" for one in source.integers(0, source.integers(1, 7), runs)]
    values = source.integers(0, 5, runs) + 0.8 * fell
    expected = slow_auc(values, fell, cells)
    assert left_out_auc(values, fell, cells) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("falls", [1, 2])
def test_nothing_is_said_from_one_fall_or_two(falls):
    runs = [case(f"r{at}", 2.9 if at < falls else 1.5 + at / 100, "fell" if at < falls else "held", cell="abc"[at % 3])
            for at in range(40)]  # fmt: skip
    reading = calibrate("s", runs, [10]).read_against("voting", "isolated", amplified(2.9))
    assert reading.sentences == ()
    assert reading.reason.endswith("of the study s with these roles and policies fell later: too few")


def test_a_number_of_a_step_after_which_the_fall_may_have_begun_is_no_warning():
    runs = [case("late", 2.6, "fell", onset=15), case("early", 2.6, "fell", onset=15), case("held", 1.6)]
    runs[0], runs[1] = replace(runs[0], held_until=10), replace(runs[1], held_until=8)
    (entry,) = calibrate("s", runs, [10]).entries
    assert (entry.above.fell, entry.above.told, entry.below.told) == (1, 1, 1)


def test_the_evaluation_before_the_onset_is_read_from_the_metrics():
    found = collected([case("fell", 2.6, "fell", onset=15), case("held", 1.6), case("later", 2.7, "fell", onset=20)])
    evaluated = [(run, step, "eval/test/accuracy", 0.5) for run in ("fell", "held", "later") for step in (0, 8, 15, 20)]
    rows = pl.DataFrame(evaluated, schema=found.metrics.schema, orient="row")
    made = calibrated(replace(found, metrics=pl.concat([found.metrics, rows])), "s", [10])
    assert [(one.above.fell, one.above.told) for one in made.entries] == [(1, 1)]


def test_a_study_says_how_many_runs_fell_and_where():
    runs = [
        replace(
            case(f"{rate}{at}", 2.0, "fell" if at < falls else "held"), labels={"rate": rate, "sharing": "isolated"}
        )
        for rate, falls in (("x1", 0), ("x3", 4))
        for at in range(5)
    ]
    unclear = replace(case("u", 2.0, "cannot tell"), labels={"rate": "x1", "sharing": "isolated"})
    made = calibrate("s", [*runs, unclear, case("other", 2.0, sharing="shared")], [10])
    assert made.falls_of("voting", "isolated") == (
        "runs that fell: 4 of 10 and 1 that cannot be told [15 %, 72 %]"
        " (rate: x1 0 of 5 and 1 that cannot be told [0 %, 56 %], x3 4 of 5 [38 %, 96 %])"
    )
    assert made.falls_of("voting", "shared") == "runs that fell: 0 of 1 [0 %, 79 %]"
    assert made.falls_of("debate", "shared") == ""


def test_the_models_tasks_and_learning_rates_of_a_study_are_named_and_others_are_said_to_be_others():
    runs = [replace(one, model="lab-small", task="arithmetic", rate="0.003") for one in study()]
    made = calibrate("s", runs, [10])
    assert made.about == (
        "the study s: 30 runs with lab-small on arithmetic at the learning rate 0.003 of up to 60 steps, 6 fell"
    )
    assert made.unlike("lab-small", "arithmetic", "0.003") == ""
    assert made.unlike("Qwen/Qwen3-0.6B", "functions", "0.001") == (
        "none of these runs has the model Qwen/Qwen3-0.6B or the task functions or the learning rate 0.001, with which"
        " falls may be more or less frequent"
    )
    assert calibrate("s", study(), [10]).unlike("any", "any", "1") == ""
