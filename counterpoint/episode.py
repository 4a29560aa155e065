"""Facts: what was said in an episode, by whom, and what it was worth. Frozen, and kept on disk as Parquet."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import polars as pl

from counterpoint.errors import RunError
from counterpoint.task import Score

SCHEMA_VERSION = 3


class Message(TypedDict):
    """One message of a chat, as chat templates expect it."""

    role: str
    content: str


class CallKey(NamedTuple):
    """Which call within an episode."""

    role: str
    slot: int
    """Numbers the calls of one role that run side by side in one turn, from 0."""
    turn: int
    """Rounds of this role that had finished when the call started, from 0."""


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


Claim = Answer | Verdict | Choice | Proposal | Unreadable
_CLAIMS = {kind.__name__.lower(): kind for kind in (Answer, Verdict, Choice, Proposal, Unreadable)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One model call by one role: exactly what went in and what came out."""

    key: CallKey
    policy: str
    version: int
    """The version of the policy's weights that spoke."""
    messages: tuple[Message, ...]
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """The sampled ids, the stop token included where there is one."""
    logprobs: tuple[float, ...]
    """Log-probability of each completion id (nats) under the distribution it was sampled from."""
    text: str
    """What it said, as the other roles may see it."""
    finish: Literal["stop", "length"]
    seed: int
    temperature: float
    reasoning: str = ""
    """What it said before that and kept for itself; the completion ids hold it too."""
    cut: int = 0
    """How many ids were left out of the middle of the prompt, which the messages make longer than is allowed."""
    claim: Claim | None = None
    score: float | None = None
    """Whether the claim was right, in [0, 1]: an unreadable claim is 0; None if there is none or it was not judged."""
    counted_tokens: int | None = None
    """The length of the completion by an endpoint's count, where there are no ids."""

    @property
    def tokens(self) -> int:
        """The length of the completion."""
        return len(self.completion_ids) if self.counted_tokens is None else self.counted_tokens


ErrorKind = Literal["workflow", "overflow", "timeout", "endpoint"]
"""Why an episode failed: its workflow raised, a prompt was too long, its time ran out, an endpoint did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One run of a workflow on a task."""

    task: str
    """The problem's id."""
    rollout: int
    """Which of the group's episodes on this task, from 0."""
    problem: str
    calls: tuple[Call, ...]
    answer: str | None
    score: Score
    error: str | None = None
    """Why the workflow did not finish; its score is then not judged."""
    error_kind: ErrorKind | None = None

    @property
    def success(self) -> float | None:
        """Its value in an accuracy: the reward; 0 if the workflow failed; None if that says nothing about the team.

        It says nothing where the answer could not be judged, and where an endpoint did not answer.
        """
        if self.error is None:
            return self.score.reward
        return None if self.error_kind == "endpoint" else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All episodes of one task in one step."""

    task: str
    episodes: tuple[Episode, ...] = field(repr=False)
    solos: tuple[Episode, ...] = field(default=(), repr=False)
    """The same task played by one role alone, to compare with; rollout i of these stands beside rollout i of those."""


def calls_of(groups: Iterable[Group]) -> list[tuple[Episode, Call]]:
    """Every call with its episode, in the order played."""
    return [(episode, call) for group in groups for episode in group.episodes for call in episode.calls]


_CALL = pl.Struct(
    {
        "role": pl.String,
        "slot": pl.Int32,
        "turn": pl.Int32,
        "policy": pl.String,
        "version": pl.Int64,
        "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
        "prompt_ids": pl.List(pl.Int32),
        "cut": pl.Int32,
        "completion_ids": pl.List(pl.Int32),
        "logprobs": pl.List(pl.Float32),
        "counted_tokens": pl.Int32,
        "reasoning": pl.String,
        "text": pl.String,
        "finish": pl.String,
        "seed": pl.Int64,
        "temperature": pl.Float64,
        "claim": pl.String,
        "score": pl.Float64,
    }
)
_EPISODE: dict[str, Any] = {
    "schema": pl.Int32,
    "step": pl.Int64,
    "task": pl.String,
    "rollout": pl.Int32,
    "solo": pl.Boolean,
    "problem": pl.String,
    "answer": pl.String,
    "reward": pl.Float64,
    "parts": pl.String,
    "reason": pl.String,
    "error": pl.String,
    "error_kind": pl.String,
    "calls": pl.List(_CALL),
}


_SINCE_3: dict[str, Any] = {"reasoning": "", "cut": 0}
"""What calls of schema 2 did not have."""
_CALL_2 = pl.Struct([column for column in _CALL.fields if column.name not in _SINCE_3])
_SCHEMAS = {SCHEMA_VERSION: pl.Schema(_EPISODE), 2: pl.Schema({**_EPISODE, "calls": pl.List(_CALL_2)})}


def write_episodes(path: Path, step: int, groups: Iterable[Group]) -> None:
    """`path` holds one row an episode, its calls nested; written beside and renamed, so it is whole or absent."""
    rows = [
        _episode_row(step, episode, solo)
        for group in groups
        for solo, episodes in ((False, group.episodes), (True, group.solos))
        for episode in episodes
    ]
    partial = path.with_name(f".{path.name}.partial")
    pl.DataFrame(rows, schema=_EPISODE).write_parquet(partial, compression="zstd")
    partial.replace(path)


def read_episodes(path: Path) -> list[Group]:
    """The groups that `write_episodes` wrote, of schema 2 or 3. Raises RunError if the file is not such a file."""
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{path} cannot be read as episodes: {error}") from error
    if not any(frame.schema == schema and frame["schema"].eq(version).all() for version, schema in _SCHEMAS.items()):
        raise RunError(f"{path} does not hold episodes of schema {' or '.join(map(str, sorted(_SCHEMAS)))}")
    groups: dict[str, tuple[list[Episode], list[Episode]]] = {}
    for row in frame.iter_rows(named=True):
        groups.setdefault(row["task"], ([], []))[row["solo"]].append(_episode(row))
    return [Group(task=task, episodes=tuple(played), solos=tuple(solos)) for task, (played, solos) in groups.items()]


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


def _episode_row(step: int, episode: Episode, solo: bool) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "step": step,
        "task": episode.task,
        "rollout": episode.rollout,
        "solo": solo,
        "problem": episode.problem,
        "answer": episode.answer,
        "reward": episode.score.reward,
        "parts": json.dumps(dict(episode.score.parts)),
        "reason": episode.score.reason,
        "error": episode.error,
        "error_kind": episode.error_kind,
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


def _episode(row: Mapping[str, Any]) -> Episode:
    return Episode(
        task=row["task"],
        rollout=row["rollout"],
        problem=row["problem"],
        calls=tuple(_call({**_SINCE_3, **call}) for call in row["calls"]),
        answer=row["answer"],
        score=Score(reward=row["reward"], parts=json.loads(row["parts"]), reason=row["reason"]),
        error=row["error"],
        error_kind=row["error_kind"],
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
