"""The actors of a run, a replica of a sampler or a rank of a learner each, and the ways to ask them.

Only this package's own errors cross from a process to the one that asked; whatever else happens there says that the
process is gone.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.adapter import Adapter
from counterpoint.config import Config
from counterpoint.episode import Call
from counterpoint.errors import CounterpointError, LearnerError, told
from counterpoint.family import give, look_in
from counterpoint.options import Spec
from counterpoint.runtimes.local import LocalBase, available_cores
from counterpoint.samplers import SAMPLERS
from counterpoint.samplers._host import Answer, Host, News

_LOOK = 0.5
"""Seconds between two looks at what an actor does: a wait without an end would not notice a signal."""
_CLOSE = 30.0
"""Seconds in which a sampler must close before its process is ended."""
AT_ONCE = 64
"""Calls that a replica's actor takes at once; requests come in batches, so that there are few."""


class GoneError(Exception):
    """An actor, or Ray itself, is gone, or does not answer in time."""


@dataclass(frozen=True, slots=True)
class Given:
    """Things that all actors of a run need of the process that starts them."""

    folders: tuple[str, ...]
    """Where the user's modules are looked for."""
    objects: Mapping[str, Any]
    """The user's objects, by the name that the recipe has for them."""
    threads: int
    """Threads of each process; 0 for all cores that it may use."""


class Body:
    """An actor. Its constructor does nothing: of an error in there Ray tells no more than that the actor died."""

    def prepare(self, folders: Sequence[str]) -> None:
        """The user's modules are found here: what is sent from now on may need them to be read."""
        for folder in reversed(folders):
            look_in(Path(folder))
        sys.path.extend(folder for folder in folders if folder not in sys.path)

    def share(self, given: Given) -> None:
        """The user's objects are known, and torch has its threads."""
        import torch

        torch.set_num_threads(given.threads or available_cores())
        for name, member in given.objects.items():
            give(name, member)


class ReplicaBody(Body):
    """A sampler. Ray runs its methods on one event loop."""

    async def start(self, sampler: Spec, bases: Sequence[LocalBase]) -> bool:
        """True if it scores."""
        self._host = Host(SAMPLERS.build(sampler, bases=bases))
        return self._host.scores

    async def hear(self, news: News) -> None:
        await self._host.hear(news)

    async def answers(self) -> list[Answer]:
        return await self._host.answers()

    async def load(self, adapters: Sequence[Adapter]) -> Mapping[str, str]:
        return await self._host.load(adapters)

    async def logprobs(self, calls: Sequence[Call], base: bool) -> list[list[float]]:
        return await self._host.logprobs(calls, base=base)

    async def close(self) -> None:
        await self._host.close()


class RankBody(Body):
    """A rank of a learner."""

    def address(self) -> str:
        """A free port on this machine, where the ranks can meet."""
        from ray import util

        nodes: Any = util
        host = nodes.get_node_ip_address()
        is_ipv6 = ":" in host
        with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET) as found:
            found.bind(("", 0))
            return f"{f'[{host}]' if is_ipv6 else host}:{found.getsockname()[1]}"

    def start(
        self, rank: int, count: int, address: str, base: LocalBase, config: Config, shard: bool, timeout: float
    ) -> None:
        """The ranks have found each other, and hold the same learner."""
        from counterpoint.learners._rank import Rank, join
        from counterpoint.learners._split import Whole
        from counterpoint.learners.peft import Peft

        split = join(rank, count, address, timeout, base.config.device) if count > 1 else Whole()
        self._rank = Rank(Peft(base.model, base.members, config, split, shard_base=shard), split)

    def ask(self, method: str, args: Sequence[Any]) -> Any:
        return getattr(self._rank, method)(*args)


