"""Synthetic truth: each phenomenon is made, and its signature is named, and no other."""

import math
import random
from dataclasses import replace
from statistics import fmean
from typing import get_args

import numpy as np
import pytest

from counterpoint.analysis.history import History, Series
from counterpoint.analysis.signatures import EARLY, SIGNATURES, diagnose, examine, failed_episodes
from counterpoint.analysis.signatures._rejections import pays_below
from counterpoint.analysis.signatures.base import Thresholds, fall_from_the_best
from counterpoint.analysis.signatures.capture import captured
from counterpoint.analysis.summary import CLIFF_DROP, summarize
from counterpoint.episode import ErrorKind
from counterpoint.policy import Routing

SHARED = Routing({"voter": "all", "judge": "all"})
ISOLATED = Routing({"voter": "voter", "judge": "judge"})
CLAIMS = {"voter": frozenset({"answer"}), "judge": frozenset({"choice"})}
STEPS = 40
TASKS = 256


def rising(begin, end, steps=STEPS):
    """A value a step, from one to the other."""
    return [begin + (end - begin) * step / (steps - 1) for step in range(steps)]


HEALTHY = {
    "episode/score": rising(0.45, 0.85),
    "episode/oracle": rising(0.8, 0.95),
    "episode/helped": rising(0.1, 0.06),
    "episode/hurt": rising(0.1, 0.02),
    "role/voter/accuracy": rising(0.45, 0.85),
    "role/voter/agreement": rising(0.3, 0.8),
    "role/judge/accuracy": rising(0.45, 0.85),
    "role/judge/selection": rising(0.5, 0.9),
    **{f"role/{role}/tokens": rising(22.0, 21.0) for role in CLAIMS},
    **{f"role/{role}/echo": rising(0.2, 0.25) for role in CLAIMS},
    **{f"role/{role}/entropy": rising(0.4, 0.15) for role in CLAIMS},
    **{f"role/{role}/unreadable": rising(0.05, 0.01) for role in CLAIMS},
    **{f"role/{role}/without_signal": rising(0.1, 0.4) for role in CLAIMS},
    **{f"role/{role}/in_loss": rising(0.9, 0.6) for role in CLAIMS},
    "gradient/all/dominance": [0.65] * STEPS,
    "gradient/all/voter/share": [0.65] * STEPS,
    "gradient/all/judge/share": [0.35] * STEPS,
    "gradient/all/voter/alignment": [0.85] * STEPS,
    "gradient/all/judge/alignment": [0.5] * STEPS,
    **{f"gradient/all/{role}/persistence": [0.2] * STEPS for role in CLAIMS},
    "gradient/all/voter/coherence": [0.6] * STEPS,
    "gradient/all/voter/amplification": [1.8] * STEPS,
    "policy/all/change": [0.05] * STEPS,
    "policy/all/in_loss": [400.0] * STEPS,
}
COUNTED = {
    "episode/tasks": [16.0] * STEPS,
    "episode/played": [128.0] * STEPS,
    "episode/not_judged": [1.0] * STEPS,
    "role/voter/calls": [3.0] * STEPS,
    "role/judge/calls": [0.8] * STEPS,
    **{f"role/{role}/truncated": rising(0.1, 0.02) for role in CLAIMS},
}
"""Series without noise."""
EVALUATED = {
    "episode/played": 256.0,
    **{f"role/{role}/{name}": value for role in CLAIMS for name, value in (("calls", 1.0), ("unreadable", 0.07))},
}
"""Numbers of every evaluation."""
TEST = [0.45, 0.55, 0.66, 0.75, 0.8, 0.84, 0.85, 0.86, 0.85]
"""Accuracy of an evaluation every five steps."""


def history(metrics=None, test=TEST, oracle=0.95, *, routing=SHARED, claims=CLAIMS, seed=0, noise=0.02, **told):
    """A run with these series, some noise on all of them, and these evaluations."""
    source = random.Random(seed)
    series = {**HEALTHY, **(metrics or {})}
    rows = [
        {
            "step": step,
            **{name: values[step - 1] for name, values in COUNTED.items() if name not in series},
            **{
                name: noisy(values[step - 1], source, noise)
                for name, values in series.items()
                if values and values[step - 1] is not None
            },
        }
        for step in range(1, STEPS + 1)
    ]
    oracles = oracle if isinstance(oracle, list) else [oracle] * len(test)
    evaluations = [
        evaluation(5 * place, split, accuracy, oracles[place], source, at(place, told))
        for place, accuracy in enumerate(test)
        for split in ("validation", "test")
    ]
    return History(metrics=rows, evaluations=evaluations, routing=routing, claims=claims)


