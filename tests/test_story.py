"""Findings in sentences, what they cannot show, and what was compared; teams against single agents."""

from dataclasses import replace

import pytest
from runs_by_hand import run_by_hand, six_by_hand, study_by_hand

from counterpoint.analysis.contrast import contrast
from counterpoint.analysis.signatures.base import Finding
from counterpoint.experiments.against_controls import against_controls
from counterpoint.experiments.collect import collect
from counterpoint.experiments.matrices import matrix
from counterpoint.experiments.what import what_of
from counterpoint.models import MICRO_MODELS
from counterpoint.reports.gather import gather
from counterpoint.reports.story import _small_models, cannot_show, facts, of_one_run, sentences

GOOD = (0.3, 0.5, 0.8, 0.8, 0.8)
POOR = (0.3, 0.3, 0.4, 0.4, 0.4)


def cell(labels, seed, course, **more):
    name = "-".join([*labels.values(), f"s{seed}"])
    return {
        name: {"labels": labels, "seed": seed, "course": course, "tasks": 100, "samples": 4, "luck": len(name), **more}
    }


def with_single_agents(tmp_path, **more):
    """Two workflows, each shared and isolated, and a single agent for each workflow, which is worse than voting."""
    cells = {}
    for seed in (0, 1, 2):
        for sharing in ("shared", "isolated"):
            cells |= cell({"rate": "x1", "sharing": sharing}, seed, GOOD, policies={"sharing": sharing})
            cells |= cell({"rate": "x3", "sharing": sharing}, seed, POOR, policies={"sharing": sharing}, **more)
        for rate in ("x1", "x3"):
            (name,) = cell({"rate": rate}, seed, POOR)
            cells[f"single-{name}"] = {**cell({"rate": rate}, seed, POOR)[name], "control": "single"}
    return study_by_hand(tmp_path / "study", cells)


def test_each_team_is_compared_with_the_single_agent_of_its_labels(tmp_path):
    folder = with_single_agents(tmp_path)
    found = collect([folder])
    told = against_controls(found, 0.03)
    assert len(told) == 8
    ahead = {(one.block, one.amount) for one in told if one.found.leader == one.block}
    assert ahead == {(f"x1-{sharing}", amount) for sharing in ("shared", "isolated") for amount in ("peak", "terminal")}
    assert {one.found.other for one in told} == {"single"}
    one = next(one for one in told if (one.block, one.amount) == ("x1-shared", "peak"))
    team = [run for run in found.runs if run.labels == {"rate": "x1", "sharing": "shared"} and not run.control]
    agent = [run for run in found.runs if run.labels == {"rate": "x1"} and run.control]
    own, other = (matrix(found, runs, "peak").values for runs in (team, agent))
    expected = contrast([(1.0, own - other)])
    assert one.found.shown == pytest.approx((expected.value, expected.low, expected.high))


def test_the_end_of_stopped_runs_is_not_compared_with_single_agents(tmp_path):
    told = against_controls(collect([with_single_agents(tmp_path, stopped="it fell")]), 0.03)
    assert {(one.block, one.amount) for one in told if one.block.startswith("x3")} == {
        ("x3-shared", "peak"),
        ("x3-isolated", "peak"),
    }


def test_controls_of_other_tasks_or_that_are_missing_are_left_out(tmp_path):
    cells = cell({"sharing": "shared", "rate": "x1"}, 0, GOOD) | cell({"sharing": "isolated", "rate": "x1"}, 0, GOOD)
    cells["single-s0"] = {"labels": {"rate": "x1"}, "seed": 0, "course": POOR, "control": "single"}
    cells["absent-s0"] = {"labels": {"rate": "x1"}, "seed": 0, "absent": True, "control": "other"}
    found = collect(
        [study_by_hand(tmp_path / "study", {**cells, "single-s0": {**cells["single-s0"], "fingerprint": "x"}})]
    )
    assert against_controls(found, 0.03) == []


def test_the_story_of_a_study_has_verdicts_falls_the_best_cell_and_controls(tmp_path):
    found = gather([with_single_agents(tmp_path)])
    told = sentences(found)
    text = "\n".join(told)
    assert told[: len(found.compared.sentences)] == found.compared.sentences
    assert len(told) >= 5
    assert "cannot tell" in text
    assert "teams against single agents: of 4 comparisons the team is ahead in 2, the single agent in 0" in text
    assert "highest peak: x1, " in text
    assert "overlap" in text
    assert "fell" in text
    assert "none of 12 finished runs shows a failure signature" in text


def test_a_best_cell_far_from_the_others_is_told_so(tmp_path):
    cells = {}
    for seed in (0, 1, 2):
        cells |= cell({"rate": "x1", "sharing": "shared"}, seed, (0.3, 0.9, 0.98, 0.98, 0.98))
        cells |= cell({"rate": "x3", "sharing": "shared"}, seed, POOR)
        cells |= cell({"rate": "x3", "sharing": "isolated"}, seed, POOR, policies={"sharing": "isolated"})
    text = "\n".join(sentences(gather([study_by_hand(tmp_path / "study", cells)])))
    assert "highest peak: x1, shared, 9" in text
    assert "no other is near" in text


def test_the_story_of_one_run_is_its_verdict(tmp_path):
    found = gather([run_by_hand(tmp_path / "one", course=(0.3, 0.8, 0.9, 0.3, 0.3), tasks=200, samples=2)])
    told = sentences(found)
    assert told[0].startswith("team: improved by ")
    assert any("its peak" in one for one in told)
    (run,) = found.cells[0].runs
    assert told == of_one_run(run)


def test_one_run_of_collected_files_alone_has_its_fate(tmp_path):
    found = gather([run_by_hand(tmp_path / "one")])
    (run,) = found.cells[0].runs
    (told,) = of_one_run(replace(run, folder=None))
    assert told.startswith(("held", "cannot tell whether it fell"))


