"""Lists of episodes out of files: what is read, what is selected, and files that are damaged or go away."""

import os
import resource
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from facts import make_call, make_episode, make_group, vote

from counterpoint.episode import Answer, CallKey, Choice, Group, Unreadable, read_episodes, write_episodes
from counterpoint.errors import ConfigError, RunError
from counterpoint.recipe import config_from
from counterpoint.reports.episodes.line import OUTCOMES, first_answer, is_selected, line_of
from counterpoint.reports.episodes.listing import (
    Wanted,
    around,
    episodes_file,
    lines_of,
    list_episodes,
    read_episode,
    samples_of,
)
from counterpoint.reports.episodes.view import episode_view
from counterpoint.run import Run
from counterpoint.task import Score, not_judged


def mixed(tasks=6, size=3):
    """Groups with an episode of every outcome."""
    groups = []
    for number in range(tasks):
        episodes = []
        for rollout in range(size):
            kind = (number * size + rollout) % 6
            one = vote([("4", 1.0), ("5", 0.0)], kind % 2, rollout=rollout, task=f"task-{number}")
            if kind == 2:
                one = replace(one, score=Score(reward=0.5))
            if kind == 3:
                one = replace(one, score=not_judged("no judge"))
            if kind == 4:
                one = replace(one, error="ValueError", error_kind="workflow", score=not_judged("failed"))
            if kind == 5:
                cut_off = make_call(claim=Unreadable("no answer"), score=0.0, finish="length")
                one = make_episode(cut_off, reward=0.0, task=f"task-{number}", rollout=rollout)
            episodes.append(one)
        groups.append(make_group(*episodes))
    return groups


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "000001.parquet"
    write_episodes(path, 1, mixed())
    return path


def large(tasks, length, size=4):
    """Groups whose texts and tokens, at random, fill a file."""
    groups = []
    for number in range(tasks):
        episodes = []
        for place in range(size):
            noise = os.urandom(length)
            call = make_call(
                claim=Answer("4"),
                score=1.0,
                text=noise.hex(),
                prompt_ids=tuple(noise[:200]),
                completion_ids=tuple(noise[:200]),
                logprobs=tuple(-byte / 256 for byte in noise[:200]),
            )
            episodes.append(make_episode(call, task=f"task-{number}", rollout=place))
        groups.append(make_group(*episodes))
    return groups


def bytes_read():
    """Bytes that this process has read, from files that are not mapped."""
    return int(Path("/proc/self/io").read_text(encoding="utf-8").split("rchar: ")[1].split()[0])


def named(listed):
    return [(line.task, line.rollout) for line in listed.lines]


def test_the_lines_of_a_file_are_those_of_its_episodes(file):
    whole = [episode for group in read_episodes(file) for episode in group.episodes]
    assert lines_of(file) == [line_of(episode, row) for row, episode in enumerate(whole)]


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("role", [None, "aggregator"])
def test_a_list_has_the_episodes_that_the_whole_file_would_give(file, outcome, role):
    whole = [line_of(episode, row) for row, episode in enumerate(e for g in read_episodes(file) for e in g.episodes)]
    wanted = [line for line in whole if is_selected(line, role=role, outcome=outcome, task="task-")]
    found = list_episodes(file, Wanted(outcome=outcome, role=role, task="task-"))
    assert list(found.lines) == wanted
    assert (found.matching, found.total, found.tasks) == (len(wanted), 18, 6)
    assert outcome not in ("any", "right") or found.matching


def test_counts_have_the_outcomes_of_calls_only_where_all_calls_were_read(file):
    assert set(list_episodes(file, Wanted()).counts) == set(OUTCOMES) - {"split", "unreadable", "truncated"}
    counts = list_episodes(file, Wanted(outcome="split")).counts
    assert counts == {name: list_episodes(file, Wanted(outcome=name)).matching for name in OUTCOMES}


def test_pages_follow_each_other_and_a_page_beyond_the_last_is_the_last(file):
    pages = [list_episodes(file, Wanted(page=page, per_page=7)) for page in (1, 2, 3, 4)]
    assert [len(page.lines) for page in pages] == [7, 7, 4, 4]
    assert [page.page for page in pages] == [1, 2, 3, 3]
    assert [line.row for page in pages[:3] for line in page.lines] == list(range(18))
    empty = list_episodes(file, Wanted(task="another"))
    assert (empty.lines, empty.page, empty.pages, empty.matching) == ((), 1, 1, 0)