def at(place, told):
    """The numbers of one evaluation; `claimed` has the accuracies of roles, which are no numbers of it."""
    series = {name: values[place] for name, values in told.get("each", {}).items()}
    claimed = {role: values[place] for role, values in told.get("claimed", {}).items()}
    return {**told.get("evaluated", {}), **series, "claimed": claimed}


def noisy(value, source, noise):
    return value if value in (0.0, 1.0) else value * (1.0 + source.gauss(0.0, noise))


def evaluation(step, split, accuracy, oracle, source, told):
    outcomes = {str(task): [float(source.random() < accuracy)] for task in range(TASKS)}
    found = sum(values[0] for values in outcomes.values()) / TASKS
    numbers = {**EVALUATED, "episode/oracle": max(oracle, found), **told}
    roles = {
        role: {str(task): [float(task < TASKS * share)] for task in range(TASKS)}
        for role, share in numbers.pop("claimed").items()
    }
    return {"step": step, "split": split, "accuracy": found, "outcomes": outcomes, "roles": roles, "numbers": numbers}


def names(found):
    return [finding.signature for finding in found]


FALL = [0.45, 0.6, 0.75, 0.85, 0.86, 0.8, 0.66, 0.62, 0.6]
DOMINATED = {
    "gradient/all/dominance": [0.95] * STEPS,
    "gradient/all/voter/share": [0.95] * STEPS,  # about twenty times the other's mass
    "gradient/all/judge/share": [0.05] * STEPS,
    "gradient/all/voter/alignment": [0.99] * STEPS,
}
DRIFTING = {"gradient/all/voter/coherence": [0.95] * STEPS, "gradient/all/voter/persistence": [0.7] * STEPS}
NOTHING_RIGHT = {f"episode/{name}": [0.0] * STEPS for name in ("score", "oracle", "helped", "hurt")}
EARLY_PHENOMENA = {
    "failed episodes": {"metrics": {"episode/errors/workflow": [1.0] * STEPS}},
    "unjudged answers": {"metrics": {"episode/not_judged": [12.0] * STEPS}},
    "cut-off replies": {"metrics": {"role/voter/truncated": [0.4] * STEPS}},
    "unreadable replies": {"metrics": {"role/judge/unreadable": [0.9] * STEPS}},
    "constant reward": {"metrics": NOTHING_RIGHT, "test": [0.0] * 9, "oracle": 0.0},
    "silent role": {"metrics": {"role/judge/calls": [0.0] * STEPS}, "evaluated": {"role/judge/calls": 0.0}},
    "no signal": {"metrics": {f"role/{role}/without_signal": [1.0] * STEPS for role in CLAIMS}},
}
TEAM_FALL = {"test": FALL, "oracle": [accuracy + 0.05 for accuracy in FALL]}
LOSING = [0.5, 0.6, 0.7, 0.8, 0.8, 0.7, 0.6, 0.55, 0.5]
"""A role that gets worse, whatever the team does."""
SURE = [0.4, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
"""Its entropy in evaluations: it stays certain."""
UNSURE = [0.4, 0.3, 0.2, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8]
PHENOMENA = {
    "cliff": TEAM_FALL,
    "fallen role": {**TEAM_FALL, "claimed": {"judge": FALL}},
    "certain and wrong": {"claimed": {"voter": LOSING}, "each": {"role/voter/entropy": SURE}},
    "grown random": {"claimed": {"judge": LOSING}, "each": {"role/judge/entropy": UNSURE}},
    "capture": {"metrics": {**DOMINATED, "role/judge/accuracy": rising(0.7, 0.3)}},
    "amplified drift": {"metrics": DRIFTING, "test": [0.45, 0.6, 0.8, 0.85, 0.86, 0.7, 0.6, 0.85, 0.7], "seed": 2},
    "length takeover": {"metrics": {"role/judge/tokens": rising(10.0, 60.0)}},
    "echo": {"metrics": {"role/judge/echo": rising(0.1, 0.9)}},
    "rubber stamp": {"metrics": {"role/judge/false_approval": rising(0.4, 0.9)}},
    "over-rejection": {"metrics": {"role/judge/false_rejection": rising(0.4, 0.9)}},
    "selection blindness": {"test": [0.5] * 9, "oracle": 0.9},
    "voter collapse": {"metrics": {"role/voter/agreement": rising(0.9, 1.0), "episode/oracle": rising(0.8, 0.5)}},
    "entropy collapse": {"metrics": {"role/voter/entropy": [0.4] * 5 + [0.001] * (STEPS - 5)}},
    "lazy role": {"metrics": {"episode/helped": [0.002] * STEPS, "episode/hurt": [0.001] * STEPS}},
    "no signal": {"metrics": {f"role/{role}/without_signal": [0.97] * STEPS for role in CLAIMS}},
    "silent no-op": {"metrics": {"policy/all/change": [0.0] * STEPS}},
}
TOGETHER = {name: ["cliff", "fallen role"] for name in ("cliff", "fallen role")}
"""A team's fall is told by both."""
LATE = {name: made for name, made in PHENOMENA.items() if name != "no signal"}
PHENOMENA = {**EARLY_PHENOMENA, **PHENOMENA}


def test_a_healthy_run_shows_nothing():
    assert diagnose(history()) == []


def test_at_most_one_healthy_run_in_twenty_shows_any_sign_in_its_steps():
    """A thousand runs, every number of which is off by 15 % of its size in each step."""
    assert sum(bool(diagnose(history(test=[], seed=seed, noise=0.15))) for seed in range(1000)) <= 50


def test_every_signature_is_made_here():
    assert set(PHENOMENA) == set(SIGNATURES)


@pytest.mark.parametrize("name", PHENOMENA)
def test_what_was_made_is_named_and_nothing_else(name):
    found = diagnose(history(**PHENOMENA[name]))
    assert names(found) == TOGETHER.get(name, [name])
    for finding in found:
        assert finding.evidence
        assert 0 <= finding.steps[0] <= finding.steps[1] <= STEPS


@pytest.mark.parametrize(
    ("role", "entropy"),
    [
        ("voter", [0.4, 0.2, 0.1, 0.1, 0.1, 0.12, 0.14, 0.14, 0.14]),  # less certain than at its peak
        ("voter", [0.4, 0.4, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]),  # never certain
        ("voter", [0.4, 0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 0.5, 0.5]),  # random, not much more than the base
        ("judge", SURE),  # it only chooses among what others answer
    ],
)
def test_a_role_that_falls_otherwise_is_neither_certain_nor_random(role, entropy):
    assert diagnose(history(claimed={role: LOSING}, each={f"role/{role}/entropy": entropy})) == []


@pytest.mark.parametrize("entropy", [SURE, UNSURE])
def test_a_role_that_does_not_fall_is_neither_certain_and_wrong_nor_grown_random(entropy):
    for accuracy in (TEST, [0.5] * 9, [*FALL[:-3], 0.85, 0.85, 0.85]):
        assert diagnose(history(claimed={"voter": accuracy}, each={"role/voter/entropy": entropy})) == []


def begun(whole, steps, evaluations=2):
    return History(
        metrics=whole.metrics[:steps],
        evaluations=whole.evaluations[:evaluations],
        routing=whole.routing,
        claims=whole.claims,
    )


@pytest.mark.parametrize("name", LATE)
def test_a_run_that_has_just_begun_shows_nothing_that_takes_longer(name):
    whole = history(**LATE[name])
    assert diagnose(begun(whole, 4)) == []
    assert diagnose(begun(whole, 0, 0)) == []


def test_every_early_signature_is_made_here():
    assert set(EARLY_PHENOMENA) == set(EARLY)


@pytest.mark.parametrize("name", EARLY_PHENOMENA)
def test_what_does_not_work_shows_after_one_step(name):
    (found,) = diagnose(begun(history(**EARLY_PHENOMENA[name]), 1))
    assert found.signature == name
    assert found.evidence


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("failed episodes", {"episode/errors/overflow": 3.0}),
        ("failed episodes", {"episode/errors/calls": 3.0}),
        ("failed episodes", {"episode/errors/task": 1.0}),
        ("unjudged answers", {"episode/not_judged": 13.0}),
        ("cut-off replies", {"role/voter/truncated": 0.25}),
        ("unreadable replies", {"role/voter/unreadable": 0.5}),
        ("silent role", {"role/judge/calls": 0.0}),
    ],
)
def test_what_does_not_work_shows_in_the_evaluation_before_the_first_step(name, numbers):
    (found,) = diagnose(begun(history(evaluated=numbers), 0))
    assert (found.signature, found.steps) == (name, (0, 0))
    assert "evaluation" in found.evidence[0]