class Member:
    """A replica, as the process that trains reaches it. See `samplers.replicas.Replica`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def hear(self, news: News) -> None:
        await _awaited(self._actor.hear.remote(news))

    async def answers(self) -> Sequence[Answer]:
        found: list[Answer] = await _awaited(self._actor.answers.remote())
        return found

    async def load(self, adapters: Any) -> Mapping[str, str]:
        found: Mapping[str, str] = await _awaited(self._actor.load.remote(adapters))
        return found

    async def logprobs(self, calls: Sequence[Call], *, base: bool) -> list[list[float]]:
        found: list[list[float]] = await _awaited(self._actor.logprobs.remote(list(calls), base))
        return found

    async def close(self) -> None:
        """The sampler has closed what it opened, if it can still, before its process ends."""
        try:
            await asyncio.wait_for(_awaited(self._actor.close.remote()), _CLOSE)
        finally:
            end([self._actor])


class RayCrew:
    """The ranks of a learner, each an actor. See `learners.placed.Crew`."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)
        self._error = ""

    def start(self, base: LocalBase, config: Config, shard: bool, timeout: float) -> None:
        """Every rank holds its learner. Raises LearnerError, or what says why the base cannot be loaded."""
        count = len(self._actors)
        address = self._all(lambda: [self._actors[0].address.remote()], timeout)[0]
        self._all(
            lambda: [
                actor.start.remote(rank, count, address, base, config, shard, timeout)
                for rank, actor in enumerate(self._actors)
            ],
            timeout,
        )

    def ask(self, method: str, *args: Any) -> list[Any]:
        import ray

        def sent() -> list[Any]:
            shared = ray.put(args)  # once, for all ranks
            return [actor.ask.remote(method, shared) for actor in self._actors]

        return self._all(sent)

    def ask_first(self, method: str, *args: Any) -> Any:
        return self._all(lambda: [self._actors[0].ask.remote(method, args)])[0]

    def _all(self, sent: Callable[[], list[Any]], within: float | None = None) -> list[Any]:
        if self._error:
            raise LearnerError(self._error)
        try:
            return answers(sent(), within)
        except CounterpointError as error:
            self._end(str(error))
            raise
        except Exception as error:  # whatever a rank raises ends all of them
            self._end(f"a rank of the learner is gone: {error if isinstance(error, GoneError) else told(error)}")
            raise LearnerError(self._error) from error

    def _end(self, why: str) -> None:
        self._error = why
        end(self._actors)


def answers(refs: Sequence[Any], within: float | None = None) -> list[Any]:
    """The answers of all actors. Raises what the first one raises that fails; GoneError if one is gone.

    Also if they have not answered `within` so many seconds; None waits as long as they live.
    """
    from ray.exceptions import RayError

    # Futures and not `ray.wait`, which turns whatever a handler of signals raises into an exit of its own.
    futures: list[Future[Any]] = [ref.future() for ref in refs]
    waiting, until = set(futures), None if within is None else time.monotonic() + within
    while waiting:
        done, waiting = wait(waiting, timeout=_LOOK, return_when=FIRST_EXCEPTION)
        for error in (future.exception() for future in futures if future in done):
            if error is not None:
                raise (_cause(error) if isinstance(error, RayError) else error) from error
        if waiting and until is not None and time.monotonic() > until:
            raise GoneError(f"it has not answered within {within:g} seconds (runtime.timeout)")
    return [future.result() for future in futures]


def end(actors: Sequence[Any]) -> None:
    """The processes end without being asked. Does nothing where Ray has ended already."""
    import ray

    for actor in actors:
        if ray.is_initialized():
            ray.kill(actor)


async def _awaited(ref: Any) -> Any:
    import ray

    try:
        return await ref
    except ray.exceptions.RayError as error:
        raise _cause(error) from error


def _cause(error: Any) -> Exception:
    """The error that an actor raised, without the traceback that Ray makes its text; else that it is gone."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else GoneError(line_of(error))


def line_of(error: BaseException) -> str:
    """The first line of what an error says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
