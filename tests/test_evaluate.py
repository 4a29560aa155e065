"""What evaluations keep of every answer, and two runs compared on the same tasks."""

import json
import os
import subprocess
import sys

import pytest
from command_line import command_line
from conftest import micro_run
from facts import make_call, make_episode, make_group, vote

from counterpoint.analysis.intervals import paired_interval
from counterpoint.analysis.passes import Attempt, majority_at, pass_at
from counterpoint.cli.main import main
from counterpoint.episode import Answer, CallKey, Choice, Unreadable, Verdict
from counterpoint.evaluation import count

TASK = {"name": "arithmetic", "train": 64, "validation": 4, "test": 12}


def test_the_teams_attempts_are_its_judged_episodes_and_failures_have_no_answer():
    group = make_group(
        make_episode(answer="2", reward=1.0),
        make_episode(answer="3", reward=0.5),  # partly right is not right
        make_episode(answer="4", reward=None),  # not judged: nothing is known
        make_episode(answer=None, error="gone"),
    )
    found = count([group], "test")
    assert found.attempts == {"t": [Attempt("2", True), Attempt("3", False), Attempt(None, False)]}
    assert found.outcomes == {"t": [1.0, 0.5, 0.0]}
    assert found.role_attempts == {}


def test_a_role_attempts_in_its_first_turn_whatever_it_says_later():
    first = make_call("generator", 0, 0, claim=Answer("3"), score=0.0)
    verdict = make_call("evaluator", 0, 0, claim=Verdict(first.key, False), score=1.0)
    second = make_call("generator", 0, 1, claim=Answer("2"), score=1.0)
    unread = make_call("generator", 0, 0, claim=Unreadable("no box"), score=0.0)
    unjudged = make_call("generator", 0, 0, claim=Answer("5"), score=None)
    group = make_group(make_episode(first, verdict, second), make_episode(unread), make_episode(unjudged))
    found = count([group], "test")
    assert found.role_attempts == {"generator": {"t": [Attempt("3", False), Attempt(None, False)]}}


def test_every_parallel_answer_is_an_attempt_and_a_choice_is_none():
    group = make_group(vote([("2", 1.0), ("3", 0.0), ("2", 1.0)], 0), vote([("4", 0.0), ("2", 1.0), ("5", 0.0)], 2))
    found = count([group], "test")
    assert [one.answer for one in found.role_attempts["generator"]["t"]] == ["2", "3", "2", "4", "2", "5"]
    assert list(found.role_attempts) == ["generator"]
    assert isinstance(group.episodes[0].calls[-1].claim, Choice)
    assert group.episodes[0].calls[-1].key == CallKey("aggregator", 0, 0)