def test_failures_that_cannot_always_be_avoided_are_no_sign_while_they_are_rare():
    rare = {f"episode/errors/{kind}": 1.0 for kind in ("overflow", "calls", "timeout", "endpoint", "judge")}
    assert diagnose(history({name: [value] * STEPS for name, value in rare.items()}, evaluated=rare)) == []


def test_what_was_mended_is_no_sign_but_an_error_in_the_workflow_was_one():
    mended = {"role/judge/unreadable": [0.9] * 10 + [0.05] * 30, "episode/not_judged": [60.0] * 10 + [0.0] * 30}
    assert diagnose(history(mended)) == []
    (found,) = diagnose(history({"episode/errors/workflow": [1.0] + [0.0] * 39}, noise=0.0))
    assert found.evidence == ("episode/errors/workflow: 1 of 5120 episodes in steps 1 to 40",)


def test_a_reward_that_is_always_one_is_a_sign_only_if_it_was_so_from_the_start():
    solved = {"episode/score": [1.0] * STEPS, "episode/oracle": [1.0] * STEPS}
    assert names(diagnose(history(solved, test=[1.0] * 9))) == ["constant reward"]
    assert diagnose(history(solved, test=[0.9, *[1.0] * 8])) == []


def test_a_role_that_falls_silent_is_no_failure():
    later = {"role/judge/calls": [0.5] * 5 + [0.0] * 35, "role/judge/accuracy": [0.5] * 5 + [None] * 35}
    assert diagnose(history(later, evaluated={"role/judge/calls": 0.0})) == []


