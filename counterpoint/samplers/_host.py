"""A sampler as others reach it from another process: told in batches what happens, asked in batches what it said.

What is sent and returned can be pickled. Batches keep what belongs together: calls that are made at one moment are
known to the sampler at one moment, and what it says at one moment is heard at one moment, so that a sampler that waits
until every open session has a call makes the same waves as it would beside the workflow.
"""

import asyncio
import pickle
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from counterpoint.adapter import Adapter
from counterpoint.episode import Call
from counterpoint.errors import CounterpointError, SamplerError, told
from counterpoint.samplers.base import Completion, Request, Sampler, Scorer, Session

QUIET_PASSES = 8
"""Passes of the event loop without a new event before what happened counts as one moment."""


class Asked(NamedTuple):
    """A call of an open session, under a number that is used once."""

    session: int
    call: int
    request: Request


class News(NamedTuple):
    """Events since the last batch, in the order in which it is to be taken note of."""

    opened: tuple[int, ...] = ()
    asked: tuple[Asked, ...] = ()
    dropped: tuple[int, ...] = ()
    """Calls whose answers nobody waits for any more."""
    closed: tuple[int, ...] = ()


class Answer(NamedTuple):
    """The end of a call: its completion, an error, or None if it was dropped."""

    call: int
    found: Completion | Exception | None


class Host:
    """The sampler's side: its open sessions and the calls under way."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._open: dict[int, tuple[Session, ExitStack]] = {}
        self._calls: dict[int, asyncio.Task[Completion | Exception]] = {}
        self._by_session: dict[int, set[int]] = {}
        self._answers: list[Answer] = []
        self._is_said = asyncio.Event()

    async def hear(self, news: News) -> None:
        """All of it is taken note of at once. Every call that is asked gets exactly one answer."""
        for number in news.opened:
            stack = ExitStack()
            self._open[number] = stack.enter_context(self._sampler.session()), stack
        for asked in news.asked:
            session = self._open[asked.session][0]
            task = asyncio.get_running_loop().create_task(_asked(session, asked.request))
            self._calls[asked.call] = task
            self._by_session.setdefault(asked.session, set()).add(asked.call)
            task.add_done_callback(partial(self._said, asked))
        for call in news.dropped:
            if call in self._calls:
                self._calls[call].cancel()
        for number in news.closed:
            for call in list(self._by_session.pop(number, ())):
                self._calls[call].cancel()
            self._open.pop(number)[1].close()
        await asyncio.sleep(0)

    async def answers(self) -> list[Answer]:
        """The answers since the last time, of at least one call, once there are no more at this moment."""
        await self._is_said.wait()
        seen, passes = len(self._answers), 0
        while passes < QUIET_PASSES:
            await asyncio.sleep(0)
            passes, seen = passes + 1 if len(self._answers) == seen else 0, len(self._answers)
        found, self._answers = self._answers, []
        self._is_said.clear()
        return found

    async def load(self, adapters: Sequence[Adapter]) -> Mapping[str, str]:
        """The sampler's digests once it has loaded the adapters."""
        await self._sampler.load(adapters)
        return self._sampler.digests()

    @property
    def scores(self) -> bool:
        """True if the sampler is a Scorer."""
        return isinstance(self._sampler, Scorer)

    async def logprobs(self, calls: Sequence[Call], *, base: bool) -> list[list[float]]:
        """Those of `Scorer`."""
        assert isinstance(self._sampler, Scorer)
        return await self._sampler.logprobs(calls, base=base)

    async def close(self) -> None:
        """Nothing is under way, and the sampler is closed."""
        for task in list(self._calls.values()):
            task.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        for _, stack in self._open.values():
            stack.close()
        self._open.clear()
        close = getattr(self._sampler, "close", None)
        if close is not None:
            await close()

    def _said(self, asked: Asked, task: "asyncio.Task[Completion | Exception]") -> None:
        """Also a call that was cancelled gets its answer: the other side counts on it."""
        del self._calls[asked.call]
        self._by_session.get(asked.session, set()).discard(asked.call)
        self._answers.append(Answer(asked.call, None if task.cancelled() else task.result()))
        self._is_said.set()


async def _asked(session: Session, request: Request) -> Completion | Exception:
    try:
        return await session.sample(request)
    except Exception as error:  # whatever a sampler raises is for the one who asked
        return _portable(error)


def _portable(error: Exception) -> Exception:
    """An error that another process can read: those of this package as they are, others by what they tell."""
    if isinstance(error, CounterpointError) and _is_picklable(error):
        return error
    return SamplerError(told(error))


def _is_picklable(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # whatever a class of somebody's own raises
        return False
    return True
