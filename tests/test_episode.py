"""Facts come back from disk as they were."""

from dataclasses import replace

import polars as pl
import pytest
from facts import END, assistant, float32, make_call, make_episode, make_group, user

from counterpoint.episode import (
    Answer,
    CallKey,
    Choice,
    Episode,
    Group,
    Score,
    Unreadable,
    Verdict,
    calls_of,
    claim_from_json,
    claim_to_json,
    read_episodes,
    without_logprobs,
    write_episodes,
)
from counterpoint.errors import RunError

LATER = ("reasoning", "cut")
"""The columns of a call that schema 2 lacks."""
ODD = 'π "quoted"\n\u2028 \U0001f600 \\boxed{½}\x00'
CLAIMS = [
    None,
    Answer("42"),
    Answer(""),
    Answer(ODD),
    Verdict(CallKey("generator", 2, 1), True),
    Verdict(CallKey("generator", 0, 0), False),
    Choice((CallKey("generator", 0, 0), CallKey("generator", 1, 0)), 1),
    Choice((), 0),
    Unreadable("no choice"),
]


def round_trip(tmp_path, groups):
    path = tmp_path / "000001.parquet"
    write_episodes(path, 1, groups)
    return read_episodes(path)


@pytest.mark.parametrize("claim", CLAIMS, ids=repr)
def test_a_claim_comes_back_from_json_as_it_was(claim):
    found = claim_from_json(claim_to_json(claim))
    assert found == claim
    assert type(found) is type(claim)


def test_a_choice_read_back_can_be_looked_up_by_the_keys_of_calls():
    found = claim_from_json(claim_to_json(CLAIMS[6]))
    assert make_call("generator", 1).key in {*found.candidates}
    assert isinstance(found.candidates[0], CallKey)


def test_groups_come_back_from_parquet_as_they_were(tmp_path):
    calls = [
        make_call("generator", slot, claim=claim, score=score)
        for slot, (claim, score) in enumerate(
            zip(CLAIMS, [None, 1.0, 0.0, 0.25, None, 1.0, 0.0, None, 0.0], strict=True)
        )
    ]
    long = make_call(
        "critic",
        3,
        2,
        policy="shared",
        version=2**40,
        messages=(user(ODD), assistant(""), user("Sure?")),
        prompt_ids=(0, 151_935, 2**31 - 1),
        completion_ids=(END,),
        logprobs=float32(-17.123456789),
        cut=2**20,
        reasoning=ODD,
        text=ODD,
        finish="length",
        seed=2**63 - 1,
        temperature=0.7,
    )
    scored = replace(make_episode(long, answer=ODD), score=Score(reward=0.3, parts={"π": 0.5, "b": 1.0}, reason=ODD))
    groups = [
        make_group(replace(make_episode(*calls), key="2"), replace(scored, key=ODD)),
        make_group(
            replace(make_episode(task="u", answer=None, error="ValueError: " + ODD), traceback=ODD, error_kind="task"),
            make_episode(task="u", rollout=1, reward=None, answer=None),
            make_episode(make_call(), task="u", rollout=2, reward=0.0),
        ),
    ]
    assert round_trip(tmp_path, groups) == groups


def test_single_precision_log_probabilities_come_back_bit_for_bit(tmp_path):
    logprobs = float32(-0.1, -1 / 3, -1e-30, -88.8, 0.0, -3.4e38)
    call = make_call(completion_ids=tuple(range(6)), logprobs=logprobs)
    (group,) = round_trip(tmp_path, [make_group(make_episode(call))])
    assert group.episodes[0].calls[0].logprobs == logprobs


def test_episodes_without_any_call_come_back(tmp_path):
    groups = [
        make_group(make_episode(error="it broke", answer=None), make_episode(rollout=1, answer=None, error="too"))
    ]
    assert round_trip(tmp_path, groups) == groups


def test_no_episodes_come_back_as_none(tmp_path):
    assert round_trip(tmp_path, []) == []


def test_the_order_of_tasks_and_episodes_is_kept(tmp_path):
    groups = [
        make_group(*(make_episode(task=task, rollout=rollout) for rollout in range(3))) for task in ("z", "a", "m")
    ]
    found = round_trip(tmp_path, groups)
    assert [group.task for group in found] == ["z", "a", "m"]
    assert [[episode.rollout for episode in group.episodes] for group in found] == [[0, 1, 2]] * 3


