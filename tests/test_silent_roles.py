"""A role that is called under a condition, and one day no longer: training, evaluation and everything after go on."""

import json
import re
import shutil
from asyncio import gather
from functools import cache
from io import StringIO

import pytest
from command_line import command_line
from rich.console import Console
from torch_build import session_folder, sing, start, trained

from counterpoint.analysis.history import history_of
from counterpoint.analysis.signatures import diagnose
from counterpoint.analysis.summary import Summary
from counterpoint.cli.tables import print_outcome
from counterpoint.plan.plan import plan
from counterpoint.run import Run
from counterpoint.task import Problem
from counterpoint.workflows.base import Part, Role, workflow

AGREED = 3
"""The step from which nobody disagrees."""
LOUD = {"are": True}
"""Whether the sopranos may disagree."""
TABLE = {
    "workflow": {"name": "test_silent_roles:quarrel"},
    "task": {"validation": 6, "test": 6},
    "evaluation": {"every": 1},
    "interventions": [
        {"name": "balance", "shares": {"soprano": 2.0, "judge": 1.0}},
        {"name": "equal_calls", "weight": 0.5},
        {"name": "damp_coherence"},
        {"name": "limit_amplification"},
        {"name": "project_conflicts"},
        {"name": "role_rates", "rates": {"judge": 0.5}},
        {"name": "anchor_roles", "weights": {"judge": 0.01}},
        {"name": "entropy_floor"},
    ],
    "run": {"steps": 5, "save_every": 1},
}
SHARINGS = pytest.mark.parametrize("sharing", ["shared", "isolated"])


@workflow(cast=lambda options: {"soprano": Part(slots=2)})
async def quarrel(problem: Problem, *, soprano: Role, judge: Role) -> str | None:
    """Two sopranos sing; the judge is asked where they disagree."""
    songs = await gather(sing(soprano, problem), sing(soprano, problem))
    if not LOUD["are"] or songs[0].answer == songs[1].answer:
        return songs[0].answer
    return (await sing(judge, problem)).answer


def until_they_agree(step, numbers):
    LOUD["are"] = step < AGREED - 1


def on_with(run):
    LOUD["are"] = not run.checkpoints() or run.checkpoints()[-1] < AGREED - 1
    return trained(run, watch=until_they_agree)


@cache
def finished(sharing):
    path = session_folder() / f"quarrel-{sharing}"
    return on_with(start(path, {**TABLE, "policies": {"sharing": sharing}}))


@SHARINGS
def test_training_goes_on_when_nobody_disagrees_any_more(sharing):
    run = finished(sharing)
    calls = [row["role/judge/calls"] for row in run.metric_rows()]
    assert min(calls[: AGREED - 1]) > 0.0
    assert calls[AGREED - 1 :] == [0.0] * (5 - AGREED + 1)
    for row in run.metric_rows()[AGREED - 1 :]:
        assert {name for name in row if name.startswith("role/judge/")} == {"role/judge/calls"}
        assert {name for name in row if re.match(r"(gradient|loss)/\w+/judge/", name)} == set()
        assert row["policy/shared/trained" if sharing == "shared" else "policy/soprano/trained"] == 1.0
    for row in run.evaluation_rows():
        silent = row["step"] >= AGREED - 1
        assert (row["numbers"]["role/judge/calls"] == 0.0) == silent
        assert ("judge" in row["roles"]) == (not silent)


def test_a_policy_without_calls_keeps_its_weights():
    run = finished("isolated")
    digests = [run.checkpoint_state(step)["digests"]["judge"] for step in run.checkpoints()]
    assert len(set(digests[:AGREED])) > 1
    assert len(set(digests[AGREED - 1 :])) == 1
    assert [row["policy/judge/trained"] for row in run.metric_rows()[AGREED - 1 :]] == [0.0] * 3


@SHARINGS
@pytest.mark.parametrize("step", [1, 3])
def test_a_run_in_which_a_role_falls_silent_is_resumed(sharing, step, tmp_path):
    whole, path = finished(sharing), tmp_path / "run"
    shutil.copytree(whole.path, path)
    for later in range(step + 1, 6):
        shutil.rmtree(path / "checkpoints" / f"{later:06d}")
    again = on_with(Run.open(path))
    for rows in ("metric_rows", "evaluation_rows"):
        one, other = (
            [
                {name: value for name, value in row.items() if not name.startswith("time/")}
                for row in getattr(run, rows)()
            ]
            for run in (whole, again)
        )
        assert one == other
    assert whole.checkpoint_state(5)["digests"] == again.checkpoint_state(5)["digests"]


@SHARINGS
def test_the_summary_says_what_is_known_of_a_role_that_fell_silent(sharing):
    run = finished(sharing)
    judge = run.summary.roles["judge"]
    assert judge.base.n < 6
    assert (judge.terminal, judge.drop) == (None, None)
    assert run.summary.behaviour["role/judge/calls"].terminal == pytest.approx(0.0)
    assert Summary.from_dict(json.loads((run.path / "summary.json").read_text())) == run.summary


def test_the_summary_is_printed_with_the_tasks_on_which_the_role_was_called():
    console = Console(file=StringIO(), width=200)
    found = finished("isolated").summary
    print_outcome(console, found)
    printed = console.file.getvalue()
    there = [0 if part is None else part.n for part in (found.roles["judge"].base, found.roles["judge"].peak)]
    assert (
        f"judge: on the tasks on which it was called and judged: base {there[0]}, peak {there[1]}, terminal 0"
        in printed
    )
    assert re.search(r"terminal .* -\s*$", printed, flags=re.MULTILINE)


def test_falling_silent_is_no_sign_of_failure():
    assert "silent role" not in {finding.signature for finding in diagnose(history_of(finished("isolated")))}


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "--limit", "1"),
        ("diagnose",),
        ("evaluate",),
        ("evaluate", "--solo"),
        ("evaluate", "--ablate", "judge"),
        ("evaluate", "--swap", "judge,soprano"),
        ("export", "--policy", "judge", "--out", "judge"),
    ],
    ids=" ".join,
)
def test_every_command_reads_a_run_in_which_a_role_fell_silent(arguments, tmp_path):
    command, *options = arguments
    LOUD["are"] = False
    done = command_line(command, finished("isolated").path, *options, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    if arguments == ("evaluate",):
        assert re.search(r"judge +- +- +- +- +0\.00", done.stdout)
    if command == "export":
        (line,) = [
            one for one in (tmp_path / "judge" / "README.md").read_text().splitlines() if one.startswith("| judge")
        ]
        assert line.split("|")[-2].strip() == "-"


def test_a_role_that_the_rehearsal_reaches_counts_in_the_plan(tmp_path):
    config = start(tmp_path / "run", {**TABLE, "workflow": {"name": "tie_break"}, "interventions": []}).config
    planned = plan(config)
    assert [call.key.role for call in planned.rehearsal.calls] == ["solver", "solver", "arbiter"]
    assert planned.not_called == ()


def test_a_plan_says_which_role_its_replies_did_not_lead_to(tmp_path):
    LOUD["are"] = False
    planned = plan(start(tmp_path / "run", TABLE).config)
    assert planned.not_called == ("judge",)
    assert any("without judge, which the scripted replies" in line for line in planned.lines())
