"""Any data set of reasoning-gym: generated problems with a scorer of their own, no network."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from counterpoint.errors import ConfigError, TaskError, unknown
from counterpoint.task import Problem, Score, Task, not_judged
from counterpoint.tasks._answers import BOXED_FORMAT, last_box
from counterpoint.tasks._splits import problem_id
from counterpoint.tasks.base import Judging, Splits

_PROGRAM: Final = Path(__file__).with_name("_gym_worker.py")
_START_SECONDS: Final = 120.0
_PATIENCE: Final = 20.0
"""Seconds of waiting a second of processor time is given on a busy machine."""
_LEAST_PATIENCE: Final = 10.0
_MEMORY: Final = 2048
"""MiB that scoring may use."""
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "TMPDIR")


def gym(
    *,
    dataset: str,
    options: dict[str, Any] | None = None,
    train: Annotated[int, Field(ge=1)] = 2048,
    validation: Annotated[int, Field(ge=1)] = 128,
    test: Annotated[int, Field(ge=1)] = 256,
    seed: int = 0,
    judge_seconds: Annotated[float, Field(gt=0)] = 5.0,
) -> Splits:
    r"""Problems of the reasoning-gym data set of that name; `options` are its difficulty parameters.

    The splits come from different seeds, and no text is in two of them or twice in one. An answer, read from the last
    `\boxed{...}`, is worth what the data set's own scorer gives, partial scores included; it may take so many seconds
    of processor time. The same options give the same tasks with the same version of reasoning-gym. Raises ConfigError
    if reasoning-gym is not installed, or if it has no such data set or option, TaskError if there are not so many
    problems.
    """
    if find_spec("reasoning_gym") is None:
        raise ConfigError("task 'gym' needs reasoning-gym, which is missing: `pip install 'counterpoint[gym]'`")
    about = {"dataset": dataset, "options": options or {}}
    counts = {"train": train, "validation": validation, "test": test}
    judge = GymJudge(about, judge_seconds)
    tasks: dict[str, list[Task]] = {split: [] for split in counts}
    for row in _made({**about, "counts": counts, "seed": seed}):
        tasks[row["split"]].append(_task(dataset, row, judge))
    return Splits(
        train=tuple(tasks["train"]), validation=tuple(tasks["validation"]), test=tuple(tasks["test"]), judging=judge
    )


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
            *_command("score", str(self._seconds), str(_MEMORY)),
            env=_environment(),
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


def _made(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The problems, split by split. Raises ConfigError or TaskError."""
    name = asked["dataset"]
    try:
        question = json.dumps(asked)
    except TypeError as error:
        raise ConfigError(f"task.gym.options cannot be handed to {name!r}: {error}") from error
    done = subprocess.run(
        _command("make"), input=question.encode() + b"\n", capture_output=True, env=_environment(), cwd="/", check=False
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    last = rows.pop() if rows else {}
    if "unknown" in last:
        raise ConfigError("task.gym: " + unknown(last["unknown"], last["name"], last["allowed"]))
    if "refused" in last:
        raise ConfigError(f"task.gym: {name!r} refuses these options: {last['refused']}")
    if "short" in last:
        raise TaskError(f"gym: {name}: {last['short']}")
    if "end" not in last:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise TaskError(f"gym: {name}: its problems cannot be made: {reason}")
    return rows


def _task(dataset: str, row: Mapping[str, Any], judge: GymJudge) -> Task:
    text = row["question"]
    problem = Problem(id=problem_id(f"gym-{dataset}", text), text=text, answer_format=BOXED_FORMAT, extract=last_box)
    key = json.dumps({"problem": problem.id, "answer": row["answer"]})
    judge.know(key, row["entry"])
    return Task(problem=problem, key=key, judge=judge.judge, bounded=True)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-W", "ignore", str(_PROGRAM), *arguments]


def _environment() -> dict[str, str]:
    """Without secrets, and with the order of sets the same in every process: some data sets draw from sets."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