def test_the_file_is_a_flat_table_for_others_to_read(tmp_path):
    path = tmp_path / "000007.parquet"
    write_episodes(path, 7, [make_group(replace(make_episode(make_call(), reward=0.5), key="3"))], "test")
    row = pl.read_parquet(path).row(0, named=True)
    found = [row[column] for column in ("step", "split", "task", "key", "answer", "reward")]
    assert found == [7, "test", "t", "3", "2", 0.5]
    assert row["calls"][0]["role"] == "generator"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "other.parquet"
    pl.DataFrame({"a": [1]}).write_parquet(path)
    with pytest.raises(RunError, match=r"other\.parquet does not hold episodes of schema 2, 3, 4, 5"):
        read_episodes(path)


def test_a_file_of_a_later_schema_version_is_refused(tmp_path):
    path = tmp_path / "later.parquet"
    write_episodes(path, 1, [make_group(make_episode(make_call()))])
    pl.read_parquet(path).with_columns(pl.lit(6, dtype=pl.Int32).alias("schema")).write_parquet(path)
    with pytest.raises(RunError, match="schema 2, 3, 4, 5"):
        read_episodes(path)


def test_a_file_of_schema_2_is_read_as_what_it_was_written_for(tmp_path):
    """Then nothing was kept from the others."""
    path = tmp_path / "older.parquet"
    groups = [make_group(make_episode(make_call(claim=Answer("2"), score=1.0)))]
    write_episodes(path, 1, groups)
    frame = pl.read_parquet(path).with_columns(pl.lit(2, dtype=pl.Int32).alias("schema"))
    fields = [field.name for field in frame.schema["calls"].inner.fields if field.name not in LATER]
    older = pl.col("calls").list.eval(pl.struct(*(pl.element().struct.field(name) for name in fields)))
    frame.with_columns(older).drop("traceback", "key", "split").write_parquet(path)
    assert read_episodes(path) == groups


def test_a_file_of_schema_3_is_read_without_tracebacks(tmp_path):
    path = tmp_path / "older.parquet"
    failed = replace(make_episode(make_call(), error="KeyError: 'odd'"), error_kind="workflow")
    write_episodes(path, 1, [make_group(replace(failed, traceback="  File ..."))])
    three = pl.lit(3, dtype=pl.Int32).alias("schema")
    pl.read_parquet(path).with_columns(three).drop("traceback", "key", "split").write_parquet(path)
    assert read_episodes(path) == [make_group(failed)]


def test_log_probabilities_can_be_left_out_and_nothing_else_is():
    whole = Group(task="t", episodes=(make_episode(make_call()),), solos=(make_episode(make_call()),))
    (bare,) = without_logprobs([whole])
    calls = [call for episode in (*bare.episodes, *bare.solos) for call in episode.calls]
    assert calls == [replace(make_call(), logprobs=())] * 2


@pytest.mark.parametrize("content", [b"", b"not parquet", None], ids=["empty", "text", "absent"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path, content):
    path = tmp_path / "broken.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"broken\.parquet cannot be read as episodes"):
        read_episodes(path)


def test_success_counts_a_failed_episode_as_zero_and_an_unjudged_one_as_nothing():
    assert make_episode(reward=0.5).success == 0.5
    assert make_episode(error="it broke").success == 0.0
    assert make_episode(reward=None).success is None


def test_calls_come_with_their_episode_in_the_order_played():
    first = make_episode(make_call(slot=0), make_call(slot=1))
    second = make_episode(make_call("critic"), rollout=1)
    found = calls_of([make_group(first, make_episode()), make_group(second)])
    assert [(episode.rollout, call.key) for episode, call in found] == [
        (0, CallKey("generator", 0, 0)),
        (0, CallKey("generator", 1, 0)),
        (1, CallKey("critic", 0, 0)),
    ]


def test_a_fact_cannot_be_changed():
    episode: Episode = make_episode(make_call())
    with pytest.raises(AttributeError):
        episode.answer = "43"
    with pytest.raises(AttributeError):
        episode.calls[0].score = 1.0
