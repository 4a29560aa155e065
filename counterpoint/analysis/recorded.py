"""Controls that an evaluation's own calls contain: the answers that some of each episode's calls give by themselves.

The first answers of an episode are those that no other answer can have influenced: the parallel drafts of voting, the
first draft of a refinement, the solutions of workers. One of them, or the majority of them, costs no further call.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from counterpoint.analysis.intervals import Interval, difference, interval
from counterpoint.episode import Answer, Call, Episode, Group

BEST = "best of all answers (bound)"
"""An upper bound for every role that chooses among answers, and no team."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The outcomes of one such control."""

    name: str
    tokens: float
    """Generated tokens per episode, those of the calls that come before the first answer included."""
    outcomes: Mapping[str, Sequence[float]]
    """Task id -> its value in each judged episode, from 0 to 1; 0 if an episode has no first answer."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without the name."""
        return {"tokens": self.tokens, "outcomes": {task: list(values) for task, values in self.outcomes.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedControl:
    """A control from recorded calls, compared with the team."""

    name: str
    tokens: float
    """Generated tokens per episode."""
    accuracy: Interval
    difference: Interval
    """The team minus the control, paired by task."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for `summary.json`."""
        intervals = {name: getattr(self, name)._asdict() for name in ("accuracy", "difference")}
        return {"name": self.name, "tokens": self.tokens, **intervals}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "RecordedControl":
        """The control that `as_dict` wrote."""
        return cls(
            name=plain["name"],
            tokens=plain["tokens"],
            accuracy=Interval(**plain["accuracy"]),
            difference=Interval(**plain["difference"]),
        )


def recorded(groups: Sequence[Group]) -> tuple[Recorded, ...]:
    """The controls that the calls of these episodes contain; none if every episode is a single call.

    One answer of each role that gives first answers, the majority of all first answers if there are several and they
    are not the whole workflow, and the best of all answers.
    """
    answering = {call.key.role for group in groups for one in group.episodes for call in _answers(one)}
    episodes = [one for group in groups for one in group.episodes if one.success is not None]
    if all(len(episode.calls) <= 1 for episode in episodes):
        return ()
    firsts = [first_answers(episode, answering) for episode in episodes]
    roles = list(dict.fromkeys(call.key.role for first in firsts for call in first))
    found = []
    for role in roles:
        mine = [[call for call in first if call.key.role == role] for first in firsts]
        found.append(_control(f"one answer of {role}", episodes, mine, one=True))
    count = max(map(len, firsts), default=0)
    if count > 1 and any(len(first) < len(episode.calls) for first, episode in zip(firsts, episodes, strict=True)):
        several = f"{'up to ' if any(len(first) < count for first in firsts) else ''}{count} answers"
        found.append(_control(f"the majority of {several} of {' and '.join(roles)}", episodes, firsts, one=False))
    every = [[call for call in episode.calls if call.key.role in answering] for episode in episodes]
    if max(map(len, every), default=0) > 1:
        outcomes = _by_task(episodes, [_values(calls, max) for calls in every])
        tokens = fmean(sum(call.tokens for call in episode.calls) for episode in episodes)
        found.append(Recorded(name=BEST, tokens=tokens, outcomes=outcomes))
    return tuple(one for one in found if one.outcomes)


def first_answers(episode: Episode, answering: Collection[str]) -> list[Call]:
    """The calls of the answering roles whose prompt holds no earlier answer of another role or turn."""
    answers = [call for call in episode.calls if call.key.role in answering]
    return [call for place, call in enumerate(answers) if not any(has_read(call, other) for other in answers[:place])]


def has_read(call: Call, other: Call) -> bool:
    """True if a message of the call holds the reply of `other`, a call of another role or turn with another prompt."""
    text = other.text.strip()
    apart = (call.key.role, call.key.turn) != (other.key.role, other.key.turn) and call.messages != other.messages
    return apart and bool(text) and any(text in message["content"] for message in call.messages)


def majority_value(answers: Sequence[tuple[str | None, float]]) -> float:
    """The mean score of the most frequent answers; of answers that are given equally often, each counts alike.

    Answers are the same if they differ only in case and white space. Without an answer it is 0.
    """
    votes: dict[str, list[float]] = {}
    for answer, score in answers:
        if answer is not None:
            votes.setdefault(" ".join(answer.split()).casefold(), []).append(score)
    most = max(map(len, votes.values()), default=0)
    return fmean([fmean(scores) for scores in votes.values() if len(scores) == most] or [0.0])


def against_the_team(row: Mapping[str, Any]) -> tuple[RecordedControl, ...]:
    """The controls of a line of `evaluations.jsonl`, compared with the team; none where the line holds none."""
    return tuple(
        RecordedControl(
            name=name,
            tokens=control["tokens"],
            accuracy=interval([fmean(values) for values in control["outcomes"].values()]),
            difference=difference(_means(row["outcomes"]), _means(control["outcomes"])),
        )
        for name, control in row.get("controls", {}).items()
    )


def tokens_per_episode(numbers: Mapping[str, float]) -> float:
    """Generated tokens per episode, summed over all roles."""
    roles = [name.split("/")[1] for name in numbers if name.startswith("role/") and name.endswith("/calls")]
    return sum(numbers[f"role/{role}/calls"] * numbers.get(f"role/{role}/tokens", 0.0) for role in roles)


def _answers(episode: Episode) -> list[Call]:
    return [call for call in episode.calls if isinstance(call.claim, Answer)]


def _control(name: str, episodes: Sequence[Episode], firsts: Sequence[Sequence[Call]], *, one: bool) -> Recorded:
    """The control that gives one of an episode's first answers, each with the same probability, or their majority."""
    values = [_values(first, fmean) if one else _majority(first) for first in firsts]
    spent = [_spent(episode, first, one) for episode, first in zip(episodes, firsts, strict=True) if first]
    return Recorded(name=name, tokens=fmean(spent), outcomes=_by_task(episodes, values))


def _values(calls: Sequence[Call], combine: Callable[[Sequence[float]], float]) -> float | None:
    """The combined score of the calls, 0 without one; None if one was not judged."""
    scores = [call.score for call in calls if call.score is not None]
    return None if len(scores) < len(calls) else combine(scores or [0.0])


def _majority(calls: Sequence[Call]) -> float | None:
    if any(call.score is None for call in calls):
        return None
    texts = [call.claim.text if isinstance(call.claim, Answer) else None for call in calls]
    return majority_value([(text, call.score or 0.0) for text, call in zip(texts, calls, strict=True)])


def _spent(episode: Episode, first: Sequence[Call], one: bool) -> float:
    before = episode.calls[: episode.calls.index(first[0])]
    needed = [
        call.tokens for call in before if call.key.role != first[0].key.role or call.key.turn != first[0].key.turn
    ]
    tokens = [call.tokens for call in first]
    return sum(needed) + (fmean(tokens) if one else sum(tokens))


def _by_task(episodes: Sequence[Episode], values: Sequence[float | None]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for episode, value in zip(episodes, values, strict=True):
        if value is not None:
            found.setdefault(episode.task, []).append(value)
    return found


def _means(outcomes: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {task: fmean(values) for task, values in outcomes.items()}