def test_of_a_run_that_does_not_know_how_often_a_role_was_called_nothing_is_said():
    unknown = {name: None for name in COUNTED if name.endswith("/calls")}
    assert diagnose(history(unknown)) == []


def once(first, later):
    """A number that was observed in the first step and in the 36th."""
    return [first, *[None] * 34, later, *[None] * (STEPS - 36)]


@pytest.mark.parametrize(
    ("name", "first", "later", "signature"),
    [
        ("tokens", 10.0, 40.0, "length takeover"),
        ("echo", 0.1, 0.9, "echo"),
        ("entropy", 0.3, 0.001, "entropy collapse"),
        ("false_approval", None, 0.9, "rubber stamp"),
        ("false_rejection", None, 0.9, "over-rejection"),
    ],
)
def test_what_few_calls_of_a_role_did_is_no_sign(name, first, later, signature):
    number = {f"role/judge/{name}": once(first, later), "role/judge/accuracy": [0.5] * STEPS}
    for calls, shown in ((1, []), (8, [signature])):
        rare = {"role/judge/calls": [calls / 128 if value is not None else 0.0 for value in once(1.0, 1.0)]}
        assert names(diagnose(history({**number, **rare}, noise=0.0))) == shown


@pytest.mark.parametrize(
    ("rate", "count", "signature"),
    [("false_approval", "judged_wrong", "rubber stamp"), ("false_rejection", "judged_right", "over-rejection")],
)
def test_a_rate_of_few_judged_answers_is_no_sign_however_many_were_judged_in_all(rate, count, signature):
    for answers, shown in ((7.0, []), (8.0, [signature])):
        counts = {f"role/judge/{count}": [0.0] * 35 + [answers] + [0.0] * (STEPS - 36)}
        run = history({f"role/judge/{rate}": once(None, 0.9), **counts}, noise=0.0)
        assert names(diagnose(run)) == shown


@pytest.mark.parametrize(
    "name", ["role/judge/tokens", "role/judge/form_code", "episode/helped", "role/voter/without_signal"]
)
def test_what_is_not_a_number_is_no_sign(name):
    values = HEALTHY.get(name, [0.1] * STEPS)
    assert diagnose(history({name: [*values[:30], math.nan, *values[31:]]})) == []


