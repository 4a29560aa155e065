"""A task is a problem that anyone may see and a key that only `verify` sees."""

import asyncio
import hashlib
import inspect
import math
import numbers
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from counterpoint.errors import TaskError, writable


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The part of a task that a workflow may see."""

    id: str
    """Unique within the task set; the same problem has the same id in every run."""
    text: str
    """The problem as a person would read it."""
    answer_format: str
    """One sentence that tells a model how to write its answer."""
    extract: Callable[[str], str | None] = field(repr=False, compare=False)
    """Reads the answer out of a reply; None where there is none."""


_LONGEST_SHOWN = 100


def scalar(value: Any) -> Any:
    """The Python number of a scalar of numpy or torch; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def _as_float(what: str, value: Any) -> float:
    plain = scalar(value)
    if not isinstance(plain, numbers.Real):
        raise TaskError(f"{what} must be a number, not {_shown(value)}, a {type(value).__name__}")
    return float(plain)


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The score of an answer. A reward of None means that it could not be judged, which is not 0."""

    reward: float | None
    """In [0, 1]; None when not judged."""
    parts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Named components, for reading; training uses `reward` alone."""
    reason: str = ""
    """The reason why it could not be judged, or a remark of the judge."""

    def __post_init__(self) -> None:
        """Reward and parts are plain floats, and the reason can be written. Raises TaskError if they are none."""
        if self.reward is not None:
            object.__setattr__(self, "reward", _as_float("a reward", self.reward))
            if not 0.0 <= self.reward <= 1.0:
                raise TaskError(f"a reward of {self.reward} is outside [0, 1]")
        if not isinstance(self.parts, Mapping):
            raise TaskError(f"the parts of a score must be numbers by name, not {type(self.parts).__name__}")
        if self.parts:
            plain = {str(name): _as_float(f"part {name!r} of a score", part) for name, part in self.parts.items()}
            object.__setattr__(self, "parts", plain)
        reason: Any = "" if self.reason is None else self.reason
        if not isinstance(reason, str):
            raise TaskError(f"the reason of a score must be text, not {type(reason).__name__}")
        object.__setattr__(self, "reason", writable(reason))


LONGEST_RECORDED = 1000
"""Characters of a right answer that the records of a run have in full."""
RIGHT_FROM = 1.0
"""An answer with at least this reward is right, where it must be right or wrong."""
RIGHT = Score(reward=1.0)
WRONG = Score(reward=0.0)


def not_judged(reason: str) -> Score:
    """A score that says nothing about the answer, with the reason."""
    return Score(reward=None, reason=reason)


Scored = Score | float | bool | None
"""A judge's result: a score, a reward in [0, 1], right or wrong, or None for an answer that it cannot judge."""
JudgeFunction = Callable[[str, str], Scored | Awaitable[Scored]]
"""`judge(answer, key)`, plain or async."""


def as_score(value: Any) -> Score:
    """The score that a judge's result stands for: True is 1, False is 0, a number in [0, 1] is the reward.

    Anything else is not judged, with a reason that names what it is. Scalars of numpy and torch are numbers.
    """
    if isinstance(value, Score):
        return value
    if value is None:
        return not_judged("returned None")
    plain = scalar(value)
    if not isinstance(plain, numbers.Real):
        return not_judged(
            f"returned {_shown(value)}, a {type(value).__name__}, instead of a number in [0, 1], True, False, None or a"
            " Score"
        )
    reward = float(plain)
    if not 0.0 <= reward <= 1.0:
        return not_judged(f"returned {plain}, which is outside [0, 1]")
    return Score(reward=reward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A problem and its hidden key. Workflows get the `problem`; the key stays here."""

    problem: Problem
    key: str = field(repr=False)
    judge: JudgeFunction = field(repr=False, compare=False)
    """It may raise or hang: the caller of `verify` bounds it."""
    bounded: bool = False
    """The judge bounds its own time, and how long an answer waits for its turn says nothing about the answer."""
    unanswered: Score = field(default=WRONG, compare=False)
    """The score of a missing answer."""
    accepted: tuple[str, ...] = field(default=(), repr=False)
    """The answers that are right, if there are several; `key` then lists them. An answer gets its best score."""
    reference: str | None = field(default=None, repr=False, compare=False)
    """The right answer as a person would read it, where the key is something else; only records show it."""

    place: str = field(default="", repr=False, compare=False)
    """Where in the data the task stands, for messages; empty for a task that was made."""

    @property
    def recorded_key(self) -> str:
        """The right answer as the records of a run have it: `reference`, or else the key.

        Of a text of more than `LONGEST_RECORDED` characters it is the beginning, with the length and the SHA-256 of the
        whole.
        """
        text = self.key if self.reference is None else self.reference
        if len(text) <= LONGEST_RECORDED:
            return text
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"{text[:LONGEST_RECORDED]}... ({len(text)} characters in all, SHA-256 {digest})"

    async def verify(self, answer: str | None) -> Score:
        """The score of `answer`; `unanswered` for None.

        A plain judge runs in a thread, which nothing can stop; `load_tasks` puts it into a process that can be killed.
        """
        if answer is None:
            return self.unanswered
        scores = []
        for key in self.accepted or (self.key,):
            scores.append(await self._scored(answer, key))
            if (scores[-1].reward or 0.0) >= RIGHT_FROM:
                break
        return _best(scores)

    async def _scored(self, answer: str, key: str) -> Score:
        if inspect.iscoroutinefunction(self.judge):
            return as_score(await self.judge(answer, key))
        value = await asyncio.to_thread(self.judge, answer, key)
        return as_score(await value if inspect.isawaitable(value) else value)


def _best(scores: Sequence[Score]) -> Score:
    """The last score if it is right, else one that was not judged, which might have been right, else the highest."""
    if (scores[-1].reward or 0.0) >= RIGHT_FROM:
        return scores[-1]
    return max(scores, key=lambda score: math.inf if score.reward is None else score.reward)
