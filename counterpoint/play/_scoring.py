"""The score of an answer and of every claim of an episode, by the judge of its task."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from counterpoint.episode import Answer, Call, CallKey, Choice, Claim, Proposal, Unreadable, Verdict
from counterpoint.errors import folded_traceback, located, told
from counterpoint.play._clock import Clock, is_cancelled
from counterpoint.task import RIGHT_FROM, Score, Task, not_judged


@dataclass(frozen=True, slots=True)
class Judged:
    """The score of an answer, and whether the judge failed on it."""

    score: Score
    failed: bool = False
    """The judge raised, took too long or returned something other than a Score; then the score is not judged."""
    traceback: str = ""
    """Where the judge raised, folded; empty unless it did."""


class TaskJudge:
    """Scores answers to one task, each distinct answer once; an answer that is not judged in time is not judged."""

    def __init__(self, task: Task, timeout: float) -> None:
        """`timeout` is in seconds and bounds one score; a judge that bounds its own time (`Task.bounded`) is exempt."""
        self._task = task
        self._timeout = timeout
        self._judged: dict[str | None, asyncio.Task[Judged]] = {}

    async def judge(self, answer: str | None) -> Judged:
        """The score of `answer`; None stands for no answer."""
        if answer not in self._judged:
            self._judged[answer] = asyncio.ensure_future(self._verify(answer))
        return await self._judged[answer]

    async def reward(self, answer: str | None) -> float | None:
        """The reward of `answer` in [0, 1]; None if it was not judged."""
        return (await self.judge(answer)).score.reward

    async def _verify(self, answer: str | None) -> Judged:
        clock = Clock(math.inf if self._task.bounded else self._timeout)
        try:
            score = await clock.run(self._task.verify(answer))
        except (Exception, asyncio.CancelledError) as error:  # a judge that raises has not judged, whatever it raised
            if isinstance(error, asyncio.CancelledError) and is_cancelled():
                raise
            limit = f"{self._timeout:g} s (rollout.judge_timeout)"
            said = f"took longer than {limit}" if clock.expired else f"raised {told(error)}"
            reason = located(f"the judge {said}", error)
            return Judged(not_judged(reason), failed=True, traceback=folded_traceback(error))
        if not isinstance(score, Score):
            return Judged(not_judged(f"the judge returned a {type(score).__name__} instead of a Score"), failed=True)
        return Judged(score)


async def scored(calls: Sequence[Call], claims: Sequence[Claim | None], judge: TaskJudge) -> tuple[Call, ...]:
    """The calls of an episode, each with its claim and the score of it."""
    known = {call.key: claim for call, claim in zip(calls, claims, strict=True)}
    return tuple(
        [
            replace(call, claim=claim, score=await _score_of(claim, known, judge))
            for call, claim in zip(calls, claims, strict=True)
        ]
    )


async def _score_of(claim: Claim | None, claims: Mapping[CallKey, Claim | None], judge: TaskJudge) -> float | None:
    """The score of a claim in [0, 1]; None if there is no claim, or if what it rests on was not judged."""
    match claim:
        case None:
            return None
        case Unreadable():
            return 0.0
        case Answer(text=text):
            return await judge.reward(text)
        case Choice(candidates=candidates, index=index):
            return await judge.reward(_answer(claims.get(candidates[index])))
        case Proposal(followed_by=followers):
            rewards = [await judge.reward(_answer(claims.get(follower))) for follower in followers]
            judged = [reward for reward in rewards if reward is not None]
            return fmean(judged) if judged else None
        case Verdict(about=about, correct=correct):
            truth = await judge.reward(_answer(claims.get(about)))
            return None if truth is None else float((truth >= RIGHT_FROM) == correct)


def _answer(claim: Claim | None) -> str | None:
    return claim.text if isinstance(claim, Answer) else None
