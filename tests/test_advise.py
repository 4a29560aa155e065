"""Advice end to end with a trainer that writes simulated runs: the same words however often it is killed."""

import json
import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from runs_by_hand import run_by_hand
from scripted_races import FAILURE, Killed, Scripted

from counterpoint.errors import ConfigError, RunError
from counterpoint.experiments.advice import result_of
from counterpoint.experiments.advice_from import advise_from
from counterpoint.experiments.advise import Ask, InterruptedRaceError, advise, hold, progress
from counterpoint.experiments.evidence import roles_that_fell
from counterpoint.experiments.pilots import pilots_of
from counterpoint.experiments.raced import Raced, common_outcomes, makespan, read_raced, worked
from counterpoint.experiments.runner import Outcome

RECIPE = "voting_arithmetic"
SMALL = ("task.test=32", "task.validation=32", "task.train=64")
"""The simulated runs have 32 tasks of each kind."""


def race_of(folder, script, *, arms=None, steps=None, margin=2.0, overrides=SMALL, jobs=2, **asked):
    pilots = pilots_of(RECIPE, overrides, arms=arms, steps=steps, margin=margin / 100, runs=folder)
    return hold(pilots, Ask(margin=margin, **asked), script, jobs=jobs, now=lambda: 0.0)


def test_an_arm_that_is_far_better_is_named_with_its_numbers_and_the_command_to_copy(tmp_path):
    advice = race_of(tmp_path, Scripted(lift={"isolated": 1.0}))
    lines = advice.lines()
    assert (advice.leader, advice.standing.call) == ("isolated", "ahead")
    assert lines[0].startswith("isolated is ahead of shared by ")
    assert f"({advice.standing.rounds} paired seeds, 32 tasks x 8, 30 steps; " in lines[0]
    assert "in at most 2.5 % of races" in lines[0]
    assert lines[-1] == (
        f"copy: counterpoint train voting_arithmetic {' '.join(SMALL)} policies.sharing=isolated"
        " 'interventions=[\"stop_at_cliff\"]'"
    )
    assert json.loads(json.dumps(advice.as_dict()))["leader"] == "isolated"


def test_arms_that_cannot_be_told_apart_are_said_to_be_so_with_what_would_decide(tmp_path):
    advice = race_of(tmp_path, Scripted(), minutes=4.5)
    lines = advice.lines()
    assert (advice.leader, advice.standing.rounds) == ("", 4)
    assert lines[0] == "cannot tell (4 paired seeds, 32 tasks x 8, 30 steps)"
    assert lines[1].startswith("  isolated minus shared is ") or lines[1].startswith("  shared minus isolated is ")
    assert lines[2].startswith(("  probably decided with ", "  more seeds would not decide it"))
    assert lines[-1] == f"to go on: counterpoint advise {RECIPE} {' '.join(SMALL)} --more"


