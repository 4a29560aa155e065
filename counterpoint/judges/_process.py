"""Processes that judge and may be killed at any time: the one pool that every judge with a program of its own uses.

A program reads one JSON object per line and writes one or more JSON objects per question. It first says that it is
`{"ready": true}`, or `{"error": reason}`. If it answers several questions at once, every question carries an `id`,
which its lines repeat.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, Literal

_START_SECONDS: Final = 120.0
_READER_SECONDS: Final = 10.0
_PATIENCE: Final = 20.0
_LEAST_PATIENCE: Final = 10.0
_TRIES: Final = 2
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "TMPDIR")

Facts = Mapping[str, Any]


def environment() -> dict[str, str]:
    """An environment without secrets, in which the order of sets is the same in every process."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}


def patience(seconds: float) -> float:
    """Seconds of wall clock to wait for a program that ends itself after `seconds` of processor time.

    On a busy machine processor time comes slowly; beyond this the silence says nothing about the answer.
    """
    return seconds * _PATIENCE + _LEAST_PATIENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Python file that judges, and the conditions under which it runs."""

    name: str
    """Its judge's name, in messages and as the name of threads."""
    file: Path
    patience: float
    """Seconds of silence after which its process is killed."""
    arguments: tuple[str, ...] = ()
    first: Facts | None = None
    """Sent to every process before its first question."""
    at_once: int = 1
    """Questions that one process answers at the same time."""
    recycled_after: int = 2000
    """Questions after which a process is replaced, because its caches grow."""
    environment: Mapping[str, str] = field(default_factory=environment, repr=False)
    folder: str = "/"
    speaks: bool = False
    """Its standard error is the caller's, instead of being discarded."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-P", "-W", "ignore", str(self.file), *self.arguments]


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The lines that a process wrote in answer to a question, and how it ended if it did before the last of them."""

    lines: tuple[Facts, ...] = ()
    end: Literal["", "closed", "silent", "ended", "unstarted"] = ""
    status: int | None = None
    """The exit status of a process that ended by itself."""
    message: str = ""

    @property
    def late(self) -> bool:
        """The kernel ended the process because it used more processor time than it had set itself."""
        return self.status == -signal.SIGPROF


_CLOSED: Final = Heard(end="closed", message="the judge was closed")