def test_two_calls_of_a_rare_role_are_too_few():
    rare = {"role/judge/unreadable": 1.0, "role/judge/calls": 1 / 256}
    assert diagnose(begun(history(evaluated=rare), 0)) == []


def test_groups_without_signal_are_counted_before_they_are_a_sign():
    few = {**EARLY_PHENOMENA["no signal"]["metrics"], "episode/tasks": [2.0] * STEPS}
    assert diagnose(begun(history(few, noise=0.0), 3)) == []
    assert names(diagnose(begun(history(few, noise=0.0), 4))) == ["no signal"]


def test_what_was_not_looked_for_says_what_it_needs():
    whole = history()
    lacking = examine(begun(whole, 1)).lacking
    assert (lacking["echo"], lacking["capture"], lacking["cliff"]) == (
        "10 training steps",
        "20 training steps",
        "4 evaluations",
    )
    assert not set(EARLY) & set(lacking)
    assert set(EARLY) <= set(examine(begun(whole, 0, 0)).lacking)
    assert examine(whole).lacking == {}


def test_what_is_found_says_where_and_how_much():
    (found,) = diagnose(history(**PHENOMENA["capture"]))
    assert found.where == "all by voter"
    assert found.evidence[0].startswith("gradient/all/dominance 0.9")
    assert found.evidence[0].endswith(", threshold 0.8")
    assert any(text.startswith("role/judge/accuracy fell 0.") for text in found.evidence)
    (found,) = diagnose(history(**PHENOMENA["rubber stamp"]))
    assert found.where == "judge"
    assert found.steps == (21, 40)


def test_dominance_without_a_victim_is_no_capture():
    assert diagnose(history(DOMINATED)) == []


@pytest.mark.parametrize("name", ["tokens", "unreadable"])
def test_a_victim_may_also_ramble_or_become_unreadable(name):
    worse = {"tokens": rising(20.0, 90.0), "unreadable": rising(0.02, 0.4)}[name]
    claims = {"voter": CLAIMS["voter"], "judge": frozenset({"answer"})}
    found = diagnose(history({**DOMINATED, f"role/judge/{name}": worse}, claims=claims))
    assert names(found) == ["capture"]


def test_a_policy_of_one_role_is_not_captured():
    renamed = {name.replace("/all/", "/voter/"): values for name, values in DOMINATED.items()}
    renamed |= {f"policy/{policy}/change": [0.05] * STEPS for policy in ISOLATED.policy_of}
    assert diagnose(history({**renamed, "role/judge/accuracy": rising(0.7, 0.3)}, routing=ISOLATED)) == []


def test_capture_is_seen_in_the_window_in_which_it_is():
    values = history({**DOMINATED, "role/judge/accuracy": [0.7] * 20 + [0.4] * 20})
    limits = Thresholds()
    assert captured(values, limits, "all", 20) is None
    assert captured(values, limits, "all", 40).steps == (21, 40)


def test_a_solved_task_has_little_signal_and_entropy_and_that_is_no_failure():
    solved = {
        "episode/score": [0.99] * STEPS,
        "role/voter/accuracy": [0.99] * STEPS,
        "role/judge/accuracy": [0.99] * STEPS,
        "role/voter/entropy": [0.4] * 5 + [0.001] * (STEPS - 5),
        **{f"role/{role}/without_signal": [0.97] * STEPS for role in CLAIMS},
        "episode/helped": [0.002] * STEPS,
        "episode/hurt": [0.001] * STEPS,
    }
    assert diagnose(history(solved, noise=0.0)) == []


def test_a_frozen_policy_is_no_silent_no_op():
    still = {"policy/all/change": None, "policy/all/in_loss": [0.0] * STEPS}
    assert diagnose(history(still)) == []


def test_a_policy_that_has_not_been_due_yet_is_no_silent_no_op():
    two = Routing({"voter": "first", "judge": "second"})
    turns = {"policy/first/change": [0.05] * STEPS, "policy/first/in_loss": [400.0] * STEPS}
    waiting = {"policy/second/in_loss": [0.0] * STEPS}
    assert diagnose(history({**turns, **waiting}, routing=two)) == []
    stuck = {"policy/second/in_loss": [0.0] * 30 + [100.0] * 10}
    assert names(diagnose(history({**turns, **stuck}, routing=two))) == ["silent no-op"]


