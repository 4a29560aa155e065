"""`counterpoint show` tells whose error a failed episode has, and where it was raised."""

from dataclasses import replace

import polars as pl
import pytest
from facts import make_call, make_episode, make_group

from counterpoint.cli.show import show_episodes
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


def shown(run, capsys, outcome="failed"):
    show_episodes(run.path, None, None, 100, outcome)
    return capsys.readouterr().out


def test_a_failed_episode_is_shown_with_its_traceback(run, capsys):
    printed = shown(run, capsys)
    assert printed.count(f"FAILED (workflow): KeyError: 'odd'\n{FRAMES}\n") == 1
    assert "FAILED (task): KeyError: 'odd'" in printed
    assert "FAILED (workflow: a prompt is too long): KeyError: 'odd'" in printed
    assert "step 1: 3 episodes match, 3 shown" in printed


def test_an_episode_whose_judge_raised_is_shown_with_its_traceback(run, capsys):
    printed = shown(run, capsys, "any")
    assert 'NOT JUDGED: the judge raised ValueError: hm (mine.py:7)\n  File "mine.py", line 7, in judge\n' in printed


def test_a_run_of_format_3_is_shown_as_before(run, capsys):
    path = run.path / "episodes" / "000001.parquet"
    three = pl.lit(3, dtype=pl.Int32).alias("schema")
    pl.read_parquet(path).with_columns(three).drop("traceback", "key", "split").write_parquet(path)
    printed = shown(run, capsys)
    assert "FAILED (workflow): KeyError: 'odd'" in printed
    assert "File" not in printed