def test_arms_that_are_alike_within_a_wide_margin_are_answered_by_the_cheaper(tmp_path):
    advice = race_of(tmp_path, Scripted(spread=0.0), margin=15.0)
    assert (advice.standing.call, advice.leader) == ("alike", "shared")
    assert "alike within 15 points" in advice.lines()[0]
    assert advice.lines()[1] == "take the cheaper: shared, with 1 policy"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A race that takes more than three rounds, held in one go."""
    return race_of(tmp_path_factory.mktemp("whole"), Scripted(lift={"isolated": 0.35}))


@pytest.mark.parametrize("after", [0, 3, 7])
def test_a_race_that_is_killed_and_held_again_ends_with_the_same_words(tmp_path, whole, after):
    killed = Scripted(lift={"isolated": 0.35}, dies_after=after)
    with pytest.raises(Killed):
        race_of(tmp_path, killed)
    assert race_of(tmp_path, replace(killed, dies_after=None)).lines() == whole.lines()
    assert len(set(killed.trained)) == len(killed.trained)


def test_going_on_after_cannot_tell_is_one_long_race(tmp_path, whole):
    script = Scripted(lift={"isolated": 0.35})
    first = race_of(tmp_path / "parts", script, minutes=3.5)
    assert (first.standing.call, first.standing.rounds) == ("cannot tell", 3)
    assert race_of(tmp_path / "parts", script, more=True).lines() == whole.lines()
    assert whole.standing.rounds > 3


def test_falls_are_told_as_rates_and_leave_the_comparison_as_it_is(tmp_path):
    healthy = race_of(tmp_path / "healthy", Scripted(lift={"isolated": 1.0}))
    fallen = race_of(tmp_path / "fallen", Scripted(lift={"isolated": 1.0}, fall={"isolated": (1, 2)}))
    assert fallen.standing.call == healthy.standing.call == "ahead"
    isolated = next(arm for arm in fallen.arms if arm.name == "isolated")
    assert isolated.falls.fell == 2
    assert isolated.peak == pytest.approx(next(a.peak for a in healthy.arms if a.name == "isolated"), abs=0.05)
    assert any(line.startswith("WARNING: isolated is the choice at its peak, but 2 of ") for line in fallen.lines())
    assert not any(line.startswith("WARNING") for line in healthy.lines())


def test_runs_that_fail_are_named_and_too_many_of_them_decide_nothing(tmp_path):
    advice = race_of(tmp_path, Scripted(lift={"isolated": 1.0}, fails={"isolated": (1, 2)}))
    assert advice.standing.rounds == 8  # 2 of 8 are more than 20 % to the end
    assert advice.leader == ""
    assert any(line == f"failed: isolated with seed 1: {FAILURE}" for line in advice.lines())
    one = race_of(tmp_path / "one", Scripted(lift={"isolated": 1.0}, fails={"isolated": (1,)}))
    assert (one.leader, one.standing.rounds) == ("isolated", 5)
    assert "(4 paired seeds, 32 tasks x 8, 30 steps; " in one.lines()[0]  # of 5 rounds one has no pair


def test_seeds_that_would_decide_are_counted_from_those_that_both_arms_have(tmp_path):
    advice = race_of(tmp_path, Scripted(lift={"isolated": 0.35}, fails={"isolated": (1,)}), minutes=5.5)
    pair = advice.standing.pairs[0]
    assert (advice.standing.rounds, pair.estimate.seeds) == (5, 4)
    open_ = replace(advice, standing=replace(advice.standing, pairs=(replace(pair, decided_by=6),)), minutes=2.0)
    assert open_.lines()[0].startswith("cannot tell (4 paired seeds, ")
    assert open_.lines()[2] == "  probably decided with 6 seeds: 2 more, about 4 minutes"
    late = replace(advice, standing=replace(advice.standing, pairs=(replace(pair, decided_by=8),)))
    assert late.lines()[2] == "  probably decided with 8 seeds, more than the 8 of a race: make a study"


def test_a_race_whose_runs_all_fail_ends_with_the_reason_and_the_log(tmp_path):
    script = Scripted(fails={"shared": tuple(range(8)), "isolated": tuple(range(8))})
    with pytest.raises(RunError, match=r"every run failed, the first with: exit status 2.*shared-s0.log"):
        race_of(tmp_path, script)


def test_too_few_minutes_are_refused_with_those_that_would_do_and_the_steps_that_fit(tmp_path):
    script = Scripted()
    with pytest.raises(ConfigError, match=r"at least 3 rounds, of about .*: give --minutes \d+, or --steps \d+;"):
        race_of(tmp_path, script, minutes=1.5)
    assert script.trained == []
    advice = race_of(tmp_path, script, minutes=1.5, anyway=True)
    assert (advice.standing.call, advice.standing.rounds) == ("cannot tell", 1)
    assert "fewer than 3 paired seeds" in advice.lines()[1]


def test_no_round_begins_that_would_not_fit_into_the_minutes(tmp_path):
    for minutes, rounds in ((4.1, 4), (5.2, 5)):
        advice = race_of(tmp_path / str(minutes), Scripted(spread=0.0), minutes=minutes)
        assert advice.standing.rounds == rounds


def test_an_arm_that_is_out_of_the_race_costs_nothing_more(tmp_path):
    script = Scripted(lift={"slots": -2.0})
    advice = race_of(tmp_path, script, arms="shared,isolated,slots")
    lost = [name for name in script.trained if name.startswith("slots")]
    assert len(lost) < len([name for name in script.trained if name.startswith("shared")]) == 8
    assert any(line.startswith("out of the race: ") for line in advice.lines())


def test_many_cores_train_the_first_three_rounds_at_once_and_say_the_same(tmp_path, whole):
    many = race_of(tmp_path, Scripted(lift={"isolated": 0.35}), jobs=16)
    assert many.lines() == whole.lines()


def test_the_samples_of_a_race_stay_those_that_it_began_with(tmp_path):
    pilots = pilots_of(RECIPE, SMALL, arms=None, steps=None, margin=0.02, runs=tmp_path)
    study = pilots.study(1, [("shared", "isolated")])
    Scripted()(study, pilots.folder, 2, study)
    again = pilots_of(RECIPE, SMALL, arms=None, steps=None, margin=0.2, runs=tmp_path)
    assert again.samples == pilots.samples
    assert pilots_of(RECIPE, SMALL, arms=None, steps=None, margin=0.2, runs=tmp_path / "new").samples < pilots.samples


@pytest.mark.parametrize(
    ("overrides", "asked", "message"),
    [
        ((), {"arms": "shared"}, "advice compares at least 2 arms: there is shared"),
        ((), {"arms": "shared,isolatd"}, "unknown arm 'isolatd'; did you mean 'isolated'"),
        ((), {"arms": "shared,shared"}, "--arms names shared twice"),
        ((), {"arms": 'isolated,{generator="a",aggregator="b"}'}, "arms isolated and table are the same"),
        ((), {"arms": 'shared,{generator="a"}'}, "arm table: policies.sharing names no policy for role 'aggregator'"),
        ((), {"arms": "shared,{generator=}"}, "is not a table in TOML"),
        (("workflow=single",), {}, "the workflow has one role, generator: shared and isolated are the same"),
        (("workflow=evaluator_optimizer",), {"arms": "isolated,slots"}, "no role of this workflow has parallel calls"),
        (("policies.trainable=false",), {}, "arm shared: none of its policies is trained"),
        (("policies.sharing=shared",), {}, "leave it out, or name the arms with --arms"),
        (("task.test=1",), {}, "at least 2 test tasks"),
        (("workflow=votting",), {}, "unknown workflow 'votting'"),
        ((), {"minutes": 0}, "--minutes 0: a budget is a number of minutes above 0"),
        ((), {"minutes": float("nan")}, "--minutes nan"),
        ((), {"margin": 0}, "--margin 0: a margin is a number of points above 0"),
        ((), {"steps": 0}, "--steps 0: a pilot has at least 1 step"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_anything_is_trained(tmp_path, overrides, asked, message):
    script = Scripted()
    with pytest.raises(ConfigError) as caught:
        advise(RECIPE, *overrides, train=script, runs=tmp_path, **asked)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_a_table_of_policies_is_an_arm(tmp_path):
    table = '{generator=["a","b","b"],aggregator="b"}'
    pilots = pilots_of(RECIPE, SMALL, arms=f"shared,{table}", steps=None, margin=0.02, runs=tmp_path)
    assert [(arm.name, arm.policies) for arm in pilots.arms] == [("shared", 1), ("table", 2)]
    assert pilots.arms[1].override == f"policies.sharing={table}"


def test_interventions_of_the_recipe_stay_beside_the_stop_at_the_cliff(tmp_path):
    own = 'interventions=["balance", {name="anchor_roles", weight=0.1}]'
    pilots = pilots_of(RECIPE, (own,), arms=None, steps=None, margin=0.02, runs=tmp_path)
    from counterpoint.recipe import load_config

    config = load_config(RECIPE, pilots.overrides(pilots.arms[0], 3))
    assert [spec.name for spec in config.interventions] == ["balance", "anchor_roles", "stop_at_cliff"]
    assert config.run.seed == 3


def test_the_words_of_progress_come_from_the_directories_alone(tmp_path):
    pilots = pilots_of(RECIPE, SMALL, arms=None, steps=None, margin=0.02, runs=tmp_path)
    study = pilots.study(2, [("shared", "isolated")] * 2)
    Scripted()(study, pilots.folder, 2, study)
    assert progress(pilots, 0.02, {}).rounds == 2


def finished_race(folder, script, **asked):
    advice = race_of(folder, script, **asked)
    return advice, next(folder.glob("advise-*"))


def test_finished_runs_give_the_answer_of_the_race_that_made_them_without_training(tmp_path):
    advice, folder = finished_race(tmp_path, Scripted(lift={"isolated": 1.0}))
    found = advise_from([folder], 2.0)
    assert found.leader == advice.leader == "isolated"
    assert found.lines()[0] == advice.lines()[0]
    assert found.lines()[-1].startswith(f"copy: counterpoint train {RECIPE} {' '.join(SMALL)} ")
    assert "policies.sharing=isolated" in found.lines()[-1]
    one_by_one = advise_from(sorted(path.parent for path in folder.glob("*-s*/config.toml")), 2.0)
    assert one_by_one.lines() == found.lines()


def test_failed_runs_among_those_given_do_not_count_with_their_samples(tmp_path):
    advice, folder = finished_race(tmp_path, Scripted(lift={"isolated": 1.0}, fails={"isolated": (1,)}))
    found = advise_from([folder], 2.0)
    assert "4 paired seeds, 32 tasks x 8, 30 steps" in found.lines()[0]
    assert (found.samples, found.arms[1].failed) == (advice.samples, {1: FAILURE})


def test_peaks_are_means_over_the_tasks_that_all_runs_of_the_race_have():
    values = {"shared": {"t0": 1.0, "t1": 0.0, "t2": 0.0}, "isolated": {"t0": 1.0, "t1": 1.0}}
    runs = [
        Raced(arm=arm, seed=0, path=Path(arm), state="finished", outcomes=own, base=0.0) for arm, own in values.items()
    ]
    outcomes, tasks, left_out = common_outcomes(runs, values)
    peaks = {arm: result_of(arm, 1, runs, outcomes[arm]).peak for arm in values}
    assert (peaks, tasks, left_out) == ({"shared": 0.5, "isolated": 1.0}, 2, 1)
    apart = [runs[0], replace(runs[1], outcomes={"t3": 1.0})]
    assert result_of("shared", 1, apart, common_outcomes(apart, values)[0]["shared"]).peak is None


def test_finished_runs_that_cannot_be_compared_are_refused_in_one_line(tmp_path):
    _, folder = finished_race(tmp_path, Scripted(), minutes=4.5)
    shared = [folder / f"shared-s{seed}" for seed in range(3)]
    isolated = [folder / f"isolated-s{seed}" for seed in range(3)]
    refused = [
        ([tmp_path / "nowhere"], "is neither a run nor a folder of runs"),
        (shared, "advice compares 2 to 4 ways of sharing; these runs have shared"),
        ([*shared, *isolated[:2]], "at least 3 seeds that every arm has: shared has 0, 1, 2; isolated has 0, 1"),
        ([*shared, *isolated, shared[0]], "is there twice"),
    ]
    for paths, message in refused:
        with pytest.raises(RunError, match=re.escape(message)) as caught:
            advise_from(paths, 2.0)
        assert "\n" not in str(caught.value)
    longer = race_of(tmp_path / "longer", Scripted(), steps=12, minutes=4.5)
    assert longer.standing.rounds == 4
    other = next((tmp_path / "longer").glob("advise-*"))
    with pytest.raises(RunError, match=r"differ in (run.steps|evaluation.every): "):
        advise_from([*shared, *(other / f"isolated-s{seed}" for seed in range(3))], 2.0)
    facts = json.loads((isolated[1] / "run.json").read_text())
    (isolated[1] / "run.json").write_text(json.dumps({**facts, "tasks": {"test": "others"}}))
    with pytest.raises(RunError, match="have other test tasks"):
        advise_from([*shared, *isolated], 2.0)
    (isolated[1] / "run.json").write_text(json.dumps(facts))
    (isolated[1] / "summary.json").unlink()
    with pytest.raises(RunError, match=r"isolated-s1 is not finished \(interrupted\): counterpoint resume"):
        advise_from([*shared, *isolated], 2.0)


OWN = """
from counterpoint import Problem, Role, workflow


