"""The loop of a study's runner: which job starts where, what its end means, and an orderly shutdown."""

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Protocol

from counterpoint.errors import RunError
from counterpoint.experiments.attempts import MOST_KILLS, Failure, failure_of, no_progress, write_failure
from counterpoint.experiments.jobs import Job
from counterpoint.experiments.processes import Command, Place, Process, Start
from counterpoint.experiments.states import Found, is_full

IN_USE = 75
"""The exit status of a process that found its run in use."""
IN_USE_ELSEWHERE = "another process works on it"
LEFT = os.EX_TEMPFAIL
"""The exit status of a runner that leaves something to do, although nothing failed: the same command continues."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ENDED_BY_A_SIGNAL = {-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM}


class Watcher(Protocol):
    """Somebody who is told how a study goes."""

    def say(self, line: str) -> None:
        """Something happened that a person should know."""

    def show(self, found: Mapping[str, Found]) -> None:
        """The jobs in their order, as they are now."""


class Silent:
    """Nobody watches."""

    def say(self, line: str) -> None: ...
    def show(self, found: Mapping[str, Found]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a runner: its permissions and its waits."""

    retry: bool = False
    """Failed jobs are resumed, once each."""
    restart: bool = False
    """Failed jobs start again from their beginning, once each."""
    max_hours: float | None = None
    """Nothing is started later than this."""
    grace: float = 60.0
    """Seconds that processes get to end in order."""
    waits: bool = True
    """Jobs on which somebody else works are waited for; else they are left."""
    pause: float = 0.05
    """Seconds between two looks at the processes."""
    period: float = 2.0
    """Seconds between two reports, and between two looks at jobs that somebody else runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The jobs as they are when a runner ends."""

    finished: tuple[str, ...]
    failed: Mapping[str, str]
    """Job -> why."""
    left: Mapping[str, str]
    """Job that is neither -> why not."""
    signal: int | None = None
    """The signal that ended the runner; None if none did."""

    @property
    def exit_status(self) -> int:
        """128 and the signal that ended the runner, or 1 if a job failed, or 75 if one is left, else 0."""
        if self.signal:
            return 128 + self.signal
        return 1 if self.failed else LEFT if self.left else 0


@dataclass(slots=True)
class _Started:
    """A process of this runner."""

    job: Job
    process: Process
    place: Place
    attempt: int
    offset: int
    """The length of the log before it started."""
    is_told: bool = False
    """True once this runner has told it to end."""


