"""The time limit of an episode."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from counterpoint.errors import WorkflowError


class Clock:
    """Ends an episode after a number of seconds of its own: while the episode waits for the sampler, time stands still.

    Otherwise one episode that hangs would use up the time of all others, since a wave of calls waits for every episode.
    """

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = 0.0
        self._waits = 0
        self._timeout: asyncio.Timeout | None = None

    @property
    def expired(self) -> bool:
        return self._timeout is not None and self._timeout.expired()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._since = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._left) as self._timeout:
            try:
                yield
            finally:
                self._waits = -1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands still while at least one call of the episode waits. Raises WorkflowError after its end."""
        if self._waits < 0:
            raise WorkflowError("a role was called after its episode had ended")
        self._waits += 1
        if self._waits == 1:
            self._left -= asyncio.get_running_loop().time() - self._since
            self._reschedule(None)
        try:
            yield
        finally:
            if self._waits > 0:
                self._waits -= 1
                if self._waits == 0:
                    self._since = asyncio.get_running_loop().time()
                    self._reschedule(self._since + self._left)

    def _reschedule(self, when: float | None) -> None:
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(when)
