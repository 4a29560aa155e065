"""Scores answers with the scorer of a reasoning-gym data set, in a process that may be killed."""

import asyncio
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final

from counterpoint.errors import TaskError
from counterpoint.judges._process import Pool, Program, patience
from counterpoint.judges.base import Judge
from counterpoint.task import Score, not_judged

PROGRAM: Final = Path(__file__).with_name("worker.py")
_MEMORY: Final = 2048
"""MiB that scoring may use."""


class GymJudge(Judge):
    """The scorer of a reasoning-gym data set, in one process. The effect of an answer on it counts against the answer.

    One at which the scorer raises, or that takes it too much time or memory, is wrong: not judging it would pay. Not
    judged is an answer if the scorer raises at the reference answer too, or if no process starts.
    """

    bounded: ClassVar[bool] = True

    def __init__(self, about: Mapping[str, Any], seconds: float) -> None:
        """The scorer of the data set and options in `about`, with `seconds` of processor time for an answer."""
        self._seconds = seconds
        program = Program(
            name="reasoning-gym",
            file=PROGRAM,
            patience=patience(seconds),
            arguments=("score", str(seconds), str(_MEMORY)),
            first=about,
        )
        self._pool = Pool(program, workers=1)
        self._entries: dict[str, str] = {}

    def know(self, key: str, entry: str) -> None:
        """Answers with that key are scored against this entry of the data set."""
        self._entries[key] = entry

    async def start(self) -> None:
        """A process is ready. Raises TaskError if it does not start."""
        heard = await asyncio.wrap_future(self._pool.ask(None))
        if heard.end:
            await self.close()
            raise TaskError(f"the process that scores answers for reasoning-gym does not start: {heard.message}")

    async def close(self) -> None:
        """No process is left; answers that were still to be judged are not judged."""
        await asyncio.to_thread(self._pool.close)

    def facts(self) -> Mapping[str, str]:
        return {"judge_reasoning_gym": version("reasoning-gym")}

    async def judge(self, answer: str, key: str) -> Score:
        """The data set's own score, partial ones included."""
        heard = await asyncio.wrap_future(self._pool.ask({"entry": self._entries[key], "answer": answer}))
        match heard.end:
            case "closed":
                return not_judged(heard.message)
            case "unstarted":
                return not_judged(f"the process that scores answers did not start: {heard.message}")
            case "silent":
                return not_judged(f"the machine was too busy: {heard.message}")
            case "ended":
                late = f"took more than {self._seconds:g} s"
                why = late if heard.late else f"ended the process ({heard.status})"
                return Score(reward=0.0, reason=f"scoring the answer {why}")
        (facts,) = heard.lines
        if "broken" in facts:
            return not_judged(f"the scorer raised {facts['broken']}, at the reference answer too")
        if "error" in facts:
            return Score(reward=0.0, reason=f"the scorer raised {facts['error']}")
        return Score(reward=facts["score"])