def test_a_line_of_a_runs_evaluations_is_without_the_answers():
    found = count([make_group(vote([("2", 1.0), ("3", 0.0)], 0))], "test")
    assert set(found.row(3)) == {"step", "accuracy", "split", "outcomes", "roles", "numbers", "controls"}
    answers = found.answers()
    assert answers["roles"]["generator"] == {"t": [{"answer": "2", "right": True}, {"answer": "3", "right": False}]}
    assert json.loads(json.dumps(answers)) == answers


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the same tasks that share nothing else."""
    folder = tmp_path_factory.mktemp("evaluate")
    policies = {"sharing": "isolated", "learning_rate": 0.02}
    micro_run(folder / "one", task=TASK, policies=policies)
    micro_run(folder / "other", task=TASK, workflow="single", run={"steps": 1, "threads": 1, "seed": 5})
    return folder


def evaluated(folder, *options):
    done = command_line("evaluate", "one", *options, "--out", "found.json", folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "found.json").read_text())


def attempts_of(answers):
    return [[Attempt(**one) for one in made] for made in answers.values()]


def test_several_samples_are_worth_what_their_answers_say(runs):
    printed, found = evaluated(runs, "--samples", "4")
    assert [len(made) for made in found["outcomes"].values()] == [4] * 12
    made = {
        "team": attempts_of(found["answers"]["team"]),
        "generator": attempts_of(found["answers"]["roles"]["generator"]),
    }
    assert [len(one) for one in made["generator"]] == [12] * 12  # four episodes of three voters
    worth = {"team": found["passes"]["team"], **found["passes"]["roles"]}
    assert list(worth) == ["team", "generator"]
    for who, attempts in made.items():
        for k in (1, 2, 4):
            passed = [pass_at(len(one), sum(each.right for each in one), k) for one in attempts]
            most = [majority_at(one, k) for one in attempts]
            assert worth[who]["pass"][str(k)]["value"] == pytest.approx(sum(passed) / 12)
            assert worth[who]["majority"][str(k)]["value"] == pytest.approx(sum(most) / 12)
    assert worth["team"]["pass"]["1"]["value"] == pytest.approx(found["accuracy"])
    assert "team: k answers a task, %, with 95 % intervals" in printed
    assert "generator: k answers a task, %, with 95 % intervals" in printed


def test_two_runs_are_compared_task_by_task(runs):
    printed, found = evaluated(runs, "--against", "other")
    one, other = found["run"], found["against other"]
    assert (one["step"], other["step"]) == (2, 1)
    assert list(one["outcomes"]) == list(other["outcomes"])
    differences = [value - other["outcomes"][task][0] for task, (value,) in one["outcomes"].items()]
    assert other["difference"]["value"] == pytest.approx(sum(differences) / 12)
    assert other["difference"]["n"] == 12
    assert 0.0 < other["difference"]["p_value"] <= 1.0
    assert "k answers a task" not in printed
    assert "this run minus other: points, paired by task" in printed
    assert other["difference"]["of"] == "this run minus other"


def test_every_role_is_compared_and_has_an_interval(runs):
    printed, found = evaluated(runs, "--against", "other")
    one, other = found["run"]["roles"]["generator"], found["against other"]["roles"]["generator"]
    means = [sum(one[task]) / len(one[task]) - sum(other[task]) / len(other[task]) for task in one]
    (role, generator), *others = found["against other"]["difference"]["roles"].items()
    assert (role, others) == ("generator", [])  # a single call has no aggregator
    assert generator == {**paired_interval(means)._asdict(), "p_value": generator["p_value"]}
    shown = printed.split("this run minus other")[1]
    assert [line.split()[0] for line in shown.splitlines() if "[" in line] == ["team", "generator"]


def test_a_run_against_itself_differs_in_nothing_as_far_as_its_tasks_can_tell(runs):
    printed, found = evaluated(runs, "--against", "one")
    both = {name: found["against one"]["difference"][name] for name in ("value", "low", "high", "n", "p_value")}
    assert both == {**paired_interval([0.0] * 12)._asdict(), "p_value": 1.0}
    assert "+0.0 [-19.8, 19.8]" in printed


@pytest.mark.slow
def test_the_file_is_written_though_nobody_reads_what_is_printed(runs):
    command = [sys.executable, "-m", "counterpoint", "evaluate", "one", "--solo", "--out", "unread.json"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, cwd=runs, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    os.close(writer)
    assert done.returncode == 0, done.stderr
    assert "generator alone" in json.loads((runs / "unread.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "third"], "third has other test tasks than this run: the two cannot be compared"),
        (["--against", "nowhere"], "nowhere is not a run directory"),
        (["--against", "other", "--step", "2"], "other has no checkpoint of step 2; there are: 0, 1"),
        (["--against", "other", "--ablate", "generator"], "at most one control is allowed: swap, ablate, solo"),
        (["--against", "other", "--split", "tset"], "unknown split 'tset'; did you mean 'test'?"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(runs, monkeypatch, capsys, arguments, message):
    if "third" in arguments and not (runs / "third").exists():
        micro_run(runs / "third", task={**TASK, "seed": 1}, run={"steps": 1, "threads": 1})
    monkeypatch.chdir(runs)
    monkeypatch.setattr(sys, "argv", ["counterpoint", "evaluate", "one", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_evaluates_without_polars_and_without_scipy_optimize():
    """Neither is needed to generate, and together they would take a process some 60 MB."""
    program = (
        "import sys\nfrom counterpoint.cli.main import main\n"
        "sys.argv = ['counterpoint', 'evaluate', 'micro-small', 'task.test=1', 'rollout.max_tokens=4']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('imported:', sorted({'polars', 'scipy.optimize', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["imported: []"], done.stderr
