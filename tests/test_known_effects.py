"""What interventions are known to do is quoted with its figures, or said not to have been measured."""

import json
from dataclasses import asdict, replace

import pytest
from command_line import command_line
from interventions_by_chance import Effect, study_of
from runs_by_hand import run_by_hand

from counterpoint.errors import RunError
from counterpoint.experiments.known_effects import (
    FILE,
    known_after,
    known_for,
    known_lines,
    known_of,
    read,
    shipped,
    write,
)
from counterpoint.experiments.prevented import ORDER
from counterpoint.experiments.preventing import prevention
from counterpoint.experiments.study import load_study
from counterpoint.recipe import config_from

NOT_MEASURED = "not measured: which intervention prevents a fall of"
PLANTED = {
    "nothing": Effect(),
    "anchor_generator": Effect(peak=0.15, falls=0),
    "own_credit": Effect(peak=0.2, falls=0),
    "length_penalty": Effect(),
    "stop": Effect(peak=0.1, stopped=True),
}


@pytest.fixture(scope="module")
def known():
    return known_of(load_study("falls_micro"), prevention(study_of(PLANTED, cells=("isolated", "shared"))))


def test_what_prevents_the_fall_is_quoted_with_its_figures_its_keys_and_its_origin(known):
    lines = known_lines("voting", "isolated", ["cliff"], known)
    assert lines[0] == "measured: 2 interventions prevent the fall; which of them is the best was not tested"
    (anchor,) = [line for line in lines if "`anchor_generator`" in line]
    assert '(interventions=[{name = "anchor_roles", weights = {generator = 0.1}}]) prevents the fall: ' in anchor
    assert "in 5 paired seeds of voting on arithmetic with lab-medium, 100 steps, 4 episodes per test task" in anchor
    assert "mean over isolated and shared, +" in anchor
    assert anchor.endswith("; 8 of 10 fell without it, 0 of 10 with it")
    assert lines[-1].startswith("measured: `stop` goes back to the peak: ")
    assert lines[-1].endswith("0 of 2 with it, 8 of 10 were stopped")


def test_nothing_is_said_without_a_fall(known):
    assert known_lines("voting", "isolated", [], known) == []
    assert known_lines("voting", "isolated", ["echo"], known) == []


def test_where_nothing_was_measured_a_fall_says_so(known):
    (line,) = known_lines("debate", "shared", ["cliff", "capture"], known)
    assert line == f"{NOT_MEASURED} debate with shared policies without costing its peak"
    assert known_lines("debate", "shared", ["capture"], known) == []
    assert known_lines("voting", "slots", ["cliff"], known)[0].startswith("not measured")
    assert known_lines("voting", "isolated", ["cliff"], [])[0].startswith("not measured")


def test_where_nothing_helped_that_is_said(known):
    null = [one for one in known if one.label == "length_penalty"]
    (line,) = known_lines("voting", "shared", ["cliff"], null)
    assert line.startswith(
        "measured: of 1 intervention (length_penalty) none is shown to prevent the fall without a lower peak, in 5 "
    )


def test_other_signatures_are_told_with_how_often_they_were_there():
    collected = study_of(
        {"nothing": Effect(), "anchor_generator": Effect(peak=0.3, falls=0)}, cells=("isolated", "shared")
    )
    for run in collected.runs:
        if run.labels["intervention"] == "nothing" and run.seed < 3:
            object.__setattr__(run, "signatures", (*run.signatures, "capture: generator", "capture: aggregator"))
    known = known_of(load_study("falls_micro"), prevention(collected))
    (line,) = known_lines("voting", "shared", ["capture"], known)
    assert line.endswith("; capture: 0 of 5 runs with it, 3 of 5 without")


def test_effects_are_written_and_read_back_as_they_are(known, tmp_path):
    write(known, tmp_path / FILE)
    assert list(read(json.loads((tmp_path / FILE).read_text(encoding="utf-8")))) == known


