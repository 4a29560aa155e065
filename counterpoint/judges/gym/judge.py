"""Scores answers with the scorer of a reasoning-gym data set, in a process that may be killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import TaskError
from counterpoint.judges.base import Judging
from counterpoint.task import Score, not_judged

_PROGRAM: Final = Path(__file__).with_name("worker.py")
_START_SECONDS: Final = 120.0
_PATIENCE: Final = 20.0
"""Seconds of waiting a second of processor time is given on a busy machine."""
_LEAST_PATIENCE: Final = 10.0
_MEMORY: Final = 2048
"""MiB that scoring may use."""
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "TMPDIR")


class GymJudge(Judging):
    """Scores answers in one process. What an answer does to its scorer is its own doing.

    One at which the scorer raises, or that takes it too much time or memory, is wrong: not judging it would pay. Not
    judged is an answer if the scorer raises at the reference answer too, or if there was no process to be had.
    """

    def __init__(self, about: Mapping[str, Any], seconds: float) -> None:
        """`about`: the data set and its options."""
        self._about = about
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._turn: asyncio.Lock | None = None
        self._entries: dict[str, str] = {}

    def know(self, key: str, entry: str) -> None:
        """Answers with that key are scored against this entry."""
        self._entries[key] = entry

    async def start(self) -> None:
        """It is ready. Raises TaskError if the process does not start."""
        self._turn = asyncio.Lock()
        self._process = await self._started()

    async def close(self) -> None:
        """No process is left."""
        self._turn = None
        await self._end()

    def facts(self) -> Mapping[str, str]:
        return {"judge_reasoning_gym": version("reasoning-gym")}

    async def judge(self, answer: str, key: str) -> Score:
        """What the data set's scorer gives."""
        if self._turn is None:
            return not_judged("the judge is not started")
        async with self._turn:
            try:
                return await self._scored(answer, self._entries[key])
            except BaseException:
                await self._end()  # it would answer the wrong question next
                raise

    async def _scored(self, answer: str, entry: str) -> Score:
        if self._process is None:
            self._process = await self._started()
        try:
            facts = await _told(self._process, {"entry": entry, "answer": answer}, self._patience)
        except TimeoutError:
            await self._end()
            return not_judged(f"the machine was too busy: no word after {self._patience:g} s")
        if facts is None and (self._turn is None or self._process is None):
            return not_judged("the judge was closed")
        if facts is None:
            status = await self._process.wait()
            await self._end()
            late = status == -signal.SIGPROF
            why = f"took more than {self._seconds:g} s" if late else f"ended the process ({status})"
            return Score(reward=0.0, reason=f"scoring the answer {why}")
        if "broken" in facts:
            return not_judged(f"the scorer raised {facts['broken']}, at the reference answer too")
        if "error" in facts:
            return Score(reward=0.0, reason=f"the scorer raised {facts['error']}")
        return Score(reward=facts["score"])

    @property
    def _patience(self) -> float:
        return self._seconds * _PATIENCE + _LEAST_PATIENCE

    async def _started(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command("score", str(self._seconds), str(_MEMORY)),
            env=environment(),
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._process = process
        try:
            facts = await _told(process, self._about, _START_SECONDS)
        except TimeoutError:
            facts = None
        if facts is None:
            await self._end()
            raise TaskError("the process that scores answers for reasoning-gym does not start")
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _told(
    process: asyncio.subprocess.Process, question: Mapping[str, Any], seconds: float
) -> dict[str, Any] | None:
    """What it says to that; None if it has ended. Raises TimeoutError."""
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(seconds):
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        except ConnectionError:
            return None
    return dict(json.loads(line)) if line.endswith(b"\n") else None


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-W", "ignore", str(_PROGRAM), *arguments]


def environment() -> dict[str, str]:
    """Without secrets, and with the order of sets the same in every process: some data sets draw from sets."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
