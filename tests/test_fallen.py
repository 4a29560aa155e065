"""The fall of a run, explained: the roles that fell, who fell first, and what changed."""

import json
import random
from dataclasses import replace

import pytest

from counterpoint.analysis.fallen import explain, role_falls
from counterpoint.analysis.history import History, Series
from counterpoint.analysis.recorded import BEST
from counterpoint.analysis.signatures.base import Thresholds
from counterpoint.analysis.signatures.fallen_role import FALLEN_ROLE
from counterpoint.analysis.stood_out import ERRORS, NORMAL, Number, changes_of, comparable, reference_of
from counterpoint.experiments.collected import Collected, RunRecord
from counterpoint.experiments.collected_files import METRICS, OUTCOMES, frame_of, read, write
from counterpoint.policy import Routing

TASKS = 200
STEPS = 60
RISE = [0.4, 0.6, 0.8, 0.9, 0.9]
"""The evaluations at the steps 0 to 40. The peak is at step 30, as smoothed accuracy falls before a fall."""
HELD = [*RISE, 0.9, 0.9, 0.9, 0.9]
FELL = [*RISE, 0.7, 0.7, 0.7, 0.7]
FELL_LATER = [*RISE, 0.9, 0.7, 0.7, 0.7]


def outcomes(share):
    return {str(task): [float(task < TASKS * share)] for task in range(TASKS)}


def evaluation(place, split, team, roles, numbers, best):
    controls = {} if best is None else {BEST: {"tokens": 1.0, "outcomes": outcomes(best[place])}}
    return {
        "step": 10 * place,
        "split": split,
        "accuracy": team[place],
        "outcomes": outcomes(team[place]),
        "roles": {role: outcomes(values[place]) for role, values in roles.items() if values[place] is not None},
        "numbers": {name: values[place] for name, values in numbers.items()},
        "controls": controls,
    }


def made(team=FELL, *, metrics=None, numbers=None, best=None, sharing=None, claims=None, **roles):
    """A run with an evaluation every ten steps; `metrics` maps names to values per step, with a little noise."""
    source = random.Random(0)
    steps = 10 * (len(team) - 1)
    rows = [
        {"step": step, **{name: value(step) + source.gauss(0.0, 0.001) for name, value in (metrics or {}).items()}}
        for step in range(1, steps + 1)
    ]
    evaluations = [
        evaluation(place, split, team, roles, numbers or {}, best)
        for place in range(len(team))
        for split in ("validation", "test")
    ]
    routing = Routing(sharing or {role: role for role in roles})
    return History(metrics=rows, evaluations=evaluations, routing=routing, claims=claims or {})


def told(run):
    return FALLEN_ROLE.find(run, Thresholds())


def jump(before, after, step):
    return lambda now: before if now < step else after


def test_the_roles_that_fell_are_named_in_the_order_in_which_they_fell():
    found = explain(made(solver=FELL_LATER, critic=FELL, helper=HELD))
    assert [(one.role, one.onset.step) for one in found.roles] == [("critic", 50), ("solver", 60)]
    assert found.first == ("critic",)
    assert [one.drop.value for one in found.roles] == pytest.approx([0.2, 0.2])


def test_of_roles_that_fell_at_one_evaluation_neither_is_the_first():
    run = made(solver=FELL, critic=FELL)
    assert set(explain(run).first) == {"solver", "critic"}
    (solver,) = [one for one in told(run) if one.where == "solver"]
    assert "at the same evaluation as critic: it cannot be told who fell first" in solver.evidence


def test_who_fell_first_may_be_chance():
    run = made(solver=FELL_LATER, critic=FELL)
    (critic,) = [one for one in told(run) if one.where == "critic"]
    assert "it fell first" in critic.evidence
    noisy = made(solver=FELL_LATER, critic=[*RISE, 0.835, 0.7, 0.7, 0.7])
    (critic,) = [one for one in told(noisy) if one.where == "critic"]
    assert "it fell first, though by chance solver may have: the ranges overlap" in critic.evidence


def test_a_run_that_held_is_not_explained_though_a_role_fell():
    run = made(HELD, solver=FELL, critic=HELD)
    assert explain(run) is None
    assert [one.role for one in role_falls(run)] == ["solver"]


def test_a_role_may_fall_before_the_peak_of_the_team():
    found = explain(made(critic=[0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], solver=HELD))
    (critic,) = found.roles
    assert (critic.peak_step, critic.onset.step) == (0, 20)
    assert critic.onset.step < found.peak_step


def test_a_role_without_claims_at_the_end_did_not_fall():
    assert explain(made(critic=[*FELL[:-1], None], solver=FELL)).first == ("solver",)
    assert explain(made(critic=[None] * 9)).roles == ()


