"""Samplers and ranks of learners as actors of Ray, on one machine or on many; endpoints where they are.

Ray places the processes and carries bytes. What is computed is in `samplers.replicas` and `learners.placed`, which know
nothing of Ray. Nothing is restarted: if a process dies the run ends with an error, and can be resumed.
"""

import asyncio
import importlib.util
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from counterpoint.adapter import Sources
from counterpoint.config import Config
from counterpoint.episode import Call
from counterpoint.errors import AbsentPackageError, ConfigError, CounterpointError, EngineError, LearnerError, told
from counterpoint.family import give, given, look_in, searched
from counterpoint.learners.base import Learner
from counterpoint.policy import Routing
from counterpoint.runtimes.base import Generation, Runtime
from counterpoint.runtimes.local import Local, LocalBase, available_cores
from counterpoint.samplers import SAMPLERS
from counterpoint.samplers._host import Answer, Host, News
from counterpoint.samplers.base import Sampler
from counterpoint.samplers.replicas import Replicas, replicas

_LOOK = 0.5
"""Seconds between two looks at what an actor does: a wait without an end would not notice a signal."""
_CONNECT = 10.0
"""Seconds in which a running Ray must answer."""
_PLACE = 60.0
"""Seconds in which a running Ray must have room for the actors."""
_CLOSE = 30.0
"""Seconds in which a sampler must close before its process is ended."""
_AT_ONCE = 64
"""Calls that a replica's actor takes at once; requests come in batches, so that there are few."""


