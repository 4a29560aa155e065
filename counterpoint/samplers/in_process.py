"""Sampling in this process with transformers: the calls of all open episodes in one wave, on any number of bases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated
from weakref import WeakMethod

from pydantic import Field

from counterpoint.adapter import Adapter
from counterpoint.clock import timed
from counterpoint.episode import Call
from counterpoint.samplers._wave import Wave, WaveSession
from counterpoint.samplers.base import Base, Completion, Request

if TYPE_CHECKING:
    from counterpoint.samplers._engine import Engine

NO_ENGINES: Mapping[str, Engine] = MappingProxyType({})


def in_process(
    bases: Sequence[Base],
    *,
    max_rows: Annotated[int, Field(ge=1)] | None = None,
    max_cache_tokens: Annotated[int, Field(ge=1)] | None = None,
    patience: Annotated[float, Field(gt=0)] | None = None,
) -> InProcess:
    """Generates with transformers, in this process.

    At most `max_rows` calls are generated at once, and no more than have `max_cache_tokens` tokens of prompts and
    replies: by default 1,024 calls and 131,072 tokens, or on a GPU as many as a sixteenth of its memory has logits for,
    and a quarter of it keys and values. Calls beyond that begin as others end. Beside a learner, adapters are merged
    into a copy of each base in float32; in half precision, and without a learner, they are computed beside the base
    itself, which takes half the memory. Calls are generated once every open episode waits for one, which makes results
    reproducible; with `patience` after that many seconds at the latest, so that an episode that waits for something
    else does not hold up the others. Raises ModelError if a base cannot be loaded.
    """
    from counterpoint.samplers._engine import Engine  # not above: its options are checked without torch
    from counterpoint.samplers._weights import Beside, lossless

    engines: dict[str, Engine] = {}
    for base in bases:
        engine = Engine(
            base.model,
            base.chat.stop_ids,
            forward=base.config.forward,
            max_rows=max_rows,
            max_cache_tokens=max_cache_tokens,
            weights=lossless if base.has_learner else Beside,
        )
        engines |= dict.fromkeys(base.policies, engine)
    return InProcess(next(iter(engines.values())), engines, patience)


class InProcess:
    """Generates for every policy with the engine of its base."""

    def __init__(
        self, engine: Engine, engine_of: Mapping[str, Engine] = NO_ENGINES, patience: float | None = None
    ) -> None:
        """`engine` generates for the policies that are not in `engine_of`."""
        self._default = engine
        self._engine_of = dict(engine_of)
        # Weak, so that no cycle of references keeps the weights of a run that has ended: they would stay for all of the
        # next run of the process, during which old objects are not searched for garbage.
        mine = WeakMethod(self._compute)

        def compute(requests: Sequence[Request]) -> list[Completion]:
            found = mine()
            assert found is not None
            return found(requests)

        self._wave = Wave(compute, patience)

    @contextmanager
    def session(self) -> Iterator[WaveSession]:
        with self._wave.session() as session:
            yield session  # the sampler is there for as long as one is open

    async def load(self, adapters: Sequence[Adapter]) -> None:
        for engine in self._engines():
            engine.load([adapter for adapter in adapters if self._engine(adapter.policy) is engine])

    def digests(self) -> dict[str, str]:
        return {policy: digest for engine in self._engines() for policy, digest in engine.digests().items()}

    async def logprobs(self, calls: Sequence[Call], *, base: bool = False) -> list[list[float]]:
        """Those of `Scorer`."""
        found: dict[int, list[float]] = {}
        for engine in self._engines():
            mine = [index for index, call in enumerate(calls) if self._engine(call.policy) is engine]
            found |= dict(zip(mine, engine.logprobs([calls[index] for index in mine], base=base), strict=True))
        return [found[index] for index in range(len(calls))]

    @timed("sampling")
    def _compute(self, requests: Sequence[Request]) -> list[Completion]:
        completions: dict[int, Completion] = {}
        for engine in self._engines():
            mine = [index for index, request in enumerate(requests) if self._engine(request.policy) is engine]
            found = engine.compute([requests[index] for index in mine])
            completions |= dict(zip(mine, found, strict=True))
        return [completions[index] for index in range(len(requests))]

    def _engine(self, policy: str) -> Engine:
        return self._engine_of.get(policy, self._default)

    def _engines(self) -> list[Engine]:
        return list(dict.fromkeys([self._default, *self._engine_of.values()]))