@pytest.mark.parametrize("table", [{}, {"effects": [{}]}, {"effects": [{"outcome": "helps"}]}, {"effects": 3}])
def test_a_damaged_file_is_an_error_that_names_it(table):
    with pytest.raises(RunError, match=r"known_effects\.json is damaged"):
        read(table)


def test_the_keys_of_a_label_are_those_that_its_reference_has_not(known):
    keys = {one.label: one.keys for one in known}
    assert keys["own_credit"] == (
        "algorithm.credit=added",
        'algorithm.credit.roles=["aggregator"]',
        "algorithm.advantage=role",
    )
    assert keys["stop"] == ('interventions=[{name = "stop_at_cliff"}]',)


@pytest.mark.parametrize("labels", [{}, {"sharing": "isolated", "intervention": "nothing"}])
def test_controls_of_a_study_are_no_label_and_no_part_of_the_reference(known, labels):
    study = load_study("falls_micro")
    own = next(cell for cell in study.cells if cell.labels["intervention"] == "own_credit")
    controls = [
        replace(own, name=f"single-s{seed}", labels=labels, seed=seed, control="single") for seed in study.seeds
    ]
    found = prevention(study_of(PLANTED, cells=("isolated", "shared")))
    assert known_of(replace(study, cells=(*controls, *study.cells)), found) == known


def test_the_shipped_effects_are_of_shipped_studies_and_can_be_quoted():
    for one in shipped():
        assert one.outcome in ORDER
        assert one.study in asdict(one).values()
        assert load_study(one.study).name == one.study
        assert known_lines(one.workflows[0], one.sharings[0], ["cliff"])


def test_a_run_asks_by_its_recipe_and_a_race_by_its_arms():
    config = config_from({"policies": {"sharing": {"generator": "a", "aggregator": "b"}}})
    assert known_for(config, []) == []
    assert known_for(config, ["cliff"])[0].startswith(f"{NOT_MEASURED} voting with other")
    lines = known_after("debate", ["shared", "isolated", "shared"])
    assert [line.partition(":")[0] for line in lines] == ["shared", "isolated"]


def test_diagnose_quotes_them_where_a_run_fell_and_only_there(tmp_path):
    fell = run_by_hand(tmp_path / "fell", course=(0.7, 0.95, 0.3, 0.3, 0.3), tasks=200)
    held = run_by_hand(tmp_path / "held", course=(0.2, 0.5, 0.7, 0.8, 0.8), tasks=200)
    quoted = [
        [line for line in command_line("diagnose", path).stdout.splitlines() if "measured:" in line]
        for path in (fell, held)
    ]
    assert (len(quoted[0]) > 0, quoted[1]) == (True, [])


def test_a_mean_over_cells_is_not_quoted_where_the_cell_itself_was_harmed(known):
    anchors = [one for one in known if one.label == "anchor_generator"]
    harmed = [replace(one, outcome="costs the peak") if one.cells == ("isolated",) else one for one in anchors]
    assert len([one for one in harmed if one.outcome == "prevents the fall" and "isolated" in one.sharings]) == 1
    assert "prevents the fall: " in known_lines("voting", "shared", ["cliff"], anchors)[0]
    assert not [line for line in known_lines("voting", "isolated", ["cliff"], harmed) if "prevents the fall: " in line]


def test_seeds_are_called_paired_only_where_they_are(known):
    one = next(one for one in known if one.label == "anchor_generator")
    assert one.origin.startswith("in 5 paired seeds of voting")
    apart = study_of({"nothing": Effect(), "anchor_generator": Effect(falls=0)})
    runs = [replace(run, seed=run.seed + 10 * (run.labels["intervention"] == "nothing")) for run in apart.runs]
    found = known_of(load_study("falls_micro"), prevention(replace(apart, runs=tuple(runs))))
    assert [one.origin.partition(" of ")[0] for one in found] == ["in 5 seeds"]
