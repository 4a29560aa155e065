"""A task is a problem that anyone may see and a key that only `verify` sees."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from counterpoint.errors import TaskError


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a workflow may see of a task."""

    id: str
    """Unique within the task set; the same problem has the same id in every run."""
    text: str
    """The problem as a person would read it."""
    answer_format: str
    """One sentence that tells a model how to write its answer."""
    extract: Callable[[str], str | None] = field(repr=False, compare=False)
    """Read the answer out of a reply; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A verdict on an answer. A reward of None means that it could not be judged, which is not 0."""

    reward: float | None
    """In [0, 1]; None when not judged."""
    parts: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Named components, for reading; `reward` is what training uses."""
    reason: str = ""
    """Why it could not be judged, or what the judge had to say."""

    def __post_init__(self) -> None:
        if self.reward is not None and not 0.0 <= self.reward <= 1.0:
            raise TaskError(f"a reward of {self.reward} is outside [0, 1]")


RIGHT_FROM = 1.0
"""An answer with at least this reward is right, where it must be right or wrong."""
RIGHT = Score(reward=1.0)
WRONG = Score(reward=0.0)


def not_judged(reason: str) -> Score:
    """A score that says nothing about the answer, and why."""
    return Score(reward=None, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A problem and its hidden key. Workflows get the `problem`; the key stays here."""

    problem: Problem
    key: str = field(repr=False)
    judge: Callable[[str, str], Awaitable[Score]] = field(repr=False, compare=False)
    """`judge(answer, key)`; it may raise or hang, whoever calls `verify` bounds it."""
    bounded: bool = False
    """The judge bounds its own time, and how long an answer waits for its turn says nothing about the answer."""
    unanswered: Score = field(default=WRONG, compare=False)
    """What no answer at all is worth."""

    async def verify(self, answer: str | None) -> Score:
        """The score of `answer`; of none it is `unanswered`."""
        if answer is None:
            return self.unanswered
        return await self.judge(answer, self.key)
