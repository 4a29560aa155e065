"""Batching by wave: requests are computed once every open session waits, in batches that are large and reproducible."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from counterpoint.ended import Ended
from counterpoint.errors import SamplerError
from counterpoint.samplers.base import Completion, Request
from counterpoint.watchdog import watchdog

_QUIET_PASSES = 8
"""Passes of the event loop without a new request before a wave counts as complete: enough for nested gathers."""

Compute = Callable[[Sequence[Request]], list[Completion]]


class Wave:
    """Collects requests and computes them together, in an order that does not depend on which came first."""

    def __init__(self, compute: Compute, patience: float | None = None) -> None:
        """With `patience`, no request waits for more than that many seconds until other sessions have one too."""
        self._compute = compute
        self._patience = patience
        self._open: dict[int, int] = {}
        """Session -> the number of requests that it waits for."""
        self._busy = 0
        """The number of open sessions that wait for no request."""
        self._opened = 0
        self._requests: list[tuple[int, Request, asyncio.Future[Completion]]] = []
        self._events = 0
        """Grows with every event that may make a wave complete or incomplete."""
        self._settling = False

    @contextmanager
    def session(self) -> Iterator["WaveSession"]:
        number = self._opened
        self._opened += 1
        self._open[number] = 0
        self._busy += 1
        self._events += 1
        try:
            yield WaveSession(self, number)
        finally:
            self._busy -= not self._open.pop(number)
            for asker, _, future in self._requests:
                if asker == number:
                    future.cancel()
            self._changed()

    async def sample(self, session: int, request: Request) -> Completion:
        if session not in self._open:
            raise SamplerError("a call was made after its episode had ended")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Completion] = loop.create_future()
        self._requests.append((session, request, future))
        self._wait_for(session, 1)
        self._changed()
        late = None if self._patience is None else loop.call_later(self._patience, self._flush)
        try:
            return await future
        finally:
            if late is not None:
                late.cancel()
            if session in self._open:
                self._wait_for(session, -1)
            self._changed()

    def _wait_for(self, session: int, more: int) -> None:
        before = self._open[session]
        self._open[session] = before + more
        self._busy += (not self._open[session]) - (not before)

    def _changed(self) -> None:
        self._events += 1
        if self._complete() and not self._settling:
            self._settling = True
            asyncio.get_running_loop().call_soon(self._settle, self._events, _QUIET_PASSES)

    def _complete(self) -> bool:
        return bool(self._requests) and not self._busy

    def _settle(self, events: int, passes: int) -> None:
        if not self._complete():
            self._settling = False
        elif events != self._events:
            asyncio.get_running_loop().call_soon(self._settle, self._events, _QUIET_PASSES)
        elif passes:
            asyncio.get_running_loop().call_soon(self._settle, events, passes - 1)
        else:
            self._settling = False
            self._flush()

    def _flush(self) -> None:
        wave = [(request, future) for _, request, future in self._requests if not future.done()]
        self._requests = []
        wave.sort(key=lambda item: (item[0].policy, item[0].prompt_ids, item[0].seed))
        if not wave:
            return
        try:
            with watchdog().interruptible():
                found = list(zip(wave, self._compute([request for request, _ in wave]), strict=True))
        except Ended:
            for _, future in wave:
                future.cancel()
            return
        except Exception as error:  # whatever it is: every waiting session must get it, or it would wait forever
            for _, future in wave:
                if not future.done():  # an interrupt during the computation may have cancelled it
                    future.set_exception(error)
            return
        for (_, future), completion in found:
            if not future.done():
                future.set_result(completion)


class WaveSession:
    """One episode's access to a wave."""

    def __init__(self, wave: Wave, number: int) -> None:
        self._wave = wave
        self._number = number

    async def sample(self, request: Request) -> Completion:
        return await self._wave.sample(self._number, request)
