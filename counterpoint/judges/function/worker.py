"""Calls the user's function in a process of its own, which ends itself when a call never returns.

The first line it reads says what to call: a pickle that the parent process made from an object of its own. Then every
line is a question, `{"answer", "key", "problem", "which", "id"}`, and every line it writes an answer to one:
`{"reward", "parts", "reason", "id"}`.
"""

import asyncio
import base64
import json
import os
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from threading import Event, Lock, Thread, Timer, get_ident
from time import sleep
from types import FrameType
from typing import Any, BinaryIO, NoReturn

_LONGEST_MESSAGE = 500
_LOOKS_PER_LIMIT = 8
_LONGEST_PAUSE = 1.0


def main() -> None:
    """Serve until the input ends."""
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    voice = _Voice(os.dup(1))
    os.dup2(2, 1)  # what the function prints must not be taken for an answer
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a sign that the locale lacks is no reason to raise
    first = json.loads(questions.readline())
    sys.path[:] = first["path"]
    try:
        calls = [_Call(*found) for found in pickle.loads(base64.b64decode(first["functions"]))]
    except BaseException as error:  # whatever the user's module raises when it is imported
        voice.say({"error": f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]})
        return
    voice.say({"ready": True})
    if first["at_once"] > 1:
        asyncio.run(_serve_at_once(questions, calls, first["seconds"], voice))
    else:
        _serve(questions, calls, first["seconds"], voice)


class _Voice:
    """The pipe to the parent: whole lines only, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = Lock()

    def say(self, facts: dict[str, Any]) -> None:
        line = json.dumps(facts).encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]

    def last_words(self, *lines: dict[str, Any]) -> NoReturn:
        """They are said, and this process and those that it started end."""
        with suppress(OSError):  # the parent may be gone, and this process must not outlive it
            for facts in lines:
                self.say(facts)
        os.killpg(0, signal.SIGKILL)
        raise SystemExit


class _Call:
    """The user's own function with its options bound."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], wants_problem: bool) -> None:
        self.function = partial(function, **options)
        self._wants_problem = wants_problem
        inner: Any = function
        while isinstance(inner, partial):
            inner = inner.func
        inner = inner if hasattr(inner, "__code__") else type(inner).__call__
        self.file: str | None = getattr(getattr(inner, "__code__", None), "co_filename", None)

    def __call__(self, question: dict[str, Any]) -> Any:
        arguments = [question["answer"], question["key"]]
        return self.function(*arguments, *([question["problem"]] if self._wants_problem else []))

    def place(self, frames: list[tuple[str, int]]) -> str:
        """The last line of the user's file among these, or of any file."""
        own = [frame for frame in frames if frame[0] == self.file] or frames
        return f"{Path(own[-1][0]).name}, line {own[-1][1]}" if own else "no line is known"


def _serve(questions: BinaryIO, calls: list[_Call], seconds: float, voice: _Voice) -> None:
    """One question after another; a timer in a thread of its own ends the process if a call does not return."""
    caller, turn = get_ident(), Lock()
    under_way: dict[str, Any] = {}

    def give_up(call: _Call, question: dict[str, Any]) -> None:
        with turn:
            if under_way.get("question") is question:
                frame = sys._current_frames().get(caller)
                voice.last_words(_late(question, seconds, call.place(_frames_of(frame))))

    for line in questions:
        question = json.loads(line)
        call = calls[question["which"]]
        under_way["question"] = question
        timer = Timer(seconds, give_up, [call, question])
        timer.daemon = True
        timer.start()
        try:
            value = call(question)
            facts = _facts(asyncio.run(_awaited(value)) if hasattr(value, "__await__") else value)
        except BaseException as error:  # whatever the user's function raises, SystemExit included
            facts = _raised(error, call)
        with turn:
            under_way.clear()
        timer.cancel()
        voice.say({**facts, "id": question["id"]} if "id" in question else facts)


async def _serve_at_once(questions: BinaryIO, calls: list[_Call], seconds: float, voice: _Voice) -> None:
    """Every question in a task of its own; a thread ends the process if one of them keeps the loop from going on."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    tasks: dict[asyncio.Task[None], dict[str, Any]] = {}

    def begin(question: dict[str, Any]) -> None:
        task = loop.create_task(_answer(calls[question["which"]], question, seconds, voice))
        tasks[task] = question
        task.add_done_callback(lambda ended: tasks.pop(ended, None))

    def read() -> None:
        for line in questions:
            loop.call_soon_threadsafe(begin, json.loads(line))
        loop.call_soon_threadsafe(done.set)

    caller = get_ident()
    Thread(target=read, daemon=True).start()
    Thread(target=_watch, args=(loop, tasks, calls, caller, seconds, voice), daemon=True).start()
    await done.wait()


def _watch(
    loop: asyncio.AbstractEventLoop,
    tasks: dict[asyncio.Task[None], dict[str, Any]],
    calls: list[_Call],
    caller: int,
    seconds: float,
    voice: _Voice,
) -> None:
    """Ends the process when the loop stands still, and says which question does it: the others can be asked again."""
    while True:
        alive = Event()
        try:
            loop.call_soon_threadsafe(alive.set)
        except RuntimeError:  # the loop is closed: there is nothing left to watch
            return
        if not alive.wait(seconds):
            current = asyncio.current_task(loop)
            question = tasks.get(current) if current is not None else None
            frames = _frames_of(sys._current_frames().get(caller))
            if question is None:  # it is no call that does it: whoever waits is asked again
                voice.last_words()
            voice.last_words(_late(question, seconds, calls[question["which"]].place(frames)))
        sleep(min(_LONGEST_PAUSE, seconds / _LOOKS_PER_LIMIT))


async def _answer(call: _Call, question: dict[str, Any], seconds: float, voice: _Voice) -> None:
    try:
        async with asyncio.timeout(seconds) as clock:
            facts = _facts(await call(question))
    except BaseException as error:  # whatever the user's function raises, SystemExit included
        late = clock.expired()
        facts = _late(question, seconds, "") if late else _raised(error, call)
    voice.say({**facts, "id": question["id"]})


async def _awaited(value: Any) -> Any:
    return await value


def _facts(value: Any) -> dict[str, Any]:
    """The score that the value stands for."""
    from counterpoint.task import as_score

    score = as_score(value)
    parts = {str(name): float(part) for name, part in score.parts.items()}
    return {"reward": score.reward, "parts": parts, "reason": score.reason}


def _raised(error: BaseException, call: _Call) -> dict[str, Any]:
    from counterpoint.errors import told

    frames, trace = [], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename != __file__:
            frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    message = told(error)[:_LONGEST_MESSAGE]
    return {"failed": f"raised {message} ({call.place(frames)})"}


def _late(question: dict[str, Any], seconds: float, place: str) -> dict[str, Any]:
    facts = {"failed": f"took longer than {seconds:g} s" + (f" ({place})" if place else "")}
    return {**facts, "id": question["id"]} if "id" in question else facts


def _frames_of(frame: FrameType | None) -> list[tuple[str, int]]:
    """File and line of every call of a thread, from the outermost inwards, without those of this file."""
    frames: list[tuple[str, int]] = []
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return frames[::-1]


if __name__ == "__main__":
    main()