@dataclass(slots=True)
class Runner:
    """Runs jobs until each is finished or failed, or until it is told to stop."""

    jobs: Sequence[Job]
    places: Sequence[Place]
    start: Start
    rules: Rules
    watcher: Watcher
    _found: dict[str, Found] = field(default_factory=dict)
    _waiting: list[Job] = field(default_factory=list)
    _mine: list[_Started] = field(default_factory=list)
    _others: list[Job] = field(default_factory=list)
    """Jobs that somebody else's process works on."""
    _left: dict[str, str] = field(default_factory=dict)
    _tried: set[str] = field(default_factory=set)
    """Failed jobs that were started again."""
    _signals: list[int] = field(default_factory=list)
    _looked: float = 0.0

    def run(self) -> Outcome:
        """The jobs are done as far as they can be. Raises RunError if a disk is full or a place cannot be used."""
        began = time.monotonic()
        with self._signals_noted():
            try:
                self._look()
                while self._is_at_work():
                    self._reap()
                    if self._signals:
                        break
                    if self._waiting and self._is_late(began):
                        self._leave(self._waiting, "not started: the time of --max-hours is over")
                    self._fill()
                    self._report()
                    time.sleep(self.rules.pause)
            finally:
                self._shut_down()
        self.watcher.show(self._found)
        return self._outcome()

    def _is_at_work(self) -> bool:
        if not self.rules.waits:
            self._leave(self._others, IN_USE_ELSEWHERE)
            self._others.clear()
        return bool(self._waiting or self._mine or self._others)

    # Looking

    def _look(self) -> None:
        """The state of every job, and what is to be done about it."""
        for job in self.jobs:
            found = self._found[job.name] = job.found()
            if found.state == "running":
                self._others.append(job)
                self.watcher.say(f"{job.name} is running already{'; it is waited for' if self.rules.waits else ''}")
            elif found.state != "finished" and (found.state != "failed" or self._may_retry(job)):
                self._waiting.append(job)
        self.watcher.show(self._found)
        self._looked = time.monotonic()

    def _report(self) -> None:
        """The states are looked at again if the last time is long ago."""
        if time.monotonic() - self._looked < self.rules.period:
            return
        self._looked = time.monotonic()
        for started in self._mine:
            self._found[started.job.name] = started.job.found()
        for job in [*self._others]:
            found = self._found[job.name] = job.found()
            if found.state != "running":
                self._others.remove(job)
                if found.state not in ("finished", "failed"):
                    self._waiting.insert(0, job)
        self.watcher.show(self._found)

    def _may_retry(self, job: Job) -> bool:
        return (self.rules.retry or self.rules.restart) and job.name not in self._tried

    def _is_late(self, began: float) -> bool:
        return self.rules.max_hours is not None and time.monotonic() - began >= self.rules.max_hours * 3600

    # Starting

    def _fill(self) -> None:
        """Every free place has a job, if one can start."""
        for place in self._free_places():
            while (job := self._next()) is not None:
                self._waiting.remove(job)
                if self._begin(job, place):
                    break

    def _free_places(self) -> list[Place]:
        """The places on which neither a process of this runner nor one that an earlier runner left is at work.

        One that an earlier runner with more places left counts too: no more jobs run here than there are places.
        """
        taken = [started.place.number for started in self._mine]
        taken += [place for job in self._others if (place := job.attempts.last_place) is not None]
        return [place for place in self.places if place.number not in taken][: max(0, len(self.places) - len(taken))]

    def _next(self) -> Job | None:
        """The first job that waits for nothing, rather one that goes first; those that wait in vain are left."""
        pending = {job.name for job in [*self._waiting, *self._others]} | {one.job.name for one in self._mine}
        for job in sorted(self._waiting, key=lambda one: not one.goes_first):
            unmet = job.unmet()
            hopeless = [name for name in unmet if name not in pending]
            if hopeless:
                self._leave([job], f"it needs {hopeless[0]}, which is not finished")
            elif not unmet:
                return job
        return None

    def _begin(self, job: Job, place: Place) -> bool:
        """A process works on the job; False if there is nothing to start, or somebody else has."""
        try:
            lock = job.attempts.take()
        except BlockingIOError:
            self._found[job.name] = job.found()
            self._others.append(job)
            return False
        try:
            return self._begin_locked(job, place, lock)
        finally:
            os.close(lock)

    def _begin_locked(self, job: Job, place: Place, lock: int) -> bool:
        found = self._found[job.name] = replace(job.own_state(), attempt=job.attempts.count)
        if found.state == "running":
            self._others.append(job)
            return False
        if found.state == "finished" or (found.state == "failed" and not self._may_retry(job)):
            return False
        asked = found.state == "failed"
        step = job.checkpoint()
        if not asked and job.attempts.killed_since(step) >= MOST_KILLS:
            self._fail(job, no_progress(step=found.step, attempt=found.attempt))
            return False
        if why := job.changed():
            self._leave([job], why)
            return False
        self._say_unwatched(job, found)
        self._make_way(job, asked=asked)
        offset = job.attempts.log.stat().st_size if job.attempts.log.is_file() else 0
        arguments = job.arguments(place.threads)
        attempt = job.attempts.began(step=job.checkpoint(), place=place.number, asked=asked)
        command = Command(job=job.name, arguments=arguments, log=job.attempts.log, place=place, lock=lock)
        try:
            process = self.start(command)
        except OSError:
            job.attempts.ended("stopped")  # the job is not to blame
            raise
        self._mine.append(_Started(job, process, place, attempt, offset))
        self._found[job.name] = replace(found, state="running", attempt=attempt, problem="")
        return True

    def _say_unwatched(self, job: Job, found: Found) -> None:
        if job.attempts.is_unwatched:
            self.watcher.say(f"{job.name}: attempt {found.attempt} ended while no runner watched it")

    def _make_way(self, job: Job, *, asked: bool) -> None:
        if asked:
            self._tried.add(job.name)
        line = job.set_aside() if asked and self.rules.restart else job.clear()
        if line:
            self.watcher.say(line)

    # Ending

    def _reap(self) -> None:
        """The ends of processes are noted."""
        for started in [*self._mine]:
            code = started.process.poll()
            if code is not None:
                self._mine.remove(started)
                self._ended(started, code)

    def _ended(self, started: _Started, code: int) -> None:
        job = started.job
        if code in _ENDED_BY_A_SIGNAL and not started.is_told:
            time.sleep(self.rules.pause)  # the same signal may be on its way to this process
        found = job.own_state()
        self._found[job.name] = replace(found, attempt=started.attempt)
        if found.state == "finished":
            job.attempts.ended("finished")
        elif started.is_told or (self._signals and code in _ENDED_BY_A_SIGNAL):
            self._leave([job], "interrupted")
            job.attempts.ended("stopped")
        elif code == IN_USE or (found.state == "running" and code >= 0):
            job.attempts.ended("in use")
            self._others.append(job)
        else:
            self._judge(started, code, found)

    def _judge(self, started: _Started, code: int, found: Found) -> None:
        """The process failed: that is written down, unless the disk is full, which no job is to blame for."""
        job = started.job
        printed = job.attempts.printed_since(started.offset)
        if is_full("\n".join(printed)):
            job.attempts.ended("stopped")
            raise RunError(
                f"{job.name} ended because the disk is full: free some space; what is done stays, and the same command"
                " continues"
            )
        job.attempts.ended("failed")
        self._fail(job, failure_of(code, printed, step=found.step, attempt=started.attempt))

    def _fail(self, job: Job, failure: Failure) -> None:
        self._found[job.name] = replace(
            self._found[job.name], state="failed", problem=failure.reason, attempt=failure.attempt
        )
        self.watcher.say(f"{job.name} failed: {failure.reason}")
        try:
            write_failure(job.failure, failure)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            self.watcher.say(f"{error.filename}: {error.strerror}: that {job.name} failed cannot be written down")

    def _leave(self, jobs: Sequence[Job], why: str) -> None:
        for job in [*jobs]:
            self._left[job.name] = why
            if job in self._waiting:
                self._waiting.remove(job)

    def _shut_down(self) -> None:
        """No process of this runner is left: they end in order, or are killed after a while or at a second signal."""
        if not self._mine:
            return
        self.watcher.say(f"ending {len(self._mine)} running; each keeps its last step; again to end them at once")
        for started in self._mine:
            started.is_told = True
            started.process.terminate()
        deadline = time.monotonic() + self.rules.grace
        while self._mine and time.monotonic() < deadline and len(self._signals) < 2:
            self._reap()
            time.sleep(self.rules.pause)
        for started in self._mine:
            started.process.kill()
        while self._mine:
            self._reap()
            time.sleep(self.rules.pause)

    def _outcome(self) -> Outcome:
        finished = tuple(name for name, found in self._found.items() if found.state == "finished")
        failed = {name: found.problem for name, found in self._found.items() if found.state == "failed"}
        others = {name for name, found in self._found.items() if name not in finished and name not in failed}
        left = {name: self._left.get(name, "not started") for name in self._found if name in others}
        return Outcome(finished=finished, failed=failed, left=left, signal=self._signals[0] if self._signals else None)

    @contextmanager
    def _signals_noted(self) -> Iterator[None]:
        """SIGINT and SIGTERM are noted, where Python lets this thread do so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)
