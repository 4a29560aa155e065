"""The record of an episode: every call, its claim and its score. Frozen, and kept on disk as Parquet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from counterpoint.columns import frame_of
from counterpoint.errors import RunError
from counterpoint.task import Score

if TYPE_CHECKING:
    # Reading and writing files import polars themselves: processes that do neither do without its memory.
    import polars as pl

SCHEMA_VERSION = 5
_READABLE = (2, 3, 4, SCHEMA_VERSION)
"""The versions of the schema that `read_episodes` reads."""
_ROW_GROUP_BYTES = 8 * 2**20
"""The size of a row group of an episodes file before it is compressed."""
TRAIN = "train"
"""The split of the episodes of a training step."""


class Message(TypedDict):
    """One message of a chat, as chat templates expect it."""

    role: str
    content: str


class CallKey(NamedTuple):
    """The identity of a call within its episode."""

    role: str
    slot: int
    """The number of the call among those of its role that run in parallel in one turn, from 0."""
    turn: int
    """The number of rounds of this role that had finished when the call started."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply claims that `text` answers the problem."""

    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The reply claims that the answer of call `about` is right, or that it is wrong."""

    about: CallKey
    correct: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """The reply claims that candidate `index` (from 0) is the best of `candidates`."""

    candidates: tuple[CallKey, ...]
    index: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """The reply proposed what the calls in `followed_by` then did: it is worth their mean reward."""

    followed_by: tuple[CallKey, ...]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The reply should have claimed something, but could not be read."""

    reason: str


NO_ANSWER, NO_VERDICT, NO_CHOICE, NO_CANDIDATE = "no answer", "no verdict", "no choice", "no candidate"
"""The reasons of unreadable replies that should have answered, judged or chosen; the last one with its number."""

