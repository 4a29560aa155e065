"""Worker processes that compare answers, each of which may be killed at any time without harm to any other."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, Final

_PROGRAM: Final = Path(__file__).with_name("worker.py")
_START_SECONDS: Final = 120.0
_PATIENCE: Final = 20.0
"""Seconds of waiting a second of processor time is given on a busy machine."""
_LEAST_PATIENCE: Final = 10.0
_RECYCLED_AFTER: Final = 2000
"""Answers that one process compares: its caches grow."""
_TRIES: Final = 2
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "TMPDIR")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An answer and a key, both LaTeX."""

    answer: str
    key: str
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Whether an answer is right; None if the machine, or the key, did not let it be found out."""

    right: bool | None
    reason: str = ""


class Pool:
    """At most `workers` processes, started when they are needed. Usable again after `close`."""

    def __init__(self, *, workers: int, seconds: float, memory: int) -> None:
        self._count = workers
        self._seconds = seconds
        self._memory = memory
        self._lock = Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._idle: list[_Worker] = []
        self._alive: set[_Worker] = set()
        self._closing = False
        self.started = 0

    def ask(self, question: Question) -> "Future[Told]":
        """What becomes of it, in its turn."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._count, thread_name_prefix="mathematics")
        return self._threads.submit(self._ask, question)

    def processes(self) -> tuple[int, ...]:
        """The ids of the processes that are there now."""
        with self._lock:
            return tuple(worker.pid for worker in self._alive)

    def close(self) -> None:
        """No process and no thread is left; what was still asked is told that it could not be judged."""
        with self._lock:
            self._closing = True
            alive, threads = [*self._alive], self._threads
        for worker in alive:
            worker.kill()
        if threads is not None:
            threads.shutdown(wait=True)
        with self._lock:
            for worker in [*self._alive]:
                self._end(worker)
            self._idle.clear()
            self._threads = None
            self._closing = False

    def _ask(self, question: Question) -> Told:
        told = Told(right=None, reason="nothing was asked")
        for _ in range(_TRIES):
            if self._closing:
                return Told(right=None, reason="the judge was closed")
            told, again = self._tried(question)
            if not again:
                break
        return told

    def _tried(self, question: Question) -> tuple[Told, bool]:
        """What one process says, and whether another should be asked."""
        try:
            worker = self._worker()
        except _NotStartedError as error:
            return Told(right=None, reason=str(error)), True
        try:
            told = worker.compare(question)
        except _EndedError as error:
            self._discard(worker)
            return self._verdict(error, worker.has_read_key)
        if worker.compared < _RECYCLED_AFTER and not self._closing:
            with self._lock:
                self._idle.append(worker)
        else:
            self._discard(worker)
        return told, False

    def _verdict(self, error: "_EndedError", read: bool) -> tuple[Told, bool]:
        """What the end of a process says: what an answer does to it is the answer's doing, and wrong."""
        if self._closing:
            return Told(right=None, reason="the judge was closed"), False
        if error.status is None:
            return Told(right=None, reason=f"the machine was too busy: {error}"), False
        late = error.status == -signal.SIGPROF
        why = (
            f"took longer than {self._seconds:g} s of processor time" if late else f"ended the process ({error.status})"
        )
        if not read:
            return Told(right=None, reason=f"the key {why}"), not late
        return Told(right=False, reason=f"the answer {why}"), not late

    def _worker(self) -> "_Worker":
        """An idle process, or a new one."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.runs():
                    return worker
                self._end(worker)
        worker = _Worker(self._seconds, self._memory)
        with self._lock:
            self._alive.add(worker)
            self.started += 1
        try:
            worker.wait_until_ready(lambda: self._closing)
        except _EndedError as error:
            self._discard(worker)
            raise _NotStartedError(f"the process that compares answers did not start: {error}") from error
        return worker

    def _discard(self, worker: "_Worker") -> None:
        with self._lock:
            self._end(worker)

    def _end(self, worker: "_Worker") -> None:
        worker.end()
        self._alive.discard(worker)


class _NotStartedError(Exception):
    """No process could be had."""


class _EndedError(Exception):
    """A process ended or does not answer. `status` is how it ended, None if it had to be killed for its silence."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class _Worker:
    """One process. All but `kill` is for the one thread that has it."""

    def __init__(self, seconds: float, memory: int) -> None:
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._patience = seconds * _PATIENCE + _LEAST_PATIENCE
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(seconds), str(memory)],
            env={**environment, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._rest = b""
        self.compared = 0
        self.has_read_key = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def runs(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self, closing: Callable[[], bool]) -> None:
        """It can be asked. Raises _EndedError."""
        facts = self._told(_START_SECONDS)
        if "error" in facts:
            raise _EndedError(str(facts["error"]), None)
        if closing():
            raise _EndedError("the judge was closed", None)

    def compare(self, question: Question) -> Told:
        """What it says. Raises _EndedError."""
        self.compared += 1
        self.has_read_key = False
        asked = {"answer": question.answer, "key": question.key, "tolerance": question.tolerance}
        self._write(json.dumps(asked).encode() + b"\n")
        self._told(self._patience)
        self.has_read_key = True
        facts = self._told(self._patience)
        return Told(right=bool(facts["right"]), reason=str(facts["reason"]))

    def kill(self) -> None:
        """It is told to end, from any thread."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def end(self) -> None:
        """It has ended, and its pipes are closed."""
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process.wait()

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError as error:
            raise _EndedError("it ended before it was asked", self._process.wait()) from error

    def _told(self, seconds: float) -> Mapping[str, Any]:
        """Its next line. Raises _EndedError if there is none within so many seconds."""
        assert self._process.stdout is not None
        descriptor, until = self._process.stdout.fileno(), monotonic() + seconds
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        while b"\n" not in self._rest:
            if not poll.poll(max(0.0, until - monotonic()) * 1000):
                raise _EndedError(f"no word after {seconds:g} s", None)
            data = os.read(descriptor, 65536)
            if not data:
                status = self._process.wait()
                raise _EndedError(f"it ended with status {status}", status)
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        facts: Mapping[str, Any] = json.loads(line)
        return facts
