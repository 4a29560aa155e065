"""Several samplers, each for some policies: an endpoint for one role, this process for the others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from counterpoint.adapter import Adapter
from counterpoint.errors import SamplerError, unknown
from counterpoint.samplers.base import Completion, Request, Sampler, Scorer, Session


class ByPolicy:
    """Passes each request to the sampler of its policy."""

    def __init__(self, samplers: Mapping[str, Sampler]) -> None:
        self._samplers = dict(samplers)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with ExitStack() as stack:
            sessions = {id(one): stack.enter_context(one.session()) for one in self._distinct()}
            yield _Session({policy: sessions[id(sampler)] for policy, sampler in self._samplers.items()})

    async def load(self, adapters: Sequence[Adapter]) -> None:
        for adapter in adapters:
            if adapter.policy not in self._samplers:
                raise SamplerError(unknown("policy", adapter.policy, self._samplers))
        for sampler in self._distinct():
            await sampler.load([adapter for adapter in adapters if self._samplers[adapter.policy] is sampler])

    def digests(self) -> dict[str, str]:
        return {policy: digest for sampler in self._distinct() for policy, digest in sampler.digests().items()}

    def of(self, policy: str) -> Sampler:
        """The sampler of a policy."""
        return self._samplers[policy]

    def _distinct(self) -> list[Sampler]:
        return list({id(sampler): sampler for sampler in self._samplers.values()}.values())


class _Session:
    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions

    async def sample(self, request: Request) -> Completion:
        if request.policy not in self._sessions:
            raise SamplerError(unknown("policy", request.policy, self._sessions))
        return await self._sessions[request.policy].sample(request)


def scorer_of(sampler: Sampler, policy: str) -> Scorer | None:
    """The scorer of a policy; None if its sampler is none."""
    own = sampler.of(policy) if isinstance(sampler, ByPolicy) else sampler
    return own if isinstance(own, Scorer) else None
