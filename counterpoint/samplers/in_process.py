"""Sample in this process with transformers: every open episode's calls in one wave, on as many bases as there are."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType

from counterpoint.clock import timed
from counterpoint.policy import Adapter
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._wave import Wave, WaveSession
from counterpoint.samplers.base import Completion, Request

NO_ENGINES: Mapping[str, Engine] = MappingProxyType({})


class InProcess:
    """Speaks for every policy with the engine of its base."""

    def __init__(self, engine: Engine, engine_of: Mapping[str, Engine] = NO_ENGINES) -> None:
        """`engine` speaks for the policies that are not in `engine_of`."""
        self._default = engine
        self._engine_of = dict(engine_of)
        self._wave = Wave(self._compute)

    def session(self) -> AbstractContextManager[WaveSession]:
        return self._wave.session()

    async def load(self, adapters: Sequence[Adapter]) -> None:
        for engine in self._engines():
            engine.load([adapter for adapter in adapters if self._engine(adapter.policy) is engine])

    def digests(self) -> dict[str, str]:
        return {policy: digest for engine in self._engines() for policy, digest in engine.digests().items()}

    @timed("sampling")
    def _compute(self, requests: Sequence[Request]) -> list[Completion]:
        completions: dict[int, Completion] = {}
        for engine in self._engines():
            mine = [index for index, request in enumerate(requests) if self._engine(request.policy) is engine]
            spoken = engine.compute([requests[index] for index in mine])
            completions |= dict(zip(mine, spoken, strict=True))
        return [completions[index] for index in range(len(requests))]

    def _engine(self, policy: str) -> Engine:
        return self._engine_of.get(policy, self._default)

    def _engines(self) -> list[Engine]:
        return list(dict.fromkeys([self._default, *self._engine_of.values()]))
