"""`counterpoint show`: episodes of training, of evaluations and of files, with the right answer and every error."""

import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
from command_line import command_line
from facts import make_call, make_credit, make_episode, make_group, vote

from counterpoint.cli.out import Terminal
from counterpoint.cli.transcript import print_episode
from counterpoint.episode import Answer, Group, Unreadable, write_episodes
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.task import not_judged

FRAMES = '  ... 2 frames in counterpoint\n  File "team.py", line 12, in team\n    return roles["odd"]'


@pytest.fixture
def run(tmp_path):
    """A run of one step with an episode of each kind of error."""
    failed = replace(make_episode(make_call(), error="KeyError: 'odd'", answer=None), traceback=FRAMES)
    groups = [
        make_group(replace(failed, error_kind="workflow"), replace(failed, rollout=1, error_kind="task")),
        make_group(replace(failed, task="u", error_kind="overflow"), make_episode(make_call(), task="u", rollout=1)),
        make_group(
            replace(
                make_episode(make_call(), task="v"),
                score=not_judged("the judge raised ValueError: hm (mine.py:7)"),
                error_kind="judge",
                traceback='  File "mine.py", line 7, in judge\n    raise ValueError("hm")',
            )
        ),
    ]
    made = Run.create(tmp_path / "run", config_from({"workflow": "single"}), {})
    made.add_episodes(1, groups)
    made.close()
    return made


@pytest.fixture
def evaluated(tmp_path):
    """A voting run whose validation accuracy peaks at step 1 of 3; each evaluation has one episode."""
    facts = {"routing": {"generator": "g", "aggregator": "a", "tie_breaker": "a"}}
    with Run.create(tmp_path / "voting", config_from({"workflow": "voting"}), facts) as made:
        for step, accuracy in ((0, 0.0), (1, 1.0), (2, 1.0), (3, 0.0)):
            for split in ("validation", "test"):
                one = replace(vote([("4", 1.0), ("5", 0.0)], 1), key="4", task=f"{split}-at-{step}")
                row = {"step": step, "split": split, "accuracy": accuracy, "outcomes": {}, "roles": {}}
                numbers = {"episode/score": accuracy, "episode/oracle": 1.0, "role/generator/calls": 2.0}
                made.add_evaluation({**row, "numbers": numbers}, [make_group(one)])
    return made


