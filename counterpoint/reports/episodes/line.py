"""An episode in one line: everything but its texts and tokens, and which episodes are asked for by their outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

from counterpoint.episode import Answer, CallKey, Choice, Claim, Episode, ErrorKind, Unreadable, Verdict
from counterpoint.task import RIGHT_FROM

OUTCOMES = ("any", "right", "partial", "wrong", "failed", "not-judged", "split", "unreadable", "truncated")
"""The outcomes by which episodes can be selected."""
OF_CALLS = ("split", "unreadable", "truncated")
"""The outcomes that the calls of an episode decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLine:
    """A call without its texts."""

    key: CallKey
    claim: Claim | None
    """A long answer may be shortened."""
    score: float | None
    cut_off: bool
    """True if the reply was ended at the token limit."""
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeLine:
    """An episode without its problem, and its calls without their texts."""

    row: int = 0
    """Its place in its file, from 0."""
    task: str
    rollout: int
    solo: bool = False
    """True if a role played the task alone, for comparison."""
    key: str | None
    """The right answer as it is recorded."""
    answer: str | None
    reward: float | None
    reason: str
    error: str | None
    error_kind: ErrorKind | None
    calls: tuple[CallLine, ...] = ()

    @property
    def success(self) -> float | None:
        """The value of the episode in an accuracy, as `Episode.success`."""
        if self.error is None:
            return self.reward
        return None if self.error_kind == "endpoint" else 0.0

    @property
    def is_right(self) -> bool:
        """True if the team's answer is right."""
        return self.success is not None and self.success >= RIGHT_FROM


def line_of(episode: Episode, row: int = 0) -> EpisodeLine:
    """The line of an episode that was read as a whole."""
    return EpisodeLine(
        row=row,
        task=episode.task,
        rollout=episode.rollout,
        key=episode.key,
        answer=episode.answer,
        reward=episode.score.reward,
        reason=episode.score.reason,
        error=episode.error,
        error_kind=episode.error_kind,
        calls=tuple(
            CallLine(
                key=call.key,
                claim=call.claim,
                score=call.score,
                cut_off=call.finish == "length",
                tokens=call.tokens,
            )
            for call in episode.calls
        ),
    )


def is_selected(line: EpisodeLine, *, role: str | None = None, outcome: str = "any", task: str = "") -> bool:
    """True if the episode is of a task whose id begins with `task`, called the role, and has the outcome.

    With a role, the outcomes that calls decide look at its calls alone.
    """
    calls = [call for call in line.calls if role in (None, call.key.role)]
    return (role is None or bool(calls)) and line.task.startswith(task) and _has(line, calls, outcome)


def _has(line: EpisodeLine, calls: Sequence[CallLine], outcome: str) -> bool:
    match outcome:
        case "right":
            return line.success == 1.0
        case "partial":
            return line.success is not None and 0.0 < line.success < 1.0
        case "wrong":
            return line.success == 0.0 and line.error is None
        case "failed":
            return line.error is not None
        case "not-judged":
            return line.error is None and line.reward is None
        case "split":
            return len({call.score for call in calls if isinstance(call.claim, Answer)}) > 1
        case "unreadable":
            return any(isinstance(call.claim, Unreadable) for call in calls)
        case "truncated":
            return any(call.cut_off for call in calls)
        case _:
            return True


def first_answer(line: EpisodeLine) -> CallLine | None:
    """The first call that gave an answer; None if there is none."""
    return next((call for call in line.calls if isinstance(call.claim, Answer)), None)


def judged_by(line: EpisodeLine) -> list[tuple[CallLine, CallLine]]:
    """Every verdict with the call that it judges, in the order of the verdicts."""
    calls = {call.key: call for call in line.calls}
    return [
        (call, calls[call.claim.about])
        for call in line.calls
        if isinstance(call.claim, Verdict) and call.claim.about in calls
    ]


def chosen_among(line: EpisodeLine) -> list[tuple[CallLine, list[CallLine]]]:
    """Every choice with its candidates, in their order."""
    calls = {call.key: call for call in line.calls}
    return [
        (call, [calls[key] for key in call.claim.candidates if key in calls])
        for call in line.calls
        if isinstance(call.claim, Choice)
    ]
