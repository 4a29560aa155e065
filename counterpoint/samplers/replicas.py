"""Several samplers of the same policies behind one: sessions are shared out, weights go to all.

All calls of a session go to one replica, chosen by its first prompt: sessions with the same prompt share a replica, and
with it the cache of that prompt, as long as it has at most `_MOST_OF_MEAN` times the mean number of sessions.
Until it has a first
prompt a session is open at every replica, because a sampler may wait for all open sessions before it computes.
Nothing here knows how a replica is reached.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from counterpoint.adapter import Adapter
from counterpoint.episode import Call
from counterpoint.errors import CounterpointError, EngineError, SamplerError, told
from counterpoint.samplers._host import QUIET_PASSES, Answer, Asked, News
from counterpoint.samplers.base import Completion, Request

T = TypeVar("T")
Prompt = tuple[int, ...]
_MOST_OF_MEAN = 1.25
"""The sessions of a replica, relative to the mean, above which it gets no further one because of its prompt."""


class Replica(Protocol):
    """One sampler, wherever it is. `counterpoint.samplers._host.Host` is its other end.

    An error of this package that `load`, `logprobs` or an answer has is about what was asked. Any other error means
    that the replica is gone.
    """

    async def hear(self, news: News) -> None:
        """The replica has taken note of what happened."""
        ...

    async def answers(self) -> Sequence[Answer]:
        """The answers since the last time; waits for at least one."""
        ...

    async def load(self, adapters: Any) -> Mapping[str, str]:
        """Every policy in `adapters`, as `carry` made them, generates with those weights: the digests it reports."""
        ...

    async def logprobs(self, calls: Sequence[Call], *, base: bool) -> list[list[float]]:
        """Those of `Scorer`. Only asked of replicas that score."""
        ...

    async def close(self) -> None:
        """The sampler is closed."""
        ...


def replicas(
    members: Sequence[Replica],
    *,
    score: bool = False,
    tolerance: float = 1e-4,
    carry: Callable[[Sequence[Adapter]], Any] = list,
) -> "Replicas":
    """One sampler of several. With `score` it is a Scorer, as its members are.

    `carry` makes of adapters what is handed to every member's `load`. `tolerance` is in nats per token.
    """
    return Scoring(members, carry, tolerance) if score else Replicas(members, carry)


class Replicas:
    """Passes each session to one of several samplers of the same policies."""

    def __init__(self, members: Sequence[Replica], carry: Callable[[Sequence[Adapter]], Any]) -> None:
        self._carry = carry
        self._lines = [_Line(member, index, self._heard, self._die) for index, member in enumerate(members)]
        self._seats: dict[int, _Seat] = {}
        self._numbers = 0
        self._homes: dict[Prompt, int] = {}
        """Prompt -> the replica of the latest session that began with it."""
        self._sharing: Counter[Prompt] = Counter()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}
        self._digests: Mapping[str, str] = {}
        self._events = 0
        self._settling = False
        self._error: EngineError | None = None

    @contextmanager
    def session(self) -> Iterator["_Seat"]:
        seat = _Seat(self, self._number())
        self._seats[seat.number] = seat
        for line in self._lines:
            line.begin(seat.number)
        self._changed()
        try:
            yield seat
        finally:
            del self._seats[seat.number]
            self._leave(seat)
            self._changed()

    async def load(self, adapters: Sequence[Adapter]) -> None:
        """Every replica generates with the weights. Raises EngineError unless all report the same digests."""
        self._check()
        self._flush()  # what was asked before is answered by the weights of before, where a sampler tells them apart
        await asyncio.gather(*(self._line(line, line.sent()) for line in self._lines))
        carried = self._carry(adapters)
        found = await asyncio.gather(*(self._line(one, one.member.load(carried)) for one in self._lines))
        for index, digests in enumerate(found):
            for policy in {*found[0], *digests}:
                mine, first = digests.get(policy, "nothing")[:12], found[0].get(policy, "nothing")[:12]
                if digests.get(policy) != found[0].get(policy):
                    raise self._die(
                        f"replica {index} of the sampler generates policy {policy!r} with {mine}, replica 0 with"
                        f" {first}, though both were given the same weights"
                    )
        self._digests = dict(found[0])

    def digests(self) -> dict[str, str]:
        """Those that every replica reported when weights were last loaded."""
        return dict(self._digests)

    async def close(self) -> None:
        """Every replica is closed, also if another one cannot be. Calls that still wait raise EngineError."""
        self._die("the sampler was closed")
        await asyncio.gather(*(line.close() for line in self._lines), return_exceptions=True)

    async def sample(self, seat: "_Seat", request: Request) -> Completion:
        """The completion of a call of a session. Raises EngineError if a replica is gone, SamplerError as it does."""
        if seat.number not in self._seats:
            raise SamplerError("a call was made after its episode had ended")
        self._check()
        call, future = self._number(), asyncio.get_running_loop().create_future()
        self._waiting[call] = future
        seat.waiting.add(call)
        seat.asked.append(Asked(seat.number, call, request))
        self._changed()
        try:
            found: Completion = await future
            return found
        finally:
            seat.waiting.discard(call)
            if self._waiting.pop(call, None) is not None:  # nobody waits for it any more
                self._drop(seat, call)
                self._changed()

    def _drop(self, seat: "_Seat", call: int) -> None:
        """Forget a call that nobody waits for, if it was not sent; else tell its replica."""
        before = len(seat.asked)
        seat.asked = [one for one in seat.asked if one.call != call]
        if seat.replica is not None and len(seat.asked) == before and seat.number in self._seats:
            self._lines[seat.replica].dropped.append(call)

    def _leave(self, seat: "_Seat") -> None:
        seat.asked = []
        for call in list(seat.waiting):
            if (future := self._waiting.pop(call, None)) is not None:
                future.cancel()
        for line in self._lines if seat.replica is None else [self._lines[seat.replica]]:
            line.shut(seat.number)
        self._sharing[seat.prompt] -= seat.replica is not None
        if self._sharing[seat.prompt] <= 0:
            del self._sharing[seat.prompt]
            self._homes.pop(seat.prompt, None)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _check(self) -> None:
        if self._error is not None:
            raise EngineError(str(self._error)) from self._error.__cause__

    async def _line(self, line: "_Line", work: Awaitable[T]) -> T:
        try:
            return await work
        except CounterpointError:
            raise
        except Exception as error:  # however the other end is reached, it is gone
            raise self._die(f"replica {line.index} of the sampler is gone: {told(error)}", error) from error

    def _die(self, why: str, cause: Exception | None = None) -> EngineError:
        """From here on every call, also one that waits, raises an EngineError that says why; the first reason stays."""
        if self._error is None:
            self._error = EngineError(why)
            self._error.__cause__ = cause
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EngineError(str(self._error)))
        self._waiting.clear()
        return self._error

    def _heard(self, answers: Sequence[Answer]) -> None:
        for call, found in answers:
            future = self._waiting.pop(call, None)
            if future is None or future.done():
                continue
            if isinstance(found, Exception):
                future.set_exception(found)
            elif found is None:
                future.cancel()
            else:
                future.set_result(found)

    def _changed(self) -> None:
        """Whatever happened is sent once nothing more happens at this moment."""
        self._events += 1
        if not self._settling:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # a session was closed without a loop: it is told with the next news
            self._settling = True
            loop.call_soon(self._settle, self._events, QUIET_PASSES)

    def _settle(self, events: int, passes: int) -> None:
        loop = asyncio.get_running_loop()
        if events != self._events:
            loop.call_soon(self._settle, self._events, QUIET_PASSES)
        elif passes:
            loop.call_soon(self._settle, events, passes - 1)
        else:
            self._settling = False
            self._flush()

    def _flush(self) -> None:
        asking = [seat for seat in self._seats.values() if seat.asked]
        # In an order that does not depend on which came first.
        for seat in sorted((one for one in asking if one.replica is None), key=_order):
            self._place(seat)
        for seat in asking:
            assert seat.replica is not None
            self._lines[seat.replica].asked += seat.asked
            seat.asked = []
        if self._error is None:
            for line in self._lines:
                line.flush()

    def _place(self, seat: "_Seat") -> None:
        """Give a session its replica, and close it at the others."""
        seat.prompt = seat.asked[0].request.prompt_ids
        loads = [0] * len(self._lines)
        for other in self._seats.values():
            if other.replica is not None:
                loads[other.replica] += 1
        home = self._homes.get(seat.prompt)
        most = max(1, math.floor(_MOST_OF_MEAN * len(self._seats) / len(self._lines)))
        if home is None or loads[home] >= most:
            home = loads.index(min(loads))
        self._homes[seat.prompt] = home
        self._sharing[seat.prompt] += 1
        seat.replica = home
        for line in self._lines:
            if line.index != home:
                line.shut(seat.number)


class Scoring(Replicas):
    """Replicas that score. All of them score the same calls, so that one that holds other weights is found."""

    def __init__(self, members: Sequence[Replica], carry: Callable[[Sequence[Adapter]], Any], tolerance: float) -> None:
        super().__init__(members, carry)
        self._tolerance = tolerance

    async def logprobs(self, calls: Sequence[Call], *, base: bool = False) -> list[list[float]]:
        """Those of `Scorer`. Raises EngineError if replicas differ by more than the tolerance, or by NaN."""
        self._check()
        found = await asyncio.gather(*(self._line(one, one.member.logprobs(calls, base=base)) for one in self._lines))
        for index, rows in enumerate(found):
            for call, mine, first in zip(calls, rows, found[0], strict=True):
                every = [abs(one - other) for one, other in zip(mine, first, strict=True)]
                apart = math.nan if any(map(math.isnan, every)) else max(every, default=0.0)
                if not apart <= self._tolerance:
                    raise self._die(
                        f"replica {index} of the sampler gives the tokens of a call by {call.key.role} other"
                        f" log-probabilities than replica 0, by {apart:.3g} nats (run.proof_tolerance ="
                        f" {self._tolerance:g}): one of them does not compute with the weights of policy"
                        f" {call.policy!r} that both were given"
                    )
        return found[0]


class _Seat:
    """A session, and what it has asked that is not sent yet."""

    def __init__(self, replicas: Replicas, number: int) -> None:
        self._replicas = replicas
        self.number = number
        self.replica: int | None = None
        self.prompt: Prompt = ()
        self.asked: list[Asked] = []
        self.waiting: set[int] = set()
        """Its calls that are waited for, sent or not."""

    async def sample(self, request: Request) -> Completion:
        return await self._replicas.sample(self, request)


def _order(seat: _Seat) -> tuple[Prompt, int, int]:
    first = seat.asked[0].request
    return first.prompt_ids, first.seed, seat.number


class _Line:
    """The line to one replica: what is to be told next, and the answers that are waited for."""

    def __init__(
        self,
        member: Replica,
        index: int,
        heard: Callable[[Sequence[Answer]], None],
        die: Callable[[str, Exception], Exception],
    ) -> None:
        self.member = member
        self.index = index
        self.asked: list[Asked] = []
        self.dropped: list[int] = []
        self._unanswered: set[int] = set()
        """The calls that were sent and not answered."""
        self._opened: dict[int, None] = {}
        self._closed: list[int] = []
        self._heard = heard
        self._die = die
        self._telling: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None

    def begin(self, session: int) -> None:
        self._opened[session] = None

    def shut(self, session: int) -> None:
        """Close a session; one that was never told is never mentioned."""
        self.asked = [one for one in self.asked if one.session != session]
        if session in self._opened:
            del self._opened[session]
        else:
            self._closed.append(session)

    def flush(self) -> None:
        """Send the news that has collected, and wait for its answers."""
        if self._is_news() and (self._telling is None or self._telling.done()):
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def sent(self) -> None:
        """Wait until what is on its way has arrived."""
        if self._telling is not None and not self._telling.done():
            await asyncio.wait([self._telling])

    async def close(self) -> None:
        for task in (self._telling, self._hearing):
            if task is not None and not task.done():
                task.cancel()
        await self.member.close()

    def _is_news(self) -> bool:
        return bool(self._opened or self.asked or self.dropped or self._closed)

    async def _tell(self) -> None:
        """One batch after the other, so that none overtakes another."""
        try:
            while self._is_news():
                news = News(tuple(self._opened), tuple(self.asked), tuple(self.dropped), tuple(self._closed))
                self._opened, self.asked, self.dropped, self._closed = {}, [], [], []
                self._unanswered |= {one.call for one in news.asked}
                if news.asked and (self._hearing is None or self._hearing.done()):
                    self._hearing = asyncio.get_running_loop().create_task(self._hear())
                await self.member.hear(news)
        except Exception as error:  # however the other end is reached, it is gone
            self._die(f"replica {self.index} of the sampler is gone: {told(error)}", error)

    async def _hear(self) -> None:
        """Until every call that was sent is answered."""
        try:
            while self._unanswered:
                answers = await self.member.answers()
                for answer in answers:
                    self._unanswered.discard(answer.call)
                self._heard(answers)
        except Exception as error:  # however the other end is reached, it is gone
            self._die(f"replica {self.index} of the sampler is gone: {told(error)}", error)