class Ray(Local):
    """Samplers and learners in processes of their own, which Ray places."""

    def __init__(
        self,
        config: Config,
        routing: Routing,
        *,
        address: str = "",
        samplers: Annotated[int, Field(ge=1)] = 1,
        learners: Annotated[int, Field(ge=1)] = 1,
        shard_base: bool = False,
        timeout: Annotated[float, Field(gt=0.0)] = 600.0,
    ) -> None:
        """`address` (host:port) is that of a running Ray; without one a local Ray is started, and ended afterwards.

        There are `samplers` replicas of the sampler and, for each base, `learners` ranks. With `shard_base` a rank
        keeps only its part of the base's layers. A collective of the ranks may take `timeout` seconds. Raises
        ConfigError if the recipe has settings for a policy that does not exist.
        """
        super().__init__(config, routing)
        self._address = address
        self._samplers = samplers
        self._learners = learners
        self._shard_base = shard_base
        self._timeout = timeout
        self._room: _Room | None = None

    @staticmethod
    def check(config: Config, *, address: str, learners: int, shard_base: bool, **others: Any) -> None:
        """Raises ConfigError if the options cannot work here, or Ray is not installed. Starts nothing."""
        if importlib.util.find_spec("ray") is None:
            raise AbsentPackageError("runtime.name = 'ray': pip install 'counterpoint[ray]' first (no module ray)")
        if shard_base and learners < 2:
            raise ConfigError("runtime.shard_base = true needs runtime.learners = 2 or more")
        if address:
            _check_address(address)

    @asynccontextmanager
    async def training(self) -> AsyncIterator[Runtime]:
        """As `Local.training`. Raises ConfigError if Ray does not answer or has no room for what is asked."""
        with self._placed(has_learner=True):
            async with super().training() as runtime:
                yield runtime

    @asynccontextmanager
    async def generation(self, sources: Sources) -> AsyncIterator[Generation]:
        """As `Local.generation`, without ranks. Raises as `training`."""
        with self._placed(has_learner=False):
            async with super().generation(sources) as generation:
                yield generation

    @contextmanager
    def _placed(self, *, has_learner: bool) -> Iterator[None]:
        """A connection to Ray, with room for all actors."""
        bases = self._bases(has_learner=False)
        replicas_here = self._samplers if bases else 0
        sizes = [_gpus_of_replica(self._config, bases)] * replicas_here
        if has_learner:
            sizes += [int(_on_gpu(base)) for base in bases for _ in range(self._learners)]
        with _connected(self._address, len(sizes), sum(sizes)), _reserved(sizes, self._common()) as self._room:
            self._room.start([_ReplicaBody] * replicas_here + [_RankBody] * (len(sizes) - replicas_here))
            yield

    def _common(self) -> "Common":
        names = {self._config.sampler.name}
        threads = self._config.run.threads or max(1, available_cores() // (self._samplers + self._learners))
        return Common(searched(), {f"given:{name}": one for name, one in given(names).items()}, threads)

    def _own_sampler(self, bases: Sequence[LocalBase], stack: AsyncExitStack) -> Sampler:
        assert self._room is not None
        # No learner puts adapters into a base that is in a process of its own.
        alone = [replace(base, has_learner=False) for base in bases]
        actors = self._room.take(self._samplers)
        members = [_Member(actor) for actor in actors]
        try:
            scores = _answers([actor.start.remote(self._config.sampler, alone) for actor in actors])
        except _GoneError as error:
            raise EngineError(f"a replica of the sampler is gone: {error}") from error
        made: Replicas = replicas(
            members, score=all(scores), tolerance=self._config.run.proof_tolerance, carry=_carried
        )
        stack.push_async_callback(made.close)
        return made

    def _learner(self, bases: Sequence[LocalBase]) -> Learner:
        from counterpoint.learners.by_base import ByBase
        from counterpoint.learners.placed import Placed

        assert self._room is not None
        learners: list[Learner] = []
        for base in bases:
            crew = RayCrew(self._room.take(self._learners))
            crew.start(replace(base), self._config, self._shard_base, self._timeout)
            learners.append(Placed(crew))
        return learners[0] if len(learners) == 1 else ByBase(learners)


class Common:
    """What every actor needs before anything else: the user's modules, and its threads."""

    def __init__(self, folders: Sequence[str], objects: Mapping[str, Any], threads: int) -> None:
        self.folders = list(folders)
        self.objects = dict(objects)
        self.threads = threads


class _Body:
    """An actor. Its constructor does nothing: of an error in there Ray tells no more than that the actor died."""

    def prepare(self, folders: Sequence[str]) -> None:
        """The user's modules are found here: what is sent from now on may need them to be read."""
        for folder in reversed(folders):
            look_in(Path(folder))
        sys.path.extend(folder for folder in folders if folder not in sys.path)

    def share(self, common: Common) -> None:
        import torch

        torch.set_num_threads(common.threads)
        for name, member in common.objects.items():
            give(name, member)


class _ReplicaBody(_Body):
    """A sampler. Ray runs its methods on one event loop."""

    async def start(self, sampler: Any, bases: Sequence[LocalBase]) -> bool:
        """True if it scores."""
        self._host = Host(SAMPLERS.build(sampler, bases=bases))
        return self._host.scores

    async def hear(self, news: News) -> None:
        await self._host.hear(news)

    async def answers(self) -> list[Answer]:
        return await self._host.answers()

    async def load(self, adapters: Any) -> Mapping[str, str]:
        return await self._host.load(adapters)

    async def logprobs(self, calls: Sequence[Call], base: bool) -> list[list[float]]:
        return await self._host.logprobs(calls, base=base)

    async def close(self) -> None:
        await self._host.close()


class _RankBody(_Body):
    """A rank of a learner."""

    def address(self) -> str:
        """A free port on this machine, where the ranks can meet."""
        import ray

        host = ray.util.get_node_ip_address()
        with socket.socket() as found:
            found.bind(("", 0))
            return f"{host}:{found.getsockname()[1]}"

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


class _Member:
    """A replica, as the driver reaches it."""

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
            _kill([self._actor])


class RayCrew:
    """The ranks of a learner, each an actor. See `learners.placed.Crew`."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)
        self._error = ""

    def start(self, base: LocalBase, config: Config, shard: bool, timeout: float) -> None:
        """Every rank holds its learner. Raises LearnerError, or what says why the base cannot be loaded."""
        count = len(self._actors)
        address = self._all(lambda: [self._actors[0].address.remote()])[0]
        self._all(
            lambda: [
                actor.start.remote(rank, count, address, base, config, shard, timeout)
                for rank, actor in enumerate(self._actors)
            ]
        )

    def ask(self, method: str, *args: Any) -> list[Any]:
        import ray

        def sent() -> list[Any]:
            shared = ray.put(args)  # once, for all ranks
            return [actor.ask.remote(method, shared) for actor in self._actors]

        return self._all(sent)

    def ask_first(self, method: str, *args: Any) -> Any:
        return self._all(lambda: [self._actors[0].ask.remote(method, args)])[0]

    def _all(self, sent: Callable[[], list[Any]]) -> list[Any]:
        if self._error:
            raise LearnerError(self._error)
        try:
            return _answers(sent())
        except CounterpointError as error:
            self._end(str(error))
            raise
        except Exception as error:  # whatever a rank raises ends all of them
            self._end(f"a rank of the learner is gone: {error if isinstance(error, _GoneError) else told(error)}")
            raise LearnerError(self._error) from error

    def _end(self, why: str) -> None:
        self._error = why
        _kill(self._actors)


class _GoneError(Exception):
    """An actor, or Ray itself, is gone."""


class _Room:
    """The places of all actors, replicas first."""

    def __init__(self, group: Any, sizes: Sequence[int], common: Common) -> None:
        self._group = group
        self._sizes = sizes
        self._common = common
        self._actors: list[Any] = []
        self._taken = 0

    def start(self, bodies: Sequence[type[_Body]]) -> None:
        """An actor in every place, all started at once, since each takes long to import what it needs, and prepared."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Placed

        for index, body in enumerate(bodies):
            # GPUs are asked for by each actor itself: one in a bundle that asks for none sees none.
            options = {
                "num_cpus": 1,
                "num_gpus": self._sizes[index],
                "max_restarts": 0,
                "scheduling_strategy": Placed(self._group, placement_group_bundle_index=index),
            }
            if body is _ReplicaBody:
                options["max_concurrency"] = _AT_ONCE
            self._actors.append(ray.remote(body).options(**options).remote())
        try:
            _answers([actor.prepare.remote(self._common.folders) for actor in self._actors])
            _answers([actor.share.remote(self._common) for actor in self._actors])
        except _GoneError as error:
            raise EngineError(f"a process that Ray started is gone: {error}") from error

    def take(self, count: int) -> list[Any]:
        """The actors in the next places."""
        self._taken += count
        return self._actors[self._taken - count : self._taken]

    def close(self) -> None:
        _kill(self._actors)


@contextmanager
def _reserved(sizes: Sequence[int], common: Common) -> Iterator[_Room]:
    """Room for actors of so many GPUs each, as close together as can be. Raises ConfigError if there is none."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group

    bundles = [{"CPU": 1.0, **({"GPU": float(size)} if size else {})} for size in sizes]
    if not bundles:
        yield _Room(None, (), common)
        return
    group = placement_group(bundles, strategy="PACK")
    try:
        if not group.wait(_PLACE):
            there = {name: int(ray.cluster_resources().get(name, 0)) for name in ("CPU", "GPU")}
            raise ConfigError(
                f"runtime.name = 'ray': the cluster has no room for {len(sizes)} processes with {sum(sizes)} GPUs"
                f" within {_PLACE:g} seconds: it has {there['CPU']} CPUs and {there['GPU']} GPUs, others' work included"
            )
        room = _Room(group, sizes, common)
        try:
            yield room
        finally:
            room.close()
    finally:
        remove_placement_group(group)


@contextmanager
def _connected(address: str, actors: int, gpus: int) -> Iterator[None]:
    """Ray, where it runs, or else one that is started and ended here. Signals are handled as before."""
    if address:
        _check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options |= {"address": "local", "num_cpus": max(1, actors), "include_dashboard": False}
        options |= {} if gpus else {"num_gpus": 0}
    try:
        with _signals_kept():
            try:
                ray.init(**options)
            except (OSError, RuntimeError, ValueError, TimeoutError) as error:
                raise ConfigError(f"runtime.name = 'ray': Ray cannot be reached: {_line(error)}") from error
        yield
    finally:
        ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own handler for SIGTERM in place of ours, which saves."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, found in before.items():
                signal.signal(number, found)


def _check_address(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"([^\s:/]+):(\d{1,5})", address)
    if found is None or int(found[2]) > 65535:
        raise ConfigError(f"runtime.address = {address!r}: input should be host:port, or empty for a local Ray")
    return found[1], int(found[2])


def _check_answers(address: str) -> None:
    try:
        socket.create_connection(_check_address(address), timeout=_CONNECT).close()
    except OSError as error:
        raise ConfigError(f"runtime.address = {address!r}: no Ray answers there: {error}") from error


def _on_gpu(base: LocalBase) -> bool:
    return base.config.device.startswith("cuda")


def _gpus_of_replica(config: Config, bases: Sequence[LocalBase]) -> int:
    return int(config.sampler.options.get("tensor_parallel", 1)) if any(map(_on_gpu, bases)) else 0


def _carried(adapters: Any) -> Any:
    import ray

    return ray.put(list(adapters))  # once, however many replicas get it


def _answers(refs: Sequence[Any]) -> list[Any]:
    """What all actors answer; raises what the first one raises that fails, _GoneError if it is gone."""
    import ray

    waiting = list(refs)
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=_LOOK)
            ray.get(done)
        found: list[Any] = ray.get(list(refs))
        return found
    except ray.exceptions.RayError as error:
        raise _cause(error) from error


async def _awaited(ref: Any) -> Any:
    import ray

    try:
        return await ref
    except ray.exceptions.RayError as error:
        raise _cause(error) from error


def _cause(error: Any) -> Exception:
    """The error that an actor raised, without the traceback that Ray makes its text; else that it is gone."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else _GoneError(_line(error))


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _kill(actors: Sequence[Any]) -> None:
    import ray

    for actor in actors:
        if ray.is_initialized():
            ray.kill(actor)
