"""Runs collected into three small files, and their outcomes as arrays."""

import json
import shutil
from statistics import fmean

import numpy as np
import polars as pl
import pytest
from runs_by_hand import outcomes, run_by_hand, six_by_hand, study_by_hand

from counterpoint.analysis.calibration import read_calibration
from counterpoint.errors import RunError
from counterpoint.experiments.collect import collect, read, together, write
from counterpoint.experiments.described import rate_of
from counterpoint.experiments.matrices import matrices, matrix, paired, roles_of
from counterpoint.experiments.results import COLLECTED, write_results
from counterpoint.files import read_rows
from counterpoint.recipe import load_config


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Three seeds of two sharings."""
    return six_by_hand(tmp_path_factory.mktemp("six"))


@pytest.fixture(scope="module")
def collected(six):
    return collect(six)


def test_runs_by_hand_are_labelled_by_the_keys_in_which_they_differ(collected):
    assert [(run.run, run.labels, run.seed) for run in collected.runs] == [
        (f"{sharing}-s{seed}", {"sharing": sharing}, seed) for sharing in ("isolated", "shared") for seed in range(3)
    ]


def test_the_learning_rates_of_all_policies_are_recorded():
    assert rate_of(load_config("voting_arithmetic", ["policies.learning_rate=3e-3"])) == "0.003"
    overrides = ["policies.learning_rate=3e-3", "policy.aggregator.learning_rate=1e-3"]
    assert rate_of(load_config("voting_arithmetic", overrides)) == "0.001 and 0.003"


def test_a_key_that_follows_from_another_member_is_no_label_of_its_own(tmp_path):
    tables = [
        {"workflow": "voting", "policies": {"learning_rate": 1e-3}},
        {"workflow": {"name": "voting", "votes": 5}, "run": {"threads": 1}},
        {"workflow": {"name": "debate", "rounds": 2}, "model": {"path": "micro-small"}},
        {"workflow": "single", "interventions": ["balance"], "diagnostics": ["behaviour"]},
    ]
    paths = [run_by_hand(tmp_path / str(place), **table) for place, table in enumerate(tables)]
    labels = [run.labels for run in collect(paths).runs]
    assert [label["workflow"] for label in labels] == ["voting", "voting", "debate", "single"]
    assert [label["votes"] for label in labels] == ["-", "5", "-", "-"]
    assert labels[0].keys() == {"workflow", "votes", "rate", "scale", "interventions"}
    assert (labels[0]["rate"], labels[1]["rate"]) == ("0.001", "2e-05")
    assert (labels[2]["scale"], labels[3]["interventions"]) == ("micro-small", "balance")


def test_labels_of_different_values_are_different(tmp_path):
    tables = [{"interventions": [{"name": "balance", "memory": memory}]} for memory in (0.5, 0.9)]
    paths = [run_by_hand(tmp_path / str(place), **table) for place, table in enumerate(tables)]
    first, second = (run.labels["interventions"] for run in collect(paths).runs)
    assert first != second
    assert first.startswith("balance (")


def test_a_module_of_ones_own_that_has_changed_is_a_label(tmp_path):
    paths = [
        run_by_hand(tmp_path / text, workflow="mine:flow", facts={"sources": {"mine": {"sha256": text * 64}}})
        for text in "ab"
    ]
    assert [run.labels for run in collect(paths).runs] == [{"source of mine": text * 8} for text in "ab"]


def test_outcomes_are_those_of_the_milestones(six, collected):
    record = collected.runs[0]
    rows = {row["step"]: row for row in read_rows(six[0] / "evaluations.jsonl") if row["split"] == "test"}
    found = collected.outcomes.filter(run=record.run)
    for role in (None, "generator", "aggregator"):
        own = found.filter(pl.col("role").eq_missing(pl.lit(role)))
        for milestone, steps in (("base", (0,)), ("peak", (record.peak_step,)), ("terminal", record.terminal_steps)):
            told = dict(own.filter(milestone=milestone)["task", "value"].iter_rows())
            outs = [rows[step]["outcomes"] if role is None else rows[step]["roles"][role] for step in steps]
            assert told == pytest.approx({task: fmean(out[task][0] for out in outs) for task in outs[0]})
            assert set(own.filter(milestone=milestone)["samples"]) == {len(steps)}


def test_the_final_evaluations_of_a_run_count_in_place_of_those_of_the_same_steps(tmp_path):
    path = run_by_hand(tmp_path / "run", course=(0.2, 0.3, 0.9, 0.6, 0.5))
    plain = collect([path])
    rows = [row for row in read_rows(path / "evaluations.jsonl") if row["split"] == "test"]
    final = [
        {**row, "outcomes": outcomes(1.0, 0, samples=4)} for row in rows if row["step"] in plain.runs[0].terminal_steps
    ]
    (path / "final.jsonl").write_text("".join(json.dumps(row) + "\n" for row in final), encoding="utf-8")
    found = collect([path])
    assert found.runs[0].samples == 4
    assert found.runs[0].peak_step == plain.runs[0].peak_step
    assert set(matrix(found, found.runs, "terminal").values.ravel()) == {1.0}
    assert np.array_equal(matrix(found, found.runs, "base").values, matrix(plain, plain.runs, "base").values)
    team = found.outcomes.filter(pl.col("role").is_null() & (pl.col("milestone") == "terminal"))
    assert set(team["samples"]) == {12}


def test_a_record_says_what_the_run_was(six, collected):
    record = collected.runs[0]
    assert (record.state, record.steps, record.samples, record.stopped) == ("finished", 8, 1, "")
    assert record.tokens == 8 * 2 * 8 * 3 * 5  # steps, tasks, group, calls per episode, tokens per call
    assert (record.seconds, record.workflow, record.tasks_sha256) == (4.0, "voting", "same")
    digests = [run.config_sha256 for run in collected.runs]
    assert (len(set(digests[:3])), len(set(digests))) == (1, 2)


def test_metrics_have_the_training_steps_and_the_evaluations(collected):
    own = collected.metrics.filter(run="shared-s1")
    assert own.filter(name="episode/score")["step"].to_list() == list(range(1, 9))
    assert own.filter(name="eval/validation/accuracy")["step"].to_list() == [0, 2, 4, 6, 8]
    assert own.filter(name="eval/test/role/generator/tokens")["value"].to_list() == [5.0] * 5


def test_what_was_written_is_read_again(collected, tmp_path):
    write(collected, tmp_path / "collected")
    write(collected, tmp_path / "collected")
    again = read(tmp_path / "collected")
    assert again.runs == collected.runs
    assert again.outcomes.equals(collected.outcomes)
    assert again.metrics.equals(collected.metrics)
    assert sorted(file.name for file in (tmp_path / "collected").iterdir()) == [
        "metrics.parquet",
        "outcomes.parquet",
        "recipes.jsonl",
        "runs.jsonl",
    ]
    assert collect([tmp_path / "collected"]).runs == collected.runs


def test_collecting_twice_gives_the_same_bytes(six, tmp_path):
    for name in "ab":
        write(collect(six), tmp_path / name)
    for file in ("runs.jsonl", "outcomes.parquet", "metrics.parquet"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_kill_while_writing_leaves_what_was_there(collected, tmp_path, monkeypatch):
    write(together([]), tmp_path)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("counterpoint.experiments.collected_files.sync", killed)
    with pytest.raises(KeyboardInterrupt):
        write(collected, tmp_path)
    assert read(tmp_path).runs == ()
    monkeypatch.undo()
    write(collected, tmp_path)
    assert read(tmp_path).runs == collected.runs


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("runs.jsonl", "", "does not belong to runs.jsonl beside it: it has the run"),
        ("runs.jsonl", "{}\n", "line 1 is not a run that was collected: run: "),
        ("runs.jsonl", "[1]\n", "line 1 is not a run that was collected: "),
        ("runs.jsonl", "{,}\n", "line 1 is damaged: "),
        ("outcomes.parquet", "PAR1", "outcomes.parquet is damaged: "),
        ("metrics.parquet", None, "it has no metrics.parquet"),
        ("outcomes.parquet", pl.DataFrame({"run": ["x"]}), "is not a table that was collected: its columns must be"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_clear_line(collected, tmp_path, file, content, message):
    write(collected, tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    elif isinstance(content, str):
        (tmp_path / file).write_text(content, encoding="utf-8")
    else:
        content.write_parquet(tmp_path / file)
    with pytest.raises(RunError) as found:
        read(tmp_path)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_values_that_no_run_could_have_are_refused(collected, tmp_path):
    for change, message in (
        (pl.lit(None, pl.Float64).alias("value"), "it has the value None"),
        (pl.lit(float("nan")).alias("value"), "it has the value nan"),
        (pl.lit("middle").alias("milestone"), "it has the milestone 'middle'"),
        (pl.lit("t000").alias("task"), "it has an outcome twice"),
        (pl.lit(5.0).alias("value"), "it has the value 5.0; allowed: 0 to 1"),
        (pl.lit(None, pl.String).alias("task"), "it has an outcome without a task"),
    ):
        write(collected, tmp_path)
        collected.outcomes.with_columns(change).write_parquet(tmp_path / "outcomes.parquet")
        with pytest.raises(RunError, match=message):
            read(tmp_path)


def test_a_run_that_is_not_finished_is_a_record_with_its_state(tmp_path):
    whole = run_by_hand(tmp_path / "whole")
    begun = run_by_hand(tmp_path / "begun", seed=1, finished=False)
    failed = run_by_hand(tmp_path / "failed", seed=2, finished=False, error="ProofError: no")
    debris = tmp_path / "debris"
    debris.mkdir()
    (debris / "run.lock").touch()
    found = collect([whole, begun, failed, debris])
    assert [run.state for run in found.runs] == ["finished", "interrupted", "failed", "debris"]
    assert [run.seed for run in found.runs[:3]] == [0, 1, 2]
    assert set(found.outcomes["run"]) == {"whole"}
    with pytest.raises(RunError, match="begun has no outcomes: it is interrupted"):
        matrix(found, found.runs[:2], "peak")


def test_a_run_without_an_evaluation_after_its_base_has_no_outcomes(tmp_path):
    path = run_by_hand(tmp_path / "short")
    kept = [row for row in read_rows(path / "evaluations.jsonl") if row["step"] == 0]
    (path / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    (path / "summary.json").write_text("{}", encoding="utf-8")
    found = collect([path])
    assert (found.runs[0].state, found.runs[0].peak_step, len(found.outcomes)) == ("finished", None, 0)
    with pytest.raises(RunError, match="short has no outcomes: it was not evaluated after its base"):
        matrix(found, found.runs, "peak")


def test_a_study_gives_the_labels_and_the_order_of_its_cells(tmp_path):
    cells = {
        f"voting-{sharing}-s{seed}": {
            "labels": {"workflow": "voting", "sharing": sharing},
            "seed": seed,
            "policies": {"sharing": sharing},
            "absent": (sharing, seed) == ("isolated", 1),
        }
        for seed in (0, 1)
        for sharing in ("shared", "isolated")
    }
    study = study_by_hand(tmp_path / "mine", cells)
    found = collect([study])
    assert [(run.labels["sharing"], run.seed, run.state) for run in found.runs] == [
        ("shared", 0, "finished"),
        ("isolated", 0, "finished"),
        ("shared", 1, "finished"),
        ("isolated", 1, "absent"),
    ]
    assert {(run.compare, run.margin) for run in found.runs} == {("sharing", 0.03)}
    (study / "cells.json").write_text('{"cells": [{}]}', encoding="utf-8")
    with pytest.raises(RunError, match=r"cells\.json is damaged: "):
        collect([study])


def test_the_order_of_axes_and_runs_is_kept(tmp_path):
    labels = {"workflow": "voting", "sharing": "shared", "rate": "x1"}
    study = study_by_hand(tmp_path / "mine", {f"{name}-s0": {"labels": labels, "seed": 0} for name in ("b", "a")})
    write(collect([study]), tmp_path / "kept")
    again = read(tmp_path / "kept")
    assert [run.run for run in again.runs] == ["b-s0", "a-s0"]
    assert [list(run.labels) for run in again.runs] == [list(labels)] * 2


def test_studies_collected_files_and_runs_mix(six, tmp_path):
    study = study_by_hand(tmp_path / "mine", {"a-s0": {"labels": {"sharing": "a"}, "seed": 0}})
    write(collect([study]), tmp_path / "kept")
    assert [run.run for run in collect([tmp_path / "kept", *six[:2]]).runs] == ["isolated-s0", "isolated-s1", "a-s0"]
    with pytest.raises(RunError, match="a-s0 is there twice: a run counts once"):
        collect([tmp_path / "kept", study])
    with pytest.raises(RunError, match="isolated-s0 is there twice"):
        collect([six[0], six[0].parent / "shared-s0" / ".." / "isolated-s0"])


def test_two_runs_of_one_name_are_named_by_their_paths(tmp_path):
    paths = [run_by_hand(tmp_path / folder / "run", seed=seed) for seed, folder in enumerate("ab")]
    assert [run.run for run in collect(paths).runs] == [str(path) for path in paths]


def test_what_is_no_run_is_named_with_what_it_lacks(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="empty is not a run, a study or a folder of collected files: it has neither"):
        collect([tmp_path / "empty"])
    run_by_hand(tmp_path / "runs" / "mine")
    with pytest.raises(RunError, match=r"name the runs in it, such as .*runs/\*"):
        collect([tmp_path / "runs"])
    with pytest.raises(RunError, match="there is nothing of that name; did you mean"):
        collect([tmp_path / "emty"])


def test_a_damaged_run_is_named(six, tmp_path):
    shutil.copytree(six[0], tmp_path / "run")
    (tmp_path / "run" / "evaluations.jsonl").write_text('{"step": 0}\n', encoding="utf-8")
    with pytest.raises(RunError, match=r"run cannot be collected: KeyError: 'accuracy'"):
        collect([tmp_path / "run"])


def test_a_recipe_that_this_version_cannot_read_is_named_with_its_run(six, tmp_path):
    shutil.copytree(six[0], tmp_path / "run")
    with (tmp_path / "run" / "config.toml").open("a", encoding="utf-8") as file:
        file.write("[future]\nkey = 1\n")
    with pytest.raises(RunError, match=r"run cannot be collected: ConfigError: .*future"):
        collect([tmp_path / "run"])


def test_the_controls_of_a_run_are_read_and_kept(tmp_path):
    path = run_by_hand(tmp_path / "run")
    (path / "controls").mkdir()
    mean = {"a": [1.0, 0.0], "b": [1.0, 1.0]}
    evaluation = {"accuracy": 0.75, "outcomes": mean, "roles": {"generator": {"a": [0.0]}}}
    (path / "controls" / "majority.json").write_text(json.dumps(evaluation), encoding="utf-8")
    swapped = {"run": evaluation, "with x and y swapped": evaluation}
    (path / "controls" / "swap.json").write_text(json.dumps(swapped), encoding="utf-8")
    solo = {"run": evaluation, "x alone": evaluation, "y alone": evaluation}
    (path / "controls" / "solo.json").write_text(json.dumps(solo), encoding="utf-8")
    found = collect([path])
    controls = found.runs[0].controls
    assert list(controls) == ["majority", "solo: run", "solo: x alone", "solo: y alone", "swap: run", "swap"]
    assert controls["swap"]["team"] == {
        "accuracy": 0.75,
        "outcomes": {"a": 0.5, "b": 1.0},
        "samples": {"a": 2, "b": 2},
    }
    assert controls["majority"]["generator"] == {"accuracy": 0.0, "outcomes": {"a": 0.0}, "samples": {"a": 1}}
    write(found, tmp_path / "kept")
    again = read(tmp_path / "kept")
    assert again.runs == found.runs
    assert again.outcomes.equals(found.outcomes)
    (path / "controls" / "solo.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match=r"controls/solo\.json is damaged"):
        collect([path])


def test_signatures_of_ones_own_are_not_executed(tmp_path):
    path = run_by_hand(tmp_path / "run", signatures=["no_such_module:MINE"])
    assert collect([path]).runs[0].state == "finished"


def test_a_matrix_has_a_row_per_seed_and_a_column_per_task(six, collected):
    found = matrix(collected, collected.runs[2::-1], "drop", "generator")
    assert (found.seeds, found.values.shape, found.left_out) == ((0, 1, 2), (3, 40), 0)
    parts = {name: matrix(collected, collected.runs[:3], name, "generator").values for name in ("peak", "terminal")}
    assert np.allclose(found.values, parts["peak"] - parts["terminal"])
    rows = {row["step"]: row for row in read_rows(six[1] / "evaluations.jsonl") if row["split"] == "test"}
    of_the_peak = rows[collected.runs[1].peak_step]["roles"]["generator"]
    assert parts["peak"][1].tolist() == [of_the_peak[task][0] for task in found.tasks]
    assert roles_of(collected, collected.runs) == ["aggregator", "generator"]


def test_tasks_that_one_run_lacks_are_left_out_of_all_and_counted(collected):
    from dataclasses import replace

    gone = (pl.col("run") == "shared-s1") & (pl.col("milestone") == "base") & pl.col("task").is_in(["t003", "t004"])
    thinner = replace(collected, outcomes=collected.outcomes.filter(~gone))
    one, other = matrices(thinner, [collected.runs[:3], collected.runs[3:]], "kept")
    assert (one.values.shape, other.values.shape, one.left_out) == ((3, 38), (3, 38), 2)
    assert one.tasks == other.tasks
    assert "t003" not in one.tasks
    assert matrices(thinner, [collected.runs[:3], collected.runs[3:]], "peak")[0].left_out == 0


def test_pairs_are_of_equal_seeds_and_tasks(collected):
    one, other = collected.runs[:2], collected.runs[3:]
    found = paired(collected, one, other, "peak")
    assert found.seeds == (0, 1)
    expected = matrix(collected, one, "peak").values - matrix(collected, other[:2], "peak").values
    assert np.array_equal(found.values, expected)
    with pytest.raises(RunError, match="seed 0 on one side and seeds 1, 2 on the other have none in common"):
        paired(collected, one[:1], other[1:], "peak")


def test_what_cannot_be_compared_is_refused_in_one_line(collected, tmp_path):
    other = collect([run_by_hand(tmp_path / "other", seed=7, fingerprint="else")])
    with pytest.raises(RunError, match="isolated-s0 and other were tested on different tasks"):
        matrices(collected, [collected.runs[:1], other.runs], "peak")
    with pytest.raises(RunError, match="these have the seed 0: isolated-s0, shared-s0"):
        matrix(collected, [collected.runs[0], collected.runs[3]], "peak")
    with pytest.raises(RunError, match="no test task has an outcome of the role nobody in all of: isolated-s0"):
        matrix(collected, collected.runs[:1], "peak", "nobody")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": None}, "run cannot be collected: TypeError"),
        ({"accuracy": float("nan")}, "evaluations.jsonl is damaged: the accuracy at step 0 is not a number"),
        ({"outcomes": {"t000": [float("nan")]}}, "evaluations.jsonl is damaged: it has the value nan"),
        ({"outcomes": {"t000": [5.0]}}, "it has the value 5.0; allowed: 0 to 1"),
        ({"outcomes": {"t000": [None]}}, "run cannot be collected: TypeError"),
        (None, "evaluations.jsonl is damaged: it ends within a line, although the run is finished"),
    ],
)
def test_evaluations_that_would_change_the_result_unseen_are_refused(six, tmp_path, change, message):
    file = shutil.copytree(six[0], tmp_path / "run") / "evaluations.jsonl"
    rows = [json.dumps({**row, **(change or {})}) + "\n" for row in read_rows(file)]
    file.write_text("".join(rows)[: None if change else -40], encoding="utf-8")
    with pytest.raises(RunError) as found:
        collect([tmp_path / "run"])
    assert message in str(found.value)


def test_the_results_of_a_study_are_its_collected_files_and_the_calibration_of_its_finished_runs(tmp_path):
    kinds = {"shared": {}, "isolated": {}, "absent": {"absent": True}}
    cells = {
        f"{kind}-s{seed}": {"labels": {"sharing": kind}, "seed": seed, **more}
        for kind, more in kinds.items()
        for seed in (0, 1)
    }
    folder = study_by_hand(tmp_path / "mine", cells)
    found = write_results(folder, "mine")
    assert read(folder / COLLECTED).runs == found.runs
    assert read_calibration(folder / COLLECTED / "calibration.json").study == "mine"
    nothing = study_by_hand(tmp_path / "none", {"a-s0": {"labels": {"sharing": "a"}, "seed": 0, "absent": True}})
    write_results(nothing, "none")
    assert not (nothing / COLLECTED / "calibration.json").exists()