def test_roles_that_take_turns_have_not_captured_their_policy():
    odd, even = ([float(step % 2 == parity) or None for step in range(1, STEPS + 1)] for parity in (1, 0))
    turns = {
        "gradient/all/dominance": [1.0] * STEPS,
        "gradient/all/voter/share": odd,
        "gradient/all/voter/alignment": odd,
        "gradient/all/judge/share": even,
        "gradient/all/judge/alignment": even,
        "role/judge/accuracy": rising(0.9, 0.3),
    }
    assert diagnose(history(turns)) == []


def test_drift_is_looked_for_before_the_drop_and_not_after_it():
    fall = [0.45, 0.6, 0.8, 0.85, 0.86, 0.7, 0.6, 0.85, 0.7]
    early = [0.95] * 26 + [0.3] * 14
    late = [0.3] * 26 + [0.95] * 14
    for values, found in ((early, ["amplified drift"]), (late, [])):
        series = {f"gradient/all/voter/{name}": values for name in ("coherence", "persistence")}
        assert names(diagnose(history(series, test=fall, seed=2))) == found


def test_a_run_that_still_rises_has_no_drift_before_a_fall():
    rises = [0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.8, 0.95]
    run = history(DRIFTING, test=rises)
    assert run.summary().drop.value > CLIFF_DROP  # that of evaluations before the peak
    assert diagnose(run) == []


@pytest.mark.parametrize(("step", "found"), [(19, False), (20, True), (40, True)])
def test_an_evaluation_of_long_ago_is_no_sign_any_more(step, found):
    run = history(test=[0.5], evaluated={"role/judge/unreadable": 0.7, "role/judge/truncated": 0.4})
    aged = replace(run, evaluations=[{**row, "step": step} for row in run.evaluations])
    assert names(diagnose(aged)) == (["cut-off replies", "unreadable replies"] if found else [])
    alone = replace(aged, metrics=[])
    assert names(diagnose(alone)) == ["cut-off replies", "unreadable replies"]


def test_a_planner_before_the_only_answer_is_not_lazy():
    idle = {"episode/helped": [0.0] * STEPS, "episode/hurt": [0.0] * STEPS}
    planned = {"voter": frozenset({"answer"}), "judge": frozenset({"proposal"})}
    assert diagnose(history(idle, claims=planned)) == []
    assert names(diagnose(history(idle))) == ["lazy role"]


def test_a_role_that_always_wrote_solutions_has_taken_nothing_over():
    grown = {"role/voter/tokens": rising(10.0, 60.0)}
    assert diagnose(history(grown)) == []
    assert names(diagnose(history(grown, claims={"voter": frozenset({"proposal"})}))) == ["length takeover"]


JUDGING = {"voter": frozenset({"answer"}), "judge": frozenset({"verdict"})}


def test_verdicts_that_become_code_are_a_takeover_however_short_they_are():
    code = {"role/judge/form_code": rising(0.1, 0.9), "role/judge/terse": rising(0.8, 0.1)}
    (found,) = diagnose(history(code, claims=JUDGING, noise=0.0))
    assert (found.signature, found.where) == ("length takeover", "judge")
    assert found.evidence == (
        "role/judge/form_code went from 0.14 to 0.71, thresholds 0.5 and a rise of 0.2",
        "role/judge/terse went from 0.764 to 0.271 (replies of at most 30 tokens)",
    )
    assert diagnose(history(code)) != []
    assert diagnose(history(code, claims={"judge": frozenset({"answer"})})) == []
    assert diagnose(history({"role/judge/form_code": rising(0.5, 0.6)}, claims=JUDGING)) == []
    assert diagnose(history({"role/judge/form_code": rising(0.0, 0.4)}, claims=JUDGING)) == []


@pytest.mark.parametrize(
    ("name", "role", "metric"),
    [
        ("length takeover", "judge", "tokens_p95"),
        ("length takeover", "judge", "hedging"),
        ("rubber stamp", "judge", "form_stamp"),
        ("voter collapse", "voter", "similarity"),
        ("echo", "judge", "tokens_median"),
    ],
)
def test_the_shape_of_replies_is_evidence_where_it_was_recorded(name, role, metric):
    made = PHENOMENA[name]
    (bare,) = diagnose(history(**made, noise=0.0))
    shaped = {**made["metrics"], f"role/{role}/{metric}": rising(0.0, 39.0)}
    (found,) = diagnose(history(shaped, noise=0.0))
    assert not any(metric in text for text in bare.evidence)
    (added,) = set(found.evidence) - set(bare.evidence)
    assert added.startswith(f"role/{role}/{metric} went from ")


