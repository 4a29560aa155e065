"""`counterpoint evaluate` prints the first error, keeps the episodes that it played, and writes what it found."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from facts import make_call, make_episode, make_group, make_problem, make_task
from rich.console import Console

from counterpoint.cli import evaluate
from counterpoint.cli.evaluated import check_episodes, keep_episodes, print_first_failure, tell_episodes
from counterpoint.controlled import Ask, Control, Row
from counterpoint.episode import read_episodes, without_logprobs
from counterpoint.errors import ConfigError, RunError
from counterpoint.evaluation import count
from counterpoint.experiments.cells import Measure
from counterpoint.experiments.jobs import Evaluation
from counterpoint.files import partial_of
from counterpoint.task import LONGEST_RECORDED, Task, not_judged

FAILED = replace(
    make_episode(make_call(), error="KeyError: 'odd'", rollout=1),
    error_kind="workflow",
    traceback='  File "team.py", line 12, in team',
)
UNJUDGED = replace(make_episode(make_call(), task="u"), score=not_judged("the judge raised (mine.py:7)"))
GOOD = make_group(make_episode(make_call()))
LOST = [make_group(make_episode(make_call()), FAILED), make_group(UNJUDGED, make_episode(task="u", rollout=1))]


def rows(*named):
    return [Row(name=name, step=3, evaluation=count(groups, "test")) for name, groups in named]


def printed(act):
    console = Console(highlight=False, width=300)
    with console.capture() as caught:
        act(console)
    return caught.get()


def test_the_first_failed_episode_and_the_first_unjudged_one_are_printed_with_file_and_line():
    assert printed(lambda console: print_first_failure(console, count(LOST, "test"))) == (
        "first failed: t, rollout 1: KeyError: 'odd'\n"
        '  File "team.py", line 12, in team\n'
        "first not judged: u, rollout 0: the judge raised (mine.py:7)\n"
    )
    assert printed(lambda console: print_first_failure(console, count([GOOD], "test"))) == ""


def test_an_evaluation_has_its_episodes():
    assert count(LOST, "test").groups == tuple(LOST)


def test_the_episodes_of_the_run_and_of_each_control_are_kept_and_the_command_to_read_them_is_told(tmp_path):
    file = tmp_path / "x.parquet"
    found = rows(("run", LOST), ("with the base as judge", [GOOD]))
    for row in found:
        keep_episodes(row, file)
    told = printed(lambda console: tell_episodes(console, found, file))
    other = tmp_path / "x-with-the-base-as-judge.parquet"
    assert told == (
        f"episodes (run): counterpoint show {file} --outcome failed\n"
        f"episodes (with the base as judge): counterpoint show {other}\n"
    )
    assert [group.task for group in read_episodes(file)] == ["t", "u"]
    assert read_episodes(file) == LOST
    assert without_logprobs(read_episodes(other)) == without_logprobs([GOOD])


def test_without_a_file_only_lost_episodes_are_worth_a_line():
    assert "--episodes FILE.parquet" in printed(lambda console: tell_episodes(console, rows(("run", LOST)), None))
    assert printed(lambda console: tell_episodes(console, rows(("run", [GOOD])), None)) == ""


def test_a_file_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    for bad in (tmp_path / "x.json", tmp_path / "none" / "x.parquet"):
        with pytest.raises(ConfigError, match=r"x\.\w+ cannot be written: it must end in \.parquet, and its folder"):
            check_episodes(bad)
    check_episodes(tmp_path / "x.parquet")
    check_episodes(None)
    with pytest.raises(RunError, match="cannot be written"):
        keep_episodes(*rows(("run", [GOOD])), tmp_path / "gone" / "x.parquet")
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(ConfigError, match="its folder is read-only for you"):
        check_episodes(tmp_path / "x.parquet")


def test_the_recorded_key_is_the_key_or_its_reference_and_never_huge():
    assert make_task(key="2").recorded_key == "2"
    judge = make_task().judge
    assert Task(problem=make_problem(), key="{}", judge=judge, reference="17").recorded_key == "17"
    long = make_task(key="ab" * LONGEST_RECORDED).recorded_key
    assert long.startswith("ab" * (LONGEST_RECORDED // 2) + "... (2000 characters in all, SHA-256 ")
    assert len(long) < LONGEST_RECORDED + 120
    assert long != make_task(key="ab" * LONGEST_RECORDED + "c").recorded_key


def test_a_control_that_is_killed_between_its_evaluations_is_not_measured(tmp_path, monkeypatch):
    job = Evaluation(Measure(name="swap", cell="one", needs=(), arguments=("evaluate", "{one}")), tmp_path)
    job.result.parent.mkdir(parents=True)
    found = rows(("run", LOST), ("with the base as judge", [GOOD]))

    async def killed(*_):
        yield found[0]
        raise KeyboardInterrupt

    async def whole(*_):
        for row in found:
            yield row

    def play(rows_of):
        monkeypatch.setattr(evaluate, "evaluation_rows", rows_of)
        control = Control(ablate="judge")
        return asyncio.run(evaluate._shown(Console(quiet=True), "one", [], Ask(), control, job.result, None))

    with pytest.raises(KeyboardInterrupt):
        play(killed)
    assert job.own_state().state == "absent"
    assert list(json.loads(partial_of(job.result).read_text(encoding="utf-8"))) == ["run"]
    play(whole)
    assert job.own_state().state == "finished"
    assert list(json.loads(job.result.read_text(encoding="utf-8"))) == ["run", "with the base as judge"]
    assert not partial_of(job.result).exists()