def test_if_no_role_fell_the_finding_is_the_teams():
    (finding,) = told(made(solver=HELD, metrics={"role/solver/entropy": lambda step: 0.2}))
    assert finding.where == "team"
    assert "no role's own accuracy fell by the rule for the team" in finding.evidence
    assert "by the onset: nothing that is measured of solver left its usual range from step 30 to 50" in (
        finding.evidence
    )


FEW = "too few values for a usual range, or none after it up to step"


def test_where_nothing_can_be_compared_nothing_is_said_to_have_stayed():
    entropy = {"role/solver/entropy": lambda step: 0.05 * 2**step}
    early = made([0.8, 0.3, 0.2, 0.2], solver=[0.8, 0.3, 0.2, 0.2], metrics=entropy)
    closer = replace(
        early,
        metrics=early.metrics[:15],
        evaluations=[{**row, "step": row["step"] // 2} for row in early.evaluations],
    )
    (finding,) = told(closer)  # the usual range of a peak at the base is the steps 1 to 5, which are the fall
    assert f"by the onset: it cannot be told what changed in solver: {FEW} 5" in finding.evidence
    late = {"role/critic/entropy": lambda step: 0.2 if step > 30 else float("nan")}
    run = made(solver=FELL, critic=HELD, metrics=late)
    assert f"by the onset: it cannot be told what changed in critic: {FEW} 50" in told(run)[0].evidence
    assert comparable(run, ["role/critic/entropy"], 40, 50)
    assert not comparable(run, ["role/critic/entropy"], 40, 40)
    assert not comparable(run, ["role/critic/entropy"], 30, 50)


def test_what_left_its_range_before_the_onset_is_told_apart_from_what_left_it_later():
    early, late = "role/solver/entropy", "role/solver/unreadable"
    run = made(solver=FELL, critic=HELD, metrics={early: jump(0.2, 0.8, 44), late: jump(0.02, 0.5, 65)})
    solver, critic = explain(run).changed
    assert [one.metric for one in solver.before] == [early]
    assert [one.metric for one in solver.later] == [late]
    assert 44 <= solver.before[0].step <= 48
    assert (critic.before, critic.later) == ((), ())
    assert explain(run).earliest == ("solver", solver.before[0])
    assert explain(made(solver=FELL, critic=HELD, metrics={late: jump(0.02, 0.5, 65)})).earliest is None


def test_what_a_role_lost_before_the_peak_of_the_team_is_told_too():
    name = "role/critic/false_rejection"
    fell = [0.8, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    (critic,) = explain(made(critic=fell, metrics={name: jump(0.1, 0.6, 25)})).changed
    assert [one.metric for one in critic.earlier] == [name]
    assert critic.before == ()


def test_a_change_seen_in_evaluations_alone_is_not_told_twice_if_it_goes_on():
    name = "role/critic/agreement"
    team = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6]
    fell = [0.6, 0.7, 0.8, 0.9, 0.9, 0.9, *[0.5] * 6]
    found = explain(made(team, critic=fell, numbers={name: [*[0.2] * 7, *[0.6] * 5]}))
    assert (found.peak_step, found.roles[0].peak_step) == (70, 40)
    (critic,) = found.changed
    assert [(one.metric, one.step) for one in critic.earlier] == [(f"eval/test/{name}", 70)]
    assert (critic.before, critic.later) == ((), ())


def test_a_change_that_went_back_before_the_onset_is_not_named():
    def bump(step):
        return 0.8 if 41 <= step <= 43 else 0.2

    (solver,) = explain(made(solver=FELL, metrics={"role/solver/entropy": bump})).changed
    assert (solver.before, solver.later) == ((), ())


def test_an_evaluation_tells_what_steps_do_not():
    name = "role/critic/false_approval"
    run = made(critic=FELL, numbers={name: [0.1, 0.1, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 0.4]})
    (critic,) = explain(run).changed
    assert [(one.metric, one.step) for one in critic.before] == [(f"eval/test/{name}", 50)]


def test_a_shared_policy_has_its_own_changes_and_a_private_one_those_of_its_role():
    metrics = {"policy/all/gradient_norm": jump(0.1, 0.9, 44)}
    shared = explain(made(solver=FELL, critic=FELL, metrics=metrics, sharing={"solver": "all", "critic": "all"}))
    assert [(one.where, len(one.before)) for one in shared.changed] == [("solver", 0), ("critic", 0), ("all", 1)]
    alone = explain(made(solver=FELL, metrics=metrics, sharing={"solver": "all"}))
    assert [(one.where, len(one.before)) for one in alone.changed] == [("solver", 1)]


def test_a_shared_policy_with_the_name_of_a_role_keeps_the_numbers_of_both():
    metrics = {"policy/solver/gradient_norm": jump(0.1, 0.9, 44), "role/solver/entropy": jump(0.2, 0.8, 44)}
    run = made(solver=FELL, critic=FELL, metrics=metrics, sharing={"solver": "solver", "critic": "solver"})
    found = {one.where: {change.metric for change in one.before} for one in explain(run).changed}
    assert found == {"solver": set(metrics), "critic": set()}


def test_what_was_no_longer_answered_is_told_apart_from_what_was_no_longer_chosen():
    best = [*RISE, 0.8, 0.8, 0.8, 0.8]
    run = made(chooser=FELL, best=best, claims={"chooser": frozenset({"choice"})})
    assert explain(run).lost_answers.value == pytest.approx(0.1)
    (finding,) = told(run)
    assert any("0.100" in text and "no answer was right any more" in text for text in finding.evidence)
    assert explain(made(chooser=FELL)).lost_answers is None


@pytest.mark.parametrize(("end", "text"), [(0.5, "in 0.400 ["), (0.9, "all of it that"), (0.95, "all of it that")])
def test_more_lost_answers_than_the_team_lost_or_none_leave_no_rest(end, text):
    best = [*RISE[:4], *[end] * 5]
    (finding,) = told(made(chooser=FELL, best=best, claims={"chooser": frozenset({"choice"})}))
    (line,) = [one for one in finding.evidence if "no answer was right any more" in one]
    assert text in line
    assert "the rest" not in line


def test_a_number_stands_out_by_hand():
    """Values 1, 2, 3, 4, 5 up to the peak: the median is 3, the median distance 1, so 3 * 1.4826 away counts."""
    reach = ERRORS * NORMAL
    for value, stands in ((3 + reach + 0.01, True), (3 + reach - 0.01, False), (3 - reach - 0.01, True)):
        rows = [{"step": step, "x": float(step)} for step in range(1, 6)]
        rows += [{"step": step, "x": value} for step in (6, 7)]
        run = replace(made(), metrics=rows)
        found = changes_of(run, {"x": Number(least=0.5)}, 5, 7)
        assert [one.step for one in found] == ([6] if stands else [])


def test_a_number_must_change_by_its_least_size_too():
    rows = [{"step": step, "x": 0.2 if step <= 20 else 0.39} for step in range(1, 31)]
    run = replace(made(), metrics=rows)
    assert changes_of(run, {"x": Number(least=2.0, floor=0.01)}, 20, 30) == []
    (found,) = changes_of(run, {"x": Number(least=1.9, floor=0.01)}, 20, 30)
    assert (found.before, found.after, found.step) == (0.2, 0.39, 21)
    assert found.size == pytest.approx(1.04, abs=0.01)


def test_values_that_are_not_finite_and_numbers_that_were_not_recorded_are_left_out():
    rows = [{"step": step, "x": float("nan") if step % 2 else 0.2} for step in range(1, 31)]
    run = replace(made(), metrics=rows)
    assert changes_of(run, {"x": Number(least=0.1), "y": Number(least=0.1)}, 20, 30) == []


def test_the_range_of_a_peak_at_the_base_is_that_of_the_first_steps():
    assert reference_of(0) == (1, 5)
    assert reference_of(12) == (1, 12)
    assert reference_of(50) == (31, 50)


def test_every_healthy_role_that_only_trembles_keeps_its_range():
    source = random.Random(1)
    named = 0
    for _ in range(200):
        values = [0.2 * (1 + source.gauss(0.0, 0.2)) for _ in range(30)]
        run = History(
            metrics=[{"step": step, "x": value} for step, value in enumerate(values, start=1)],
            evaluations=[],
            routing=Routing({}),
            claims={},
        )
        named += len(changes_of(run, {"x": Number(least=0.01)}, 20, 30))
    assert named <= 10
    assert Series((), ()).mean() is None


def test_an_explained_fall_is_written_and_read_back(tmp_path):
    found = explain(made(solver=FELL, critic=HELD, metrics={"role/solver/entropy": jump(0.2, 0.8, 44)}))
    record = RunRecord(run="a", path="a", labels={}, seed=0, state="finished", fell="fell", explained=found)
    empty = {name: frame_of(name, []) for name in (OUTCOMES, METRICS)}
    write(Collected(runs=(record,), outcomes=empty[OUTCOMES], metrics=empty[METRICS]), tmp_path)
    assert read(tmp_path).runs[0].explained == found
    assert json.loads((tmp_path / "runs.jsonl").read_text(encoding="utf-8"))["explained"]["roles"]