def test_the_story_of_one_run_ends_with_its_signs_of_failure(tmp_path):
    (run,) = gather([run_by_hand(tmp_path / "one")]).cells[0].runs
    signs = [
        Finding(signature=name, where=where, steps=(1, 8), evidence=("one",))
        for name, where in (("cliff", "team"), ("echo", "aggregator"))
    ]
    assert of_one_run(replace(run, findings=signs))[-1] == "signs of failure: cliff (team), echo (aggregator)"
    assert not any("signs of failure" in one for one in of_one_run(replace(run, findings=())))


def test_collected_files_of_a_run_that_still_rises_tell_of_no_loss(tmp_path):
    (run,) = gather([run_by_hand(tmp_path / "one", course=(0.1, 0.3, 0.5, 0.7, 0.9), tasks=200)]).cells[0].runs
    assert run.record.drop.low > 0.0  # that of evaluations before the peak
    assert of_one_run(replace(run, folder=None)) == ["held: its peak is its last evaluation"]


@pytest.mark.parametrize(
    ("state", "told"),
    [("running", "is training at step 8 of 8"), ("failed", "is failed at step 8 of 8"), ("absent", "is absent")],
)
def test_a_run_without_a_verdict_says_how_far_it_is(tmp_path, state, told):
    (run,) = gather([run_by_hand(tmp_path / "one", finished=False)]).cells[0].runs
    (sentence,) = of_one_run(replace(run, record=replace(run.record, state=state)))
    assert sentence == f"one {told}: there is no verdict yet"


def test_no_finished_run_has_a_story_too(tmp_path):
    cells = {f"{name}-s0": {"labels": {"sharing": name}, "seed": 0, "absent": True} for name in ("shared", "isolated")}
    found = gather([study_by_hand(tmp_path / "study", cells)])
    assert sentences(found) == list(found.reasons)
    assert cannot_show(found) == ["No run is finished and evaluated after its base: nothing can be concluded yet."]
    assert facts(found)["runs"] == "2 cells, 1 seed each: 2 absent"


def test_facts_count_runs_and_sum_their_time(tmp_path):
    found = gather([with_single_agents(tmp_path)])
    told = facts(found)
    assert told["compared"] == "voting on arithmetic with micro-medium, 8 steps, 4 episodes per test task"
    assert told["runs"] == "4 cells, 3 seeds each: 12 finished"
    assert told["controls"] == "single (6 runs)"
    assert told["test tasks"] == "100"
    assert told["training"] == "1 minute of wall-clock time of the steps"  # 18 runs of 8 steps of half a second
    assert (
        told["tokens"] == f"{18 * 8 * 2 * 8 * 15:,} generated in training"
    )  # 2 tasks, 8 rollouts, 3 calls of 5 tokens


def test_what_cannot_be_shown_names_every_limit(tmp_path):
    cells = cell({"sharing": "shared"}, 0, GOOD) | cell({"sharing": "isolated"}, 0, GOOD, stopped="it fell")
    cells |= cell({"sharing": "isolated"}, 1, GOOD, finished=False)
    text = "\n".join(cannot_show(gather([study_by_hand(tmp_path / "study", cells)])))
    assert "One seed: an interval over tasks alone" in text
    assert "One kind of task (arithmetic)" in text
    assert "Micro models alone (micro-medium)" in text
    assert "4 evaluations after the base" in text
    assert "8 training steps" in text
    assert "1 of 3 runs are not in the numbers (1 interrupted)" in text
    assert "1 run stopped early" in text


@pytest.mark.parametrize("name", [*MICRO_MODELS, "micro-of-mine"])
def test_the_micro_models_are_those_that_ship_with_the_package(tmp_path, name):
    study = study_by_hand(tmp_path / "study", cell({"sharing": "shared"}, 0, GOOD))
    (run,) = gather([study]).collected.runs
    (said,) = _small_models([replace(run, model=f"somewhere/{name}")])
    assert said.startswith("One base model" if name == "micro-of-mine" else f"Micro models alone ({name})")


def test_few_seeds_and_the_smallest_visible_difference_are_told(tmp_path):
    found = gather(six_by_hand(tmp_path))
    text = "\n".join(cannot_show(found))
    assert "3 seeds per cell" in text
    visible = [100 * one.found.visible for one in found.compared.team]
    assert max(visible) > 100, "no difference is so large, and it is not told"
    assert f"A true difference of less than {min(visible):.1f} points would mostly have been missed." in text


def test_text_that_a_terminal_obeys_is_in_no_sentence(tmp_path):
    cells = cell({"sharing": "shared"}, 0, GOOD) | cell({"sharing": "isolated"}, 0, GOOD)
    for one in cells.values():
        one["labels"] = {"sharing": f"\x1b[31m\u202e{one['labels']['sharing']}"}
    found = gather([study_by_hand(tmp_path / "study", cells)])
    text = [*sentences(found), *cannot_show(found), *facts(found).values()]
    assert all(one.isprintable() for one in text)


def test_what_runs_are_is_told_in_a_line(tmp_path):
    (run,) = collect([run_by_hand(tmp_path / "one")]).runs
    other = replace(run, workflow="debate", model="/models/big.gguf", planned=20, samples=4)
    assert what_of([run, other]) == (
        "voting and debate on arithmetic with micro-medium and big, 8 to 20 steps, 1 to 4 episodes per test task"
    )
    many = [replace(run, workflow=name) for name in "abcdef"]
    assert what_of(many).startswith("a, b, c, d and 2 more on arithmetic")
    assert what_of([]) == ""
    assert what_of([replace(run, task="", model="", planned=0)]) == "voting, 1 episode per test task"
