"""The time limit of an episode, or of judging one answer."""

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from weakref import WeakSet

from counterpoint.ended import Ended
from counterpoint.errors import WorkflowError
from counterpoint.watchdog import Steps, watchdog

T = TypeVar("T")
GRACE = 5.0
"""Seconds in which code that is out of time may clean up; after them it is not continued."""


def is_cancelled() -> bool:
    """True if somebody cancelled this task; a CancelledError without that is one that the code met or raised."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Clock:
    """Ends an episode after a number of seconds of its own: while the episode waits for the sampler, time stands still.

    Otherwise one episode that hangs would use up the time of all others, since a wave of calls waits for every episode.
    For the same reason, time in which another episode blocks the event loop does not count.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = seconds
        self._since: float | None = None
        """When the clock last began to run; None while it stands still."""
        self._waits = 0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        self._tasks: WeakSet[asyncio.Future[Any]] = WeakSet()
        self._cancels = 0
        self.expired = False
        self.is_over = False
        """True once the code has not even ended within the time to clean up."""
        self.hung: BaseException | None = None
        """The error where the code blocked the event loop until its time was over."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of the coroutine. Raises TimeoutError if it is not done in time, and what it raises."""
        async with self._running():
            result: T = await Steps(work, self)
        if self.hung is not None:
            raise self.hung
        return result

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands still while at least one call of the episode waits. Raises WorkflowError after its end."""
        if self._waits < 0:
            raise WorkflowError("a role was called after its episode had ended")
        self._waits += 1
        self._stop()
        try:
            with watchdog().engine():
                yield
        finally:
            if self._waits > 0:
                self._waits -= 1
                if self._waits == 0:
                    self._go()

    # What the watchdog asks and tells

    def remaining(self) -> float:
        if self._waits < 0:
            return self._seconds  # a task that the episode left running, perhaps for all episodes
        if self.expired:
            return GRACE
        return self._left if self._since is None else self._left - (self._now() - self._since)

    def credit(self, seconds: float) -> None:
        if self._since is not None:
            self._since += min(seconds, self._now() - self._since)
            self._schedule()

    def started(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.add(task)

    def overrun(self, ended: Ended, steps: Steps) -> BaseException:
        if self._waits < 0:
            return asyncio.CancelledError()
        self.hung = self.hung or TimeoutError().with_traceback(ended.__traceback__)
        self.expired = True
        if steps.is_first:
            return self.hung
        self._cancel()
        return asyncio.CancelledError()

    # The limit

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        self._task = asyncio.current_task()
        assert self._task is not None
        cancelled_before = self._task.cancelling()
        watchdog().allowances.add(self)
        self._go()
        try:
            yield
        except asyncio.CancelledError as error:
            if self.expired and self._task.cancelling() <= cancelled_before + self._cancels:
                raise self.hung or TimeoutError from error
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self._stop()
        self._waits = -1
        watchdog().allowances.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            for _ in range(self._cancels):
                self._task.uncancel()

    def _go(self) -> None:
        self._since = self._now()
        self._schedule()

    def _stop(self) -> None:
        if self._since is not None:
            self._left -= self._now() - self._since
            self._since = None
        if self._timer is not None and not self.expired:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        if self.expired or self._since is None or self._left == math.inf:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._since + self._left, self._expire)

    def _expire(self) -> None:
        """The code is cancelled; once it has had time to clean up, it is not continued."""
        self.is_over = self.expired
        self.expired = True
        self._cancel()
        if self.is_over:
            for task in self._tasks:
                task.cancel()

    def _cancel(self) -> None:
        assert self._task is not None
        self._cancels += 1
        self._task.cancel()
        if not self.is_over:
            self._timer = asyncio.get_running_loop().call_later(GRACE, self._expire)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