def test_lists_are_sorted_by_reward_with_those_that_have_none_at_the_end(file):
    lowest = [line.success for line in list_episodes(file, Wanted(order="lowest")).lines]
    highest = [line.success for line in list_episodes(file, Wanted(order="highest")).lines]
    rewards = [value for value in lowest if value is not None]
    assert rewards == sorted(rewards)
    assert [value for value in highest if value is not None] == sorted(rewards, reverse=True)
    assert lowest[-3:] == highest[-3:] == [None] * 3


@pytest.mark.parametrize("wrong", [{"outcome": "odd"}, {"order": "odd"}, {"page": 0}, {"per_page": 0}])
def test_a_list_refuses_what_it_does_not_know(file, wrong):
    with pytest.raises(ConfigError):
        list_episodes(file, Wanted(**wrong))


def test_one_episode_is_the_one_of_the_whole_file(file):
    whole = {(e.task, e.rollout): e for group in read_episodes(file) for e in group.episodes}
    assert all(read_episode(file, *place) == episode for place, episode in whole.items())


def test_episodes_that_a_role_played_alone_are_not_listed(tmp_path):
    path = tmp_path / "000001.parquet"
    alone = make_episode(make_call(text="alone"), task="t")
    write_episodes(path, 1, [Group(task="t", episodes=(make_episode(make_call(), task="t"),), solos=(alone,))])
    assert len(lines_of(path)) == list_episodes(path, Wanted()).total == 1
    assert read_episode(path, "t", 0).calls[0].text == "it is 2"


def test_around_an_episode_are_its_rollouts_and_the_tasks_beside_it(file):
    found = around(file, "task-2", 1)
    assert [one.rollout for one in found.rollouts] == [0, 1, 2]
    assert [one.chip.word for one in found.rollouts] == ["right", "wrong", "partly: 0.50"]
    assert (found.before, found.after) == (("task-1", 0), ("task-3", 0))
    assert around(file, "task-0", 0).before is None
    assert around(file, "task-5", 0).after is None


def test_an_episode_that_is_not_there_is_named(file):
    with pytest.raises(RunError, match="no rollout 9 of a task 'task-1'"):
        read_episode(file, "task-1", 9)
    with pytest.raises(RunError, match="no rollout 0 of a task 'else'"):
        around(file, "else", 0)


def test_a_long_answer_is_shortened_in_lists_alone(tmp_path):
    path = tmp_path / "000001.parquet"
    answers = [("\\" * length + "é\n" * 400) for length in range(30)] + ["😀" * 500, '"' * 700]
    calls = [make_call(slot=slot, claim=Answer(text), score=1.0) for slot, text in enumerate(answers)]
    write_episodes(path, 1, [make_group(make_episode(*calls))])
    (line,) = lines_of(path)
    for call, text in zip(line.calls, answers, strict=True):
        assert call.claim.text.endswith("…")
        assert text.startswith(call.claim.text.rstrip("…").encode("utf-16", "surrogatepass").decode("utf-16", "ignore"))
        assert 25 < len(call.claim.text) < 500
    assert [call.claim.text for call in read_episode(path, "t", 0).calls] == answers


@pytest.mark.parametrize("version", [2, 3, 4])
def test_files_of_older_schemas_are_listed(file, version):
    since = {3: ["reasoning", "cut"], 4: ["traceback"], 5: ["key", "split"]}
    old = pl.read_parquet(file).with_columns(schema=pl.lit(version, pl.Int32))
    gone = [name for number in (4, 5) if version < number for name in since[number]]
    kept = [field.name for field in old.schema["calls"].inner.fields if version >= 3 or field.name not in since[3]]
    inner = pl.col("calls").list.eval(pl.struct(pl.element().struct.field(name) for name in kept))
    old.drop(gone).with_columns(calls=inner).write_parquet(file)
    assert [line.key for line in lines_of(file)] == [None] * 18
    assert read_episode(file, "task-0", 1).calls[0].reasoning == ""
    assert list_episodes(file, Wanted(role="aggregator")).matching == 15