@workflow
async def draft_and_check(problem: Problem, *, writer: Role, checker: Role) -> str | None:
    draft = await writer(f"{problem.text} {problem.answer_format}")
    draft.answers(problem.extract(draft.text))
    last = await checker(f"{problem.text} A draft: {draft.text} {problem.answer_format}")
    return last.answers(problem.extract(last.text))


def sums():
    return [(f"What is {n} + 1?", str(n + 1)) for n in range(200)]
"""


def test_a_workflow_and_questions_of_ones_own_are_raced_as_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_flow.py").write_text(OWN)
    own = ("workflow=own_flow:draft_and_check", "task=own_flow:sums")
    advice = race_of(tmp_path / "runs", Scripted(lift={"isolated": 1.0}), overrides=own)
    assert advice.leader == "isolated"
    assert advice.lines()[-1].startswith(
        "copy: counterpoint train voting_arithmetic workflow=own_flow:draft_and_check "
    )


def test_a_run_that_was_stopped_at_a_cliff_counts_with_its_peak_and_never_as_held(tmp_path):
    advice, folder = finished_race(tmp_path, Scripted(lift={"isolated": 1.0}, fall={"isolated": (0,)}))
    run = folder / "isolated-s0"
    rows = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    peak = next(row for row in rows if (row["step"], row["split"]) == (15, "test"))
    last = rows[-1]["step"] + 1
    back = [{**peak, "step": last, "split": split, "rolled_back": True} for split in ("validation", "test")]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, *back]))
    (run / "checkpoints" / f"{last:06d}").mkdir(parents=True)
    (run / "checkpoints" / f"{last:06d}" / "state.json").write_text('{"stopped": "it fell"}')
    stopped = read_raced("isolated", 0, run)
    assert (stopped.fate.stopped, stopped.fate.fell) == ("it fell", "fell")
    assert fmean(stopped.outcomes.values()) > 0.6
    found = next(arm for arm in advise_from([folder], 2.0).arms if arm.name == "isolated")
    assert found.stopped == 1
    assert found.peak == pytest.approx(next(arm.peak for arm in advice.arms if arm.name == "isolated"))


def test_advice_names_roles_that_fell_and_none_of_a_run_that_still_rises(tmp_path):
    courses = {"fell": (0.3, 0.9, 0.5, 0.4, 0.3), "rose": (0.1, 0.3, 0.5, 0.7, 0.9)}
    for name, one in courses.items():
        run_by_hand(tmp_path / name, course=one, tasks=200)
    told = roles_that_fell([read_raced(name, 0, tmp_path / name) for name in courses])
    assert [line.partition(" by ")[0] for line in told] == [
        f"fell: the accuracy of {role} fell" for role in ("generator", "aggregator")
    ]


def test_pilots_without_any_gain_are_called_too_short(tmp_path):
    advice = race_of(tmp_path, Scripted(lift={"shared": -1.5, "isolated": -1.5}), margin=45.0)
    assert any("no arm became better by 45 points: pilots of more steps" in line for line in advice.lines())


def test_a_trainer_that_does_nothing_ends_the_race_with_one_line(tmp_path):
    script = Scripted()

    def idle(study, folder, jobs, whole):
        return script(study, folder, jobs, whole) if folder.name == "cost" else Outcome(finished=(), failed={}, left={})

    with pytest.raises(RunError, match="the runs of round 1 are done, but cannot be read"):
        race_of(tmp_path, idle)


def test_a_signal_ends_the_race_and_the_same_command_goes_on(tmp_path):
    script = Scripted(lift={"isolated": 1.0})

    def stopped(study, folder, jobs, whole):
        return Outcome(finished=(), failed={}, left={}, signal=2)

    with pytest.raises(InterruptedRaceError, match="the same command goes on") as caught:
        race_of(tmp_path, stopped)
    assert caught.value.signal == 2
    assert race_of(tmp_path, script).leader == "isolated"


def test_the_time_at_work_counts_runs_side_by_side_once_and_pauses_not_at_all():
    assert worked([(0.0, 10.0), (5.0, 12.0), None, (100.0, 101.0), (6.0, 7.0)]) == 13.0
    assert worked([]) == 0.0
    assert makespan([3.0, 2.0, 2.0], 2) == 4.0
    assert makespan([3.0, 2.0], 8) == 3.0


def test_a_round_that_had_begun_is_finished_although_a_new_one_would_not_fit(tmp_path):
    script = Scripted(spread=0.0, dies_after=7)
    with pytest.raises(Killed):
        race_of(tmp_path, script, minutes=4.1)
    advice = race_of(tmp_path, replace(script, dies_after=None), minutes=3.5)
    assert advice.standing.rounds == 4


def test_time_beside_the_runs_counts_for_the_next_round(tmp_path):
    script, clock = Scripted(spread=0.0), [0.0]

    def slow(study, folder, jobs, whole):
        clock[0] += 100.0
        return script(study, folder, jobs, whole)

    pilots = pilots_of(RECIPE, SMALL, arms=None, steps=None, margin=0.02, runs=tmp_path)
    advice = hold(pilots, Ask(minutes=10.0), slow, jobs=2, now=lambda: clock[0])
    assert advice.standing.rounds == 4  # 5 of 60 seconds would fit, but not with the 96 that measuring took beside