ANSWERED_AGAIN = {
    "role/judge/judged_right": [30.0] * STEPS,
    "role/judge/judged_wrong": [70.0] * STEPS,
    "role/voter/recovered": [0.1] * 5 + [0.3] * (STEPS - 5),
    "role/voter/spoiled": [0.9] * 5 + [0.1] * (STEPS - 5),
}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (
            "rubber stamp",
            "in the first steps answering again made 10% of the wrong answers of voter right and 90% of the right ones"
            " wrong: for the team, a rejection pays where an answer is right with a probability below 10%; of those"
            " that were judged 30% were",
        ),
        (
            "over-rejection",
            "in the last steps answering again made 30% of the wrong answers of voter right and 10% of the right ones"
            " wrong: for the team, a rejection pays where an answer is right with a probability below 75%; of those"
            " that were judged 30% were",
        ),
    ],
)
def test_the_worth_of_rejections_is_evidence_where_answers_are_sent_back(name, shown):
    """By hand: 0.1 / (0.1 + 0.9), and 0.3 / (0.3 + 0.1)."""
    made = PHENOMENA[name]
    (bare,) = diagnose(history(**made, noise=0.0))
    (found,) = diagnose(history({**made["metrics"], **ANSWERED_AGAIN}, noise=0.0))
    assert set(found.evidence) - set(bare.evidence) == {shown}


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"recovered": 0.0, "spoiled": 0.0}, "for the team, a rejection changes nothing"),
        ({"recovered": 0.0}, "right with a probability below 0%; of those"),
        ({"spoiled": 0.0}, "right with a probability below 100%; of those"),
        ({"judged_right": None, "judged_wrong": None}, "right with a probability below 10%"),
        ({"recovered": None}, None),
    ],
)
def test_the_worth_of_rejections_at_the_edges(changed, shown):
    role = {"recovered": "voter", "spoiled": "voter", "judged_right": "judge", "judged_wrong": "judge"}
    values = {f"role/{role[name]}/{name}": [value] * STEPS for name, value in changed.items()}
    numbers = {**PHENOMENA["rubber stamp"]["metrics"], **ANSWERED_AGAIN, **values}
    (found,) = diagnose(history(numbers, noise=0.0))
    lines = [text for text in found.evidence if "answering again" in text]
    assert [shown in text for text in lines] == ([True] if shown else [])


@pytest.mark.parametrize(("recovered", "spoiled"), [(0.1, 0.9), (0.5, 0.2), (0.0, 0.3), (0.4, 0.0)])
def test_where_a_rejection_pays_against_all_probabilities(recovered, spoiled):
    """Rejected answers played out: below the limit the team is right more often, above it less."""
    limit = pays_below(recovered, spoiled)
    for right in (step / 100 + 0.005 for step in range(100)):
        after_a_rejection = right * (1.0 - spoiled) + (1.0 - right) * recovered
        assert (after_a_rejection > right) == (right < limit)


def test_a_gap_that_shrinks_is_no_blindness():
    assert diagnose(history(test=[0.3, 0.3, 0.35, 0.5, 0.6, 0.65, 0.7, 0.7, 0.7], oracle=0.9)) == []


def test_thresholds_can_be_set():
    approving = history({"role/judge/false_approval": [0.3] * STEPS})
    assert diagnose(approving) == []
    assert names(diagnose(approving, Thresholds(false_approval=0.25))) == ["rubber stamp"]


def test_the_fall_from_the_best_window_by_hand():
    accuracy = {"role/judge/accuracy": [0.2] * 10 + [0.7, 0.9] * 5 + [0.5] * 20}
    series = history(accuracy, noise=0.0).series("role/judge/accuracy")
    fall = fall_from_the_best(series, 10)
    assert fall.amount == pytest.approx(0.3)
    assert fall.error == pytest.approx(math.sqrt(0.1**2 / 10))
    assert fall.counts(Thresholds())
    assert not fall.counts(Thresholds(errors=10.0))
    assert not fall.counts(Thresholds(decline=0.31))
    assert fall_from_the_best(series.between(1, 20), 10).amount == pytest.approx(0.0)
    assert fall_from_the_best(series.between(1, 5), 10) == (0.0, 0.0)