def test_a_file_that_is_damaged_cut_short_or_something_else_is_one_clear_error(tmp_path, file):
    whole = file.read_bytes()
    for name, content in {"empty": b"", "noise": b"noise" * 100, "half": whole[: len(whole) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RunError) as caught:
            list_episodes(tmp_path / name, Wanted())
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other")
    with pytest.raises(RunError, match="does not hold episodes"):
        lines_of(tmp_path / "other")
    with pytest.raises(RunError, match="not there any more"):
        lines_of(tmp_path / "gone.parquet")
    with pytest.raises(RunError):
        lines_of(tmp_path)


def test_a_damaged_middle_of_a_file_is_an_error_and_not_a_wrong_list(file):
    whole = bytearray(file.read_bytes())
    start = len(whole) // 3
    whole[start : start + 400] = b"\xff" * 400
    file.write_bytes(bytes(whole))
    with pytest.raises(RunError):
        lines_of(file)


def test_a_file_that_is_written_again_is_read_again(file):
    assert list_episodes(file, Wanted(outcome="split")).total == 18
    write_episodes(file, 1, mixed(tasks=2))
    assert list_episodes(file, Wanted(outcome="split")).total == 6


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(file, monkeypatch):
    from counterpoint.reports.episodes import listing

    real = listing._with_calls

    def slow(identity, lines):
        write_episodes(file, 1, mixed(tasks=1))
        return real(identity, lines[:1])

    monkeypatch.setattr(listing, "_with_calls", slow)
    with pytest.raises(RunError, match="written again"):
        list_episodes(file, Wanted())


def test_a_run_without_the_episodes_of_a_step_says_which_it_has(tmp_path):
    with Run.create(tmp_path / "run", config_from({"workflow": "single"}), {}) as run:
        run.add_episodes(1, mixed(1))
    assert episodes_file(run.path, 1).name == "000001.parquet"
    with pytest.raises(RunError, match="there are: 1"):
        episodes_file(run.path, 2)
    with pytest.raises(RunError, match="there are none yet"):
        episodes_file(run.path, 1, "test")
    assert samples_of(run.path, 1, "task-0", 0) == {}
    (run.path / "samples" / "000001.parquet").write_bytes(b"noise")
    with pytest.raises(RunError, match="the samples of step 1 cannot be read"):
        samples_of(run.path, 1, "task-0", 0)


def test_credit_belongs_to_its_episode(tmp_path):
    with Run.create(tmp_path / "run", config_from({"workflow": "single"}), {}) as run:
        run.add_episodes(1, mixed(2))
        where = {"role": "generator", "slot": 0, "turn": 0, "signal": True, "in_loss": True}
        rows = [
            {"task": f"task-{task}", "rollout": rollout, "reward": 1.0, "advantage": task + rollout / 10, **where}
            for task in range(2)
            for rollout in range(3)
        ]
        run.add_samples(1, rows)
    found = samples_of(run.path, 1, "task-1", 2)
    assert list(found) == [CallKey("generator", 0, 0)]
    view = episode_view(read_episode(episodes_file(run.path, 1), "task-1", 2), found)
    assert view.calls[0].credit.advantage == "+1.200"


def test_the_first_answer_is_that_of_the_first_call_that_answered():
    line = line_of(make_episode(make_call("a", claim=Choice((), 0)), make_call("b", claim=Answer("2"), score=0.0)))
    assert first_answer(line).key.role == "b"


def test_a_page_and_an_episode_of_a_large_file_are_read_without_the_rest(tmp_path):
    path = tmp_path / "large.parquet"
    write_episodes(path, 1, large(tasks=32, length=100_000))
    size = path.stat().st_size
    assert size > 1200_000
    list_episodes(path, Wanted(per_page=4))  # everything that is imported and kept is there
    before = bytes_read()
    list_episodes(path, Wanted(per_page=4, page=20))
    page = bytes_read() - before
    read_episode(path, "task-25", 1)
    episode = bytes_read() - before - page
    assert 0 < page < 0.5 * size
    assert 0 < episode < 0.5 * size


@pytest.mark.slow
def test_a_page_and_an_episode_of_100_mb_take_a_small_part_of_reading_all_and_no_more_memory(tmp_path):
    path = tmp_path / "large.parquet"
    write_episodes(path, 1, large(tasks=200, length=125_000))
    assert path.stat().st_size > 100_000_000
    list_episodes(path, Wanted())
    start = time.process_time()
    list_episodes(path, Wanted(page=9))
    read_episode(path, "task-150", 2)
    part = time.process_time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    list_episodes(path, Wanted(page=3))
    for task in range(0, 200, 20):
        read_episode(path, f"task-{task}", 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 30_000
    start = time.process_time()
    pl.read_parquet(path)
    assert part < 0.5 * (time.process_time() - start)


def test_a_file_without_episodes_is_an_empty_list(tmp_path):
    path = tmp_path / "000001.parquet"
    write_episodes(path, 1, [])
    assert lines_of(path) == list(list_episodes(path, Wanted(outcome="split")).lines) == []
    assert list_episodes(path, Wanted()).counts["any"] == 0
