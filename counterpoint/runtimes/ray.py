"""Samplers and ranks of learners as actors of Ray, on one machine or on many; endpoints where they are.

Ray places the processes and carries bytes. What is computed is in `samplers.replicas` and `learners.placed`, which know
nothing of Ray. Nothing is restarted: if a process dies the run ends with an error, and can be resumed.
"""

import importlib.util
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from counterpoint.adapter import Sources
from counterpoint.config import Config, PolicySettings
from counterpoint.errors import AbsentPackageError, ConfigError, EngineError
from counterpoint.family import given, searched
from counterpoint.learners.base import Learner
from counterpoint.policy import Routing
from counterpoint.runtimes._actors import Given, GoneError, Member, RankBody, RayCrew, ReplicaBody, answers
from counterpoint.runtimes._cluster import Room, check_address, connected, reserved
from counterpoint.runtimes.base import Generation, Runtime
from counterpoint.runtimes.local import Local, LocalBase
from counterpoint.samplers.base import Sampler
from counterpoint.samplers.replicas import Replicas, replicas


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
        timeout: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 600.0,
    ) -> None:
        """`address` (host:port) is that of a running Ray; without one a local Ray is started, and ended afterwards.

        There are `samplers` replicas of the sampler and, for each base, `learners` ranks. With `shard_base` a rank
        keeps only its part of the base's layers. A process may take `timeout` seconds to start, and so may a collective
        of the ranks. Raises ConfigError if the recipe has settings for a policy that does not exist.
        """
        super().__init__(config, routing)
        self._address = address
        self._samplers = samplers
        self._learners = learners
        self._shard_base = shard_base
        self._timeout = timeout
        self._room: Room | None = None

    @staticmethod
    def check(config: Config, *, address: str, learners: int, shard_base: bool, **others: Any) -> None:
        """Raises ConfigError if the options cannot work here, or Ray is not installed. Starts nothing."""
        if importlib.util.find_spec("ray") is None:
            raise AbsentPackageError("runtime.name = 'ray': pip install 'counterpoint[ray]' first (no module ray)")
        if shard_base and learners < 2:
            raise ConfigError("runtime.shard_base = true needs runtime.learners = 2 or more")
        if address:
            check_address(address)
        models = {"model": config.model} | {f"policy.{name}.model": own.model for name, own in _own(config).items()}
        for where, model in models.items():
            if model.device.startswith("cuda:"):
                raise ConfigError(
                    f"{where}.device = {model.device!r} cannot be used with runtime.name = 'ray', which gives every"
                    " process a GPU of its own; allowed: cpu, cuda"
                )

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
        """A connection to Ray, with an actor for every replica and rank."""
        bases = self._bases(has_learner=False)
        samplers = [_gpus_of_replica(self._config, bases)] * (self._samplers if bases else 0)
        ranks = [int(_on_gpu(base)) for base in bases for _ in range(self._learners)] if has_learner else []
        sizes = samplers + ranks
        with connected(self._address, len(sizes), sum(sizes)), reserved(sizes) as self._room:
            self._room.start([ReplicaBody] * len(samplers) + [RankBody] * len(ranks), self._given(), self._timeout)
            yield

    def _given(self) -> Given:
        objects = given({self._config.sampler.name})
        return Given(tuple(searched()), objects, self._config.run.threads)

    def _own_sampler(self, bases: Sequence[LocalBase], stack: AsyncExitStack) -> Sampler:
        assert self._room is not None
        # No learner puts adapters into a base that is in a process of its own.
        alone = [replace(base, has_learner=False) for base in bases]
        actors = self._room.take(self._samplers)
        members = [Member(actor) for actor in actors]
        try:
            scores = answers([actor.start.remote(self._config.sampler, alone) for actor in actors], self._timeout)
        except GoneError as error:
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


def _own(config: Config) -> dict[str, PolicySettings]:
    """The policies that have settings of their own, by name."""
    return {name: config.policy_settings(name) for name in config.policy}


def _on_gpu(base: LocalBase) -> bool:
    return base.config.device.startswith("cuda")


def _gpus_of_replica(config: Config, bases: Sequence[LocalBase]) -> int:
    return int(config.sampler.options.get("tensor_parallel", 1)) if any(map(_on_gpu, bases)) else 0


def _carried(adapters: Any) -> Any:
    import ray

    return ray.put(list(adapters))  # once, however many replicas get it
