"""Sampling with vLLM: an engine for each base, in processes of its own, with the policies' adapters in its slots.

Each version of a policy is published under an identifier, a name and a folder that are used once. It is loaded, the
workers read their own slots back and compare them with the file, then the policy switches to it, and only then is the
one before retired. Every call of an episode is by the version that the policy had at the first of them.

It is no `Scorer`: vLLM computes the log-probabilities of given tokens before the temperature, and apart from its
sampling.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Literal

from pydantic import Field

from counterpoint.adapter import Adapter
from counterpoint.clock import timed
from counterpoint.config import Config
from counterpoint.errors import SamplerError, unknown
from counterpoint.samplers._async_llm import AsyncEngine, Demand, Options, Said
from counterpoint.samplers._folder import Folders
from counterpoint.samplers._servable import check_bases, stretched
from counterpoint.samplers._versions import Version, Versions
from counterpoint.samplers.base import Base, Completion, Request


class Vllm:
    """Generates with vLLM, in processes of its own.

    At most `max_rows` calls are generated at once, with `cache_gb` GiB of keys and values for each base, which vLLM
    keeps for prompts that begin alike. An engine takes `tensor_parallel` GPUs from `model.device` on. With `exact` a
    call has the same tokens whatever is generated beside it, which is slower and needs a GPU of compute capability 9.0;
    on a CPU that is so without it. `eager` starts faster and generates more slowly: no CUDA graphs. Raises ConfigError
    for what vLLM cannot serve or this machine cannot hold, and EngineError if vLLM does not start.
    """

    def __init__(
        self,
        bases: Sequence[Base],
        *,
        max_rows: Annotated[int, Field(ge=1)] = 256,
        cache_gb: Annotated[float, Field(gt=0)] = 24.0,
        tensor_parallel: Annotated[int, Field(ge=1)] = 1,
        exact: bool = False,
        eager: bool = False,
    ) -> None:
        options = Options(
            max_rows=max_rows, cache_gb=cache_gb, tensor_parallel=tensor_parallel, exact=exact, eager=eager
        )
        check_bases(bases, options)
        self._all = _started(bases, options)
        self._of = {policy: one for one in self._all for policy in one.policies}

    @staticmethod
    def check(config: Config, bases: Sequence[Base], **options: Any) -> None:
        """Raises ConfigError if vLLM cannot serve these bases, or not on this machine. Starts nothing."""
        check_bases(bases, Options(**options), (config.rollout.temperature, config.evaluation.temperature))

    @contextmanager
    def session(self) -> Iterator["VllmSession"]:
        session = VllmSession(self._of)
        try:
            yield session
        finally:
            session.close()

    async def load(self, adapters: Sequence[Adapter]) -> None:
        """As `Sampler` says. Raises ProofError if a worker holds anything else, SamplerError, and EngineError."""
        for adapter in adapters:
            if adapter.policy not in self._of:
                raise SamplerError(unknown("policy", adapter.policy, self._of))
        for one in self._all:
            mine = [adapter for adapter in adapters if self._of[adapter.policy] is one]
            if mine:
                await one.load(mine)

    def digests(self) -> dict[str, str]:
        return {policy: digest for one in self._all for policy, digest in one.digests().items()}

    async def close(self) -> None:
        """No process of an engine is left, and nothing of it in memory or on tmpfs."""
        _close(self._all)


def _started(bases: Sequence[Base], options: Options) -> list[Versions]:
    """An engine for each base. If one does not start, none is left."""
    started: list[Versions] = []
    try:
        for base in bases:
            started.append(_engine_of(base, options))
    except BaseException:
        _close(started)
        raise
    return started


def _engine_of(base: Base, options: Options) -> Versions:
    from counterpoint.base_model import configuration  # not above: options are checked without transformers

    demand = Demand(
        policies=len(base.policies),
        rank=max(base.ranks.values()),
        longest=base.longest,
        stops=base.chat.stop_ids,
        replaced=stretched(configuration(base.config).to_dict(), base.config.path, base.longest),
    )
    folders = Folders()
    try:
        engine = AsyncEngine(base.config, options, demand)
    except BaseException:
        folders.close()
        raise
    return Versions(engine, folders, base.ranks, base.longest, half=base.config.dtype != "float32")


def _close(all_of_them: Sequence[Versions]) -> None:
    """All are closed, also if closing one of them fails."""
    with ExitStack() as stack:
        for one in all_of_them:
            stack.callback(one.close)


class VllmSession:
    """The calls of one episode, each policy at the version that it had at its first call."""

    def __init__(self, of: dict[str, Versions]) -> None:
        self._of = of
        self._names: dict[str, Version] = {}
        self._calls: set[asyncio.Task[Said]] = set()
        self._closed = False

    async def sample(self, request: Request) -> Completion:
        """The completion of a request. Raises EngineError if the engine died, SamplerError if it cannot be served."""
        if self._closed:
            raise SamplerError("a call was made after its episode had ended")
        if request.policy not in self._of:
            raise SamplerError(unknown("policy", request.policy, self._of))
        versions = self._of[request.policy]
        if request.policy not in self._names:
            self._names[request.policy] = versions.named(request.policy)
        version = self._names[request.policy]
        call = asyncio.create_task(versions.generate(request, version))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        with timed("sampling"):
            said = await call
        finish: Literal["stop", "length"] = "stop" if said.stopped else "length"
        return Completion(ids=said.ids, logprobs=said.logprobs, finish=finish, version=version.number)

    def close(self) -> None:
        """The session names no version any more. Its calls under way are ended, as an engine dies without theirs."""
        self._closed = True
        for call in self._calls:
            call.cancel()
        for policy, version in self._names.items():
            self._of[policy].let_go(version)
        self._names = {}