def test_at_most_one_dominated_but_healthy_run_in_twenty_is_called_captured():
    """The other role is as good as ever: 16 tasks of one difficulty each, 8 rollouts, in every step other ones."""
    source = np.random.default_rng(0)
    limits, called = Thresholds(), 0
    for _ in range(200):
        difficulty = source.beta(1.5, 1.0, size=(100, 16))
        accuracy = (source.binomial(8, difficulty) / 8).mean(axis=1)
        series = Series(tuple(range(1, 101)), tuple(accuracy.tolist()))
        called += any(fall_from_the_best(series.between(1, end), 20).counts(limits) for end in range(20, 101))
    assert called <= 10


def curves(source):
    """Healthy courses of accuracy: flat, rising, rising and then flat, with a late start."""
    low, high = sorted(source.uniform(0.0, 1.0, 2))
    level = source.choice([source.uniform(0.0, 1.0), source.uniform(0.0, 0.1)])
    ramp = np.linspace(low, high, 15)
    return (
        np.full(30, level),
        np.linspace(low, high, 30),
        np.r_[ramp, np.full(15, high)],
        np.r_[np.full(15, low), ramp],
    )


@pytest.mark.slow
def test_at_most_one_healthy_run_in_twenty_ends_in_a_cliff():
    source = np.random.default_rng(0)
    cliffs = runs = 0
    while runs < 1000:
        for curve in curves(source):
            tasks = int(source.choice([16, 64, 256]))
            validation = source.binomial(tasks, curve) / tasks
            cliffs += ends_in_a_cliff(validation, source.binomial(TASKS, curve), source)
            runs += 1
    assert cliffs <= 50


def ends_in_a_cliff(validation, right, source):
    """Whether the outcome of a run says so; which of the tasks are right is left to chance."""
    if max(right) - fmean(right[-3:]) < CLIFF_DROP * TASKS:
        return False  # whatever the peak is, and without the work of an interval
    rows = []
    for step, (accuracy, count) in enumerate(zip(validation, right, strict=True)):
        values = source.permutation(np.r_[np.ones(int(count)), np.zeros(TASKS - int(count))])
        outcomes = {str(task): [float(value)] for task, value in enumerate(values)}
        for split, found in (("validation", float(accuracy)), ("test", count / TASKS)):
            rows.append(
                {"step": step, "split": split, "accuracy": found, "outcomes": outcomes, "roles": {}, "numbers": {}}
            )
    return summarize(rows).cliff


def test_every_kind_of_error_is_looked_for():
    assert {*failed_episodes.BUGS, *failed_episodes.LIMITS} == set(get_args(ErrorKind))


def without(found, name, steps):
    """The history without a number in the evaluations of these steps."""
    rows = []
    for row in found.evaluations:
        kept = {key: value for key, value in row["numbers"].items() if key != name or row["step"] not in steps}
        rows.append({**row, "numbers": kept})
    return replace(found, evaluations=rows)


@pytest.mark.parametrize("lacking", [range(0, 100), range(0, 40), (5, 20)])
def test_evaluations_without_the_best_answer_are_left_out_of_the_gap(lacking):
    run = without(history(test=[0.55] * 4 + [0.45] * 5, oracle=0.9), "episode/oracle", lacking)
    found = [one for one in diagnose(run) if one.signature == "selection blindness"]
    assert [one.steps for one in found] == ([(30, 40)] if len(lacking) == 2 else [])


def test_an_evaluation_after_a_roll_back_does_not_say_how_certain_a_role_had_become():
    entropy = [*SURE[:6], 0.14, 0.14, 0.14]
    run = history(claimed={"voter": LOSING}, each={"role/voter/entropy": entropy})
    (row,) = [row for row in run.evaluations if row["step"] == 20 and row["split"] == "test"]
    back = {**row, "step": 43, "rolled_back": True, "numbers": {**row["numbers"], "role/voter/entropy": 0.01}}
    assert diagnose(run) == []
    assert diagnose(replace(run, evaluations=[*run.evaluations, back])) == []