def shown(target, *options):
    path = target.path if isinstance(target, Run) else target
    done = command_line("show", path, "--limit", "100", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(target, *options):
    done = command_line("show", target.path if isinstance(target, Run) else target, *options)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_failed_episode_is_shown_with_its_traceback(run):
    printed = shown(run, "--outcome", "failed")
    assert printed.count(f"FAILED (workflow): KeyError: 'odd'\n{FRAMES}\n") == 1
    assert "FAILED (task): KeyError: 'odd'" in printed
    assert "FAILED (workflow: a prompt is too long): KeyError: 'odd'" in printed
    assert "step 1: 3 episodes match, 3 shown" in printed


def test_an_episode_whose_judge_raised_is_shown_with_its_traceback(run):
    printed = shown(run)
    assert 'NOT JUDGED: the judge raised ValueError: hm (mine.py:7)\n  File "mine.py", line 7, in judge\n' in printed


def test_a_run_of_format_3_is_shown_as_before(run):
    path = run.path / "episodes" / "000001.parquet"
    three = pl.lit(3, dtype=pl.Int32).alias("schema")
    pl.read_parquet(path).with_columns(three).drop("traceback", "key", "split").write_parquet(path)
    printed = shown(run, "--outcome", "failed")
    assert "FAILED (workflow): KeyError: 'odd'" in printed
    assert "File" not in printed
    assert "right answer" not in printed


def test_the_right_answer_stands_beside_the_answer_of_the_team(evaluated):
    printed = shown(evaluated, "--evaluation")
    assert "problem        What is 1 + 1?\nright answer   4\nteam's answer  2\nverdict        reward 0\n" in printed


def test_an_evaluation_is_shown_at_a_step_the_base_the_peak_or_the_last(evaluated):
    for options, title in {
        ("--evaluation",): "test evaluation at step 3",
        ("--evaluation", "--step", "last"): "test evaluation at step 3",
        ("--evaluation", "--step", "peak"): "test evaluation at step 1",
        ("--evaluation", "--step", "best"): "test evaluation at step 1",
        ("--split", "validation", "--step", "base"): "validation evaluation at step 0",
        ("--split", "test", "--step", "0"): "test evaluation at step 0",
    }.items():
        printed = shown(evaluated, *options)
        split, _, step = title.split()[0], *title.split()[-2:]
        assert printed.startswith(f"{title}: 1 episode matches, 1 shown\nteam: accuracy ")
        assert f"{split}-at-{step}, rollout 0" in printed
        assert "credit" not in printed


def test_a_role_that_was_not_called_is_named_and_a_role_can_be_looked_at_alone(evaluated):
    printed = shown(evaluated, "--evaluation")
    assert "\nnot called: tie_breaker\n" in printed
    only = shown(evaluated, "--evaluation", "--role", "aggregator")
    assert "aggregator, slot 0" in only
    assert "\ngenerator, slot 0, turn 0  [" not in only
    assert "not called: tie_breaker" in only
    assert "0 episodes match, 0 shown" in shown(evaluated, "--evaluation", "--role", "tie_breaker")


def test_outcomes_of_calls_are_found_in_any_role_or_in_one(tmp_path):
    cut = make_call("generator", finish="length", claim=Unreadable("no answer"), score=0.0)
    fine = make_call("aggregator", claim=Answer("2"), score=1.0)
    half = make_episode(fine, task="half", reward=0.5)
    file = tmp_path / "some.parquet"
    write_episodes(file, 0, [make_group(make_episode(cut, fine, task="cut")), make_group(half)], "test")
    for outcome, found in {"unreadable": "cut", "truncated": "cut", "partial": "half", "right": "cut"}.items():
        printed = shown(file, "--outcome", outcome, "--brief")
        assert printed.startswith(f"{file}: 1 episode matches, 1 shown\n{found}, rollout 0 | ")
    assert "0 episodes match" in shown(file, "--outcome", "unreadable", "--role", "aggregator")
    assert "1 episode matches" in shown(file, "--outcome", "truncated", "--role", "generator")
    assert "cut off at the token limit" in shown(file, "--task", "cut")


def test_a_brief_line_holds_both_answers_the_verdict_and_what_went_wrong(tmp_path):
    cut = make_call(finish="length", claim=Unreadable("no answer"), score=0.0)
    long = replace(make_episode(cut, make_call(), answer="x" * 50, reward=0.0), key="4\n5")
    write_episodes(tmp_path / "one.parquet", 0, [make_group(long)])
    line = shown(tmp_path / "one.parquet", "--brief").splitlines()[1]
    assert line == (
        f"t, rollout 0 | right answer 4 5 | team's answer {'x' * 40}... | reward 0 | 2 calls | 1 unreadable |"
        " 1 truncated"
    )


def test_lines_stay_whole_where_there_is_no_terminal(tmp_path):
    text = "word " * 60 + "end\n\nlast"
    write_episodes(tmp_path / "one.parquet", 0, [make_group(make_episode(make_call(text=text)))])
    assert f"  {'word ' * 60}end\n\n  last\n" in shown(tmp_path / "one.parquet")


@pytest.mark.parametrize("task", ["sums[train]", "sums[/test]", "sums :100: [b]"])
def test_the_name_of_a_task_is_shown_as_it_is(task, capsys):
    console = Terminal()
    print_episode(console, make_episode(make_call(), task=task), None, [])
    console.print(f"runs/{task}", soft_wrap=True)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{task}, rollout 0 ")
    assert printed.endswith(f"runs/{task}\n")


def test_an_episode_that_one_role_played_alone_takes_nobodys_credit(run):
    """Its call has the role, slot and turn of the team's."""
    episode = make_episode(make_call(claim=Answer("2")))
    run.add_episodes(2, [Group(task="t", episodes=(episode,), solos=(episode,))])
    run.add_samples(2, [make_credit(0.25).sample(0.5).row()])
    assert shown(run).count("reward 0.25, advantage +0.500") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--step", "peek"), "--step 'peek' is neither the number of a step nor one of: base, peak, best, last"),
        (("--step", "7"), "has no episodes of step 7; there are: 1"),
        (("--outcome", "fialed"), "unknown --outcome 'fialed'; did you mean 'failed'?"),
        (("--split", "tset"), "unknown --split 'tset'; did you mean 'test'?"),
        (("--role", "generatr"), "unknown --role 'generatr'; did you mean 'generator'?"),
        (("--task", "w"), "step 1: no task begins with --task 'w'; the first tasks are: t, u, v"),
        (("--step", "peak"), "has no peak yet: it was never evaluated"),
        (("--evaluation",), "has no episodes of test evaluations; `counterpoint evaluate"),
    ],
)
def test_what_cannot_be_shown_is_one_line_that_says_what_can(run, options, message):
    assert message in refused(run, *options)


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("all of it")
    assert "notes.txt cannot be read as episodes" in refused(tmp_path / "notes.txt")
    write_episodes(tmp_path / "some.parquet", 0, [make_group(make_episode())])
    assert "some.parquet is a file of episodes" in refused(tmp_path / "some.parquet", "--step", "1")


def test_show_loads_no_engine(run):
    program = "import atexit, sys; atexit.register(lambda: print(sorted({'torch', 'transformers'} & set(sys.modules))))"
    program += "; from counterpoint.cli.main import main; main()"
    for options, status in (("--brief",), 0), (("--outcome", "none"), 2):
        command = [sys.executable, "-c", program, "show", str(run.path), *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status
        assert done.stdout.endswith("[]\n")