class Pool:
    """At most `workers` processes of a program, started when they are needed. Usable again after `close`.

    A question whose process ends, or does not start, is asked once more, unless it ran out of processor time.
    """

    def __init__(self, program: Program, *, workers: int) -> None:
        self._program = program
        self._places = workers * program.at_once
        self._lock = Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._alive: set[_Worker] = set()
        self._closing = False
        self.started = 0
        """Processes started so far."""

    def ask(self, question: Facts | None, lines: int = 1) -> "Future[Heard]":
        """The `lines` lines that answer the question; with None, that a process is ready."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._places, thread_name_prefix=self._program.name)
            return self._threads.submit(self._ask, question, lines)

    def processes(self) -> tuple[int, ...]:
        """The ids of the processes that are there now."""
        with self._lock:
            return tuple(worker.pid for worker in self._alive)

    def close(self) -> None:
        """No process and no thread is left; questions that wait for an answer get the end "closed"."""
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
            self._threads = None
            self._closing = False

    def _ask(self, question: Facts | None, lines: int) -> Heard:
        heard = _CLOSED
        for _ in range(_TRIES):
            worker = self._seated()
            if worker is None:
                return _CLOSED
            heard = worker.exchange(question, lines)
            self._leave(worker, heard)
            if heard.end not in ("ended", "unstarted") or heard.late:
                break
        return _CLOSED if heard.end and self._closing else heard

    def _seated(self) -> "_Worker | None":
        """A process with a free place, which is now taken; None while the pool is being closed."""
        with self._lock:
            if self._closing:
                return None
            for worker in [*self._alive]:
                if not worker.runs():
                    self._end(worker)
            free = [one for one in self._alive if one.free and one.asked < self._program.recycled_after]
            worker = max(free, key=lambda one: one.free, default=None) or self._new()
            worker.free -= 1
            worker.asked += 1
            return worker

    def _new(self) -> "_Worker":
        worker = _Worker(self._program)
        self._alive.add(worker)
        self.started += 1
        return worker

    def _leave(self, worker: "_Worker", heard: Heard) -> None:
        with self._lock:
            worker.free += 1
            worn = worker.asked >= self._program.recycled_after and worker.free == self._program.at_once
            if heard.end or worn:
                self._end(worker)

    def _end(self, worker: "_Worker") -> None:
        worker.end()
        self._alive.discard(worker)


class _Worker:
    """One process. A thread of its own reads what it writes, so that several questions may be under way."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._process = subprocess.Popen(
            program.command,
            env=dict(program.environment),
            cwd=program.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if program.speaks else subprocess.DEVNULL,
            start_new_session=True,
        )
        self.free = program.at_once
        self.asked = 0
        self._numbers = count(1)
        self._lock = Lock()
        self._writing = Lock()
        self._starting = Lock()
        self._not_ready: Heard | None = None
        self._is_ready = False
        self._over = False
        # A program that answers one question at a time repeats no id: its lines are in the box of None.
        self._boxes: dict[int | None, SimpleQueue[Facts | None]] = {None: SimpleQueue()}
        self._reader = Thread(target=self._read, name=f"{program.name}-reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def runs(self) -> bool:
        return self._process.poll() is None

    def exchange(self, question: Facts | None, lines: int) -> Heard:
        """The question is asked and its answer awaited, in the thread of the caller."""
        not_ready = self._first_words()
        if not_ready is not None or question is None:
            return not_ready or Heard()
        number = next(self._numbers) if self._program.at_once > 1 else None
        box = self._box(number)
        try:
            self._write(question if number is None else {**question, "id": number})
            return self._hear(box, lines, self._program.patience)
        finally:
            if number is not None:
                with self._lock:
                    del self._boxes[number]

    def kill(self) -> None:
        """The process and those it started are told to end, from any thread."""
        if self.runs():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """The process has ended, and its pipes are closed."""
        self.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._reader.join(_READER_SECONDS)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _first_words(self) -> Heard | None:
        """None once the process is ready, else why it is not."""
        with self._starting:
            if self._is_ready or self._not_ready is not None:
                return self._not_ready
            if self._program.first is not None:
                self._write(self._program.first)
            heard = self._hear(self._boxes[None], 1, _START_SECONDS)
            reason = heard.message if heard.end else str(heard.lines[0].get("error", ""))
            if heard.end or reason:
                self._not_ready = Heard(end="unstarted", message=reason)
            self._is_ready = self._not_ready is None
            return self._not_ready

    def _box(self, number: int | None) -> "SimpleQueue[Facts | None]":
        with self._lock:
            box = self._boxes.setdefault(number, SimpleQueue())
            if self._over:
                box.put(None)
            return box

    def _write(self, facts: Facts) -> None:
        """The process is told this; if it has ended, what it is asked next is answered by its end."""
        line = json.dumps(facts).encode() + b"\n"
        assert self._process.stdin is not None
        with self._writing, suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _hear(self, box: "SimpleQueue[Facts | None]", lines: int, seconds: float) -> Heard:
        heard: list[Facts] = []
        while len(heard) < lines:
            try:
                facts = box.get(timeout=seconds)
            except Empty:
                return Heard(lines=tuple(heard), end="silent", message=f"no word after {seconds:g} s")
            if facts is None:
                status = self._process.wait()
                return Heard(lines=tuple(heard), end="ended", status=status, message=f"it ended with status {status}")
            heard.append(facts)
        return Heard(lines=tuple(heard))

    def _read(self) -> None:
        """Every line goes to whoever waits for it; at the end all are told."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            facts = _facts(line)
            if facts is None:
                break
            with self._lock:
                box = self._boxes.get(facts.pop("id", None))
            if box is not None:
                box.put(facts)
        self.kill()
        with self._lock:
            self._over = True
            for box in self._boxes.values():
                box.put(None)


def _facts(line: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None