Claim = Answer | Verdict | Choice | Proposal | Unreadable
_CLAIMS = {kind.__name__.lower(): kind for kind in (Answer, Verdict, Choice, Proposal, Unreadable)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One model call by one role: its exact input and output."""

    key: CallKey
    policy: str
    version: int
    """The version of the policy's weights that generated the reply."""
    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """The sampled ids, the stop token included where there is one."""
    logprobs: tuple[float, ...]
    """Log-probability of each completion id (nats) under the distribution it was sampled from."""
    text: str
    """The reply as the other roles may see it, without its reasoning."""
    finish: Literal["stop", "length"]
    seed: int
    temperature: float
    reasoning: str = ""
    """The reasoning before the text, which no other role sees; the completion ids include it."""
    cut: int = 0
    """The number of ids left out of the middle of a prompt that was longer than allowed."""
    claim: Claim | None = None
    score: float | None = None
    """The value of the claim in [0, 1]: 0 if it is unreadable, None if there is no claim or it was not judged."""
    counted_tokens: int | None = None
    """The length of the completion as an endpoint counts it, where there are no ids."""

    @property
    def tokens(self) -> int:
        """The length of the completion."""
        return len(self.completion_ids) if self.counted_tokens is None else self.counted_tokens


ErrorKind = Literal["workflow", "overflow", "calls", "timeout", "task", "endpoint", "judge"]
"""Whose error it is.

`workflow`: the workflow raised. `overflow`: it asked with a prompt that is too long. `calls`: it made too many calls.
`timeout`: it did not finish in time. `task`: the task could not read an answer in a reply. `endpoint`: a server did not
answer. `judge`: the workflow finished, but the judge raised or took too long. An engine that
dies ends the rollout (`EngineError`) and is no kind.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One run of a workflow on a task."""

    task: str
    """The problem's id."""
    rollout: int
    """The number of the episode within its group, from 0."""
    problem: str
    calls: tuple[Call, ...]
    answer: str | None
    score: Score
    error: str | None = None
    """The reason for which the workflow did not finish; then the answer is not judged."""
    error_kind: ErrorKind | None = None
    """Whose `error` it is; `judge` where there is none, but the judge failed (`score.reason` says how)."""
    traceback: str = ""
    """Where the error was raised, folded (see `counterpoint.errors.folded_traceback`); empty without an error."""
    key: str | None = None
    """The right answer as it is recorded (see `Task.recorded_key`); None in an episode that was read from a file older
    than schema 5."""

    @property
    def success(self) -> float | None:
        """The value of the episode in an accuracy: its reward, or 0 if the workflow failed.

        None if the answer could not be judged or an endpoint did not answer: neither says anything about the team.
        """
        if self.error is None:
            return self.score.reward
        return None if self.error_kind == "endpoint" else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The episodes of one task in one step."""

    task: str
    episodes: tuple[Episode, ...] = field(repr=False)
    solos: tuple[Episode, ...] = field(default=(), repr=False)
    """The same task solved by one role alone, for comparison; rollout i here belongs to rollout i of `episodes`."""


def calls_of(groups: Iterable[Group]) -> list[tuple[Episode, Call]]:
    """Every call with its episode, in the order of the groups."""
    return [(episode, call) for group in groups for episode in group.episodes for call in episode.calls]


def without_logprobs(groups: Iterable[Group]) -> list[Group]:
    """The groups without the log-probabilities of their calls, which are half of the space that they take on disk."""
    return [replace(group, episodes=_bare(group.episodes), solos=_bare(group.solos)) for group in groups]


def _bare(episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    return tuple(
        replace(episode, calls=tuple(replace(call, logprobs=()) for call in episode.calls)) for episode in episodes
    )


_CALL_SINCE_3: dict[str, Any] = {"reasoning": "", "cut": 0}
"""The columns of a call that schema 2 lacks, with the values they then have."""
_EPISODE_SINCE_4: dict[str, Any] = {"traceback": ""}
"""The columns of an episode that schema 3 lacks, with the values they then have."""
_EPISODE_SINCE_5: dict[str, Any] = {"key": None, "split": TRAIN}
"""The columns of an episode that schema 4 lacks, with the values they then have."""


@cache
def _schema(version: int) -> "pl.Schema":
    """The columns of an episodes file of a version from 2 on."""
    import polars as pl

    columns = {
        "schema": pl.Int32(),
        "step": pl.Int64(),
        "split": pl.String(),
        "task": pl.String(),
        "rollout": pl.Int32(),
        "solo": pl.Boolean(),
        "problem": pl.String(),
        "key": pl.String(),
        "answer": pl.String(),
        "reward": pl.Float64(),
        "parts": pl.String(),
        "reason": pl.String(),
        "error": pl.String(),
        "error_kind": pl.String(),
        "traceback": pl.String(),
        "calls": pl.List(_call_type(version)),
    }
    later = {**(_EPISODE_SINCE_4 if version < 4 else {}), **(_EPISODE_SINCE_5 if version < 5 else {})}
    return pl.Schema({name: kind for name, kind in columns.items() if name not in later})


def _call_type(version: int) -> "pl.Struct":
    """The columns of a call in an episodes file."""
    import polars as pl

    columns = {
        "role": pl.String(),
        "slot": pl.Int32(),
        "turn": pl.Int32(),
        "policy": pl.String(),
        "version": pl.Int64(),
        "messages": pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
        "prompt_ids": pl.List(pl.Int32()),
        "cut": pl.Int32(),
        "completion_ids": pl.List(pl.Int32()),
        "logprobs": pl.List(pl.Float32()),
        "counted_tokens": pl.Int32(),
        "reasoning": pl.String(),
        "text": pl.String(),
        "finish": pl.String(),
        "seed": pl.Int64(),
        "temperature": pl.Float64(),
        "claim": pl.String(),
        "score": pl.Float64(),
    }
    return pl.Struct({name: kind for name, kind in columns.items() if version >= 3 or name not in _CALL_SINCE_3})


def write_episodes(path: Path, step: int, groups: Iterable[Group], split: str = TRAIN) -> None:
    """Write one row per episode, with its calls nested. `path` is replaced at once, so it is whole or absent."""
    rows = [
        {"step": step, "split": split, "solo": solo, **_episode_row(episode)}
        for group in groups
        for solo, episodes in ((False, group.episodes), (True, group.solos))
        for episode in episodes
    ]
    partial = path.with_name(f".{path.name}.partial")
    frame = frame_of(rows, _schema(SCHEMA_VERSION))
    # Of a large file, a reader of one episode then decodes the row group that holds it, and not the whole file.
    fitting = frame.height * _ROW_GROUP_BYTES // max(int(frame.estimated_size()), 1)
    frame.write_parquet(partial, compression="zstd", row_group_size=max(fitting, 1))
    partial.replace(path)


def read_episodes(path: Path) -> list[Group]:
    """The groups that `write_episodes` wrote, in schema 2 or a later one. Raises RunError if `path` holds none."""
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path} cannot be read as episodes: {error}") from error
    if not is_readable(frame.schema) or not frame["schema"].is_in(_READABLE).all():
        raise RunError(not_episodes(path))
    groups: dict[str, tuple[list[Episode], list[Episode]]] = {}
    for row in frame.iter_rows(named=True):
        groups.setdefault(row["task"], ([], []))[row["solo"]].append(episode_of_row(row))
    return [Group(task=task, episodes=tuple(played), solos=tuple(solos)) for task, (played, solos) in groups.items()]


def is_readable(schema: Mapping[str, Any]) -> bool:
    """True if a file with these columns holds episodes that can be read."""
    return any(schema == _schema(version) for version in _READABLE)


def not_episodes(path: Path) -> str:
    """The message that a file does not hold episodes."""
    return f"{path} does not hold episodes of schema {', '.join(map(str, _READABLE))}"


def claim_to_json(claim: Claim | None) -> str | None:
    """A claim as one line of JSON."""
    if claim is None:
        return None
    fields = {name: getattr(claim, name) for name in claim.__dataclass_fields__}
    return json.dumps({"kind": type(claim).__name__.lower(), **fields})


def claim_from_json(text: str | None) -> Claim | None:
    """The claim that `claim_to_json` wrote."""
    if text is None:
        return None
    fields = json.loads(text)
    kind = _CLAIMS[fields.pop("kind")]
    if kind is Verdict:
        fields["about"] = CallKey(*fields["about"])
    if kind is Choice:
        fields["candidates"] = tuple(CallKey(*key) for key in fields["candidates"])
    if kind is Proposal:
        fields["followed_by"] = tuple(CallKey(*key) for key in fields["followed_by"])
    claim: Claim = kind(**fields)
    return claim


def _episode_row(episode: Episode) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "task": episode.task,
        "rollout": episode.rollout,
        "problem": episode.problem,
        "key": episode.key,
        "answer": episode.answer,
        "reward": episode.score.reward,
        "parts": json.dumps(dict(episode.score.parts)),
        "reason": episode.score.reason,
        "error": episode.error,
        "error_kind": episode.error_kind,
        "traceback": episode.traceback,
        "calls": [_call_row(call) for call in episode.calls],
    }


def _call_row(call: Call) -> dict[str, Any]:
    return {
        **call.key._asdict(),
        "policy": call.policy,
        "version": call.version,
        "messages": list(call.messages),
        "prompt_ids": list(call.prompt_ids),
        "cut": call.cut,
        "completion_ids": list(call.completion_ids),
        "logprobs": list(call.logprobs),
        "counted_tokens": call.counted_tokens,
        "reasoning": call.reasoning,
        "text": call.text,
        "finish": call.finish,
        "seed": call.seed,
        "temperature": call.temperature,
        "claim": claim_to_json(call.claim),
        "score": call.score,
    }


def episode_of_row(row: Mapping[str, Any]) -> Episode:
    """The episode of a row of an episodes file of any schema that can be read."""
    row = {**_EPISODE_SINCE_4, **_EPISODE_SINCE_5, **row}
    return Episode(
        task=row["task"],
        rollout=row["rollout"],
        problem=row["problem"],
        calls=tuple(_call({**_CALL_SINCE_3, **call}) for call in row["calls"]),
        answer=row["answer"],
        score=Score(reward=row["reward"], parts=json.loads(row["parts"]), reason=row["reason"]),
        error=row["error"],
        error_kind=row["error_kind"],
        traceback=row["traceback"],
        key=row["key"],
    )


def _call(row: Mapping[str, Any]) -> Call:
    messages: Sequence[Message] = row["messages"]
    return Call(
        key=CallKey(row["role"], row["slot"], row["turn"]),
        policy=row["policy"],
        version=row["version"],
        messages=tuple(messages),
        prompt_ids=tuple(row["prompt_ids"]),
        cut=row["cut"],
        completion_ids=tuple(row["completion_ids"]),
        logprobs=tuple(row["logprobs"]),
        counted_tokens=row["counted_tokens"],
        reasoning=row["reasoning"],
        text=row["text"],
        finish=row["finish"],
        seed=row["seed"],
        temperature=row["temperature"],
        claim=claim_from_json(row["claim"]),
        score=row["score"],
    )
