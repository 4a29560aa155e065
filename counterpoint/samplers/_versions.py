"""The versions of the policies that one engine serves: loaded, proved, switched to, and only then retired."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from counterpoint.adapter import Adapter
from counterpoint.errors import EngineError, ProofError, SamplerError, counted, told, unknown
from counterpoint.samplers._async_llm import Said
from counterpoint.samplers._folder import Folders, Place
from counterpoint.samplers.base import Request

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
_SECONDS = 600.0
"""The longest that an engine may take to add, to prove or to remove an adapter."""


class Engine(Protocol):
    """The methods of an engine that are needed; `AsyncEngine` has them. Any exception but SamplerError is its death."""

    async def add(self, place: Place) -> None: ...

    async def prove(self, place: Place, scale: float) -> list[dict[str, str]]: ...

    async def remove(self, place: Place) -> None: ...

    async def generate(self, request: Request, place: Place | None) -> Said: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a policy, as the engine holds it."""

    policy: str
    number: int
    """The number of optimizer steps that led to it."""
    place: Place | None
    """None for a policy that is exactly its base: its calls go without an adapter."""
    digest: str
    """The digest that the engine's workers reported of it."""


class Versions:
    """The policies of one base, and the engine that generates for them."""

    def __init__(
        self, engine: Engine, folders: Folders, ranks: Mapping[str, int], longest: int, half: bool = False
    ) -> None:
        """`ranks` has the policies that may be loaded. With `half` slots are in half precision."""
        self._engine = engine
        self._folders = folders
        self._ranks = dict(ranks)
        self._longest = longest
        self._half = half
        self._current: dict[str, Version] = {}
        self._held: list[Version] = []
        """Those in the engine's slots: the current ones, and those that open sessions still name."""
        self._named: Counter[Version] = Counter()
        """Version -> the sessions that name it, and the calls by it that have not ended."""
        self._dead: Exception | None = None
        self._loading = asyncio.Lock()

    @property
    def policies(self) -> Iterable[str]:
        """Those that may be loaded."""
        return self._ranks

    def digests(self) -> dict[str, str]:
        """Those that workers reported of the versions with which policies generate now."""
        return {policy: version.digest for policy, version in self._current.items()}

    async def load(self, adapters: Sequence[Adapter]) -> None:
        """Every policy in `adapters` generates with those weights, which the slots of every worker were shown to hold.

        Calls under way end on the weights on which they began. Raises ProofError if a slot holds anything else,
        SamplerError if an adapter has no room, and EngineError if the engine died; policies then generate as before.
        """
        async with self._loading:
            self._check()
            await self._retire()
            self._check_room(adapters)
            proved: list[Version] = []
            try:
                for adapter in adapters:
                    proved.append(await self._proved(adapter))
            except (SamplerError, ProofError):
                for version in proved:
                    await self._take_out(version.place)
                raise
            self._held += [version for version in proved if version.place is not None]
            self._current |= {version.policy: version for version in proved}
            await self._retire()

    def named(self, policy: str) -> Version:
        """The version with which a policy generates now, held until it is let go. Raises SamplerError if unknown."""
        self._check()
        if policy not in self._current:
            raise SamplerError(unknown("policy", policy, self._current))
        version = self._current[policy]
        self._named[version] += 1
        return version

    def let_go(self, version: Version) -> None:
        """A session names the version no more. If no other does either, it is retired before the next is loaded."""
        self._named[version] -= 1

    async def generate(self, request: Request, version: Version) -> Said:
        """The tokens of a call by a version that is held. Raises EngineError if the engine died, or SamplerError."""
        self._check()
        tokens = len(request.prompt_ids) + request.max_tokens
        if not request.prompt_ids or tokens > self._longest:
            raise SamplerError(
                f"policy {request.policy!r}: a call of {len(request.prompt_ids)} + {request.max_tokens} tokens; the"
                f" engine was started for prompts, and for calls of at most {self._longest} tokens"
            )
        self._named[version] += 1  # a call that is cancelled takes a while to end, and its session is closed by then
        try:
            return await self._alive(self._engine.generate(request, version.place))
        finally:
            self._named[version] -= 1

    def close(self) -> None:
        """No process of the engine and no folder is left."""
        self._dead = self._dead or EngineError("the sampler was closed")
        try:
            self._engine.close()
        finally:
            self._folders.close()

    async def _proved(self, adapter: Adapter) -> Version:
        if not adapter.tensors:  # which vLLM cannot load
            return Version(adapter.policy, adapter.version, None, adapter.digest)
        place = self._folders.write(adapter)
        try:
            await self._timely(self._engine.add(place))
            digest = _digest_of(adapter, await self._timely(self._engine.prove(place, adapter.scale)))
        except ProofError:
            await self._take_out(place)
            raise
        except BaseException as error:  # also an interrupt, after which the engine may know the folder
            self._dead = self._dead or EngineError(f"an adapter was not loaded: {told(error)}")
            raise
        return Version(adapter.policy, adapter.version, place, digest)

    async def _retire(self) -> None:
        """Take out the versions that are not current and that no session names."""
        for version in [*self._held]:
            if self._current[version.policy] is not version and not self._named[version]:
                self._held.remove(version)
                await self._take_out(version.place)

    async def _take_out(self, place: Place | None) -> None:
        if place is None:
            return
        await self._timely(self._engine.remove(place))
        self._folders.remove(place)  # last: an engine that still knew the adapter would read it again

    def _check_room(self, adapters: Sequence[Adapter]) -> None:
        if len({adapter.policy for adapter in adapters}) != len(adapters):
            raise SamplerError("a policy is loaded twice at once")
        for adapter in adapters:
            if adapter.policy not in self._ranks:
                raise SamplerError(unknown("policy", adapter.policy, self._ranks))
            rank = max((int(a_RI.shape[0]) for _, a_RI, _ in adapter.layers()), default=1)
            if rank > max(self._ranks.values()):
                raise SamplerError(
                    f"policy {adapter.policy!r}: an adapter of rank {rank}, but the engine has room for"
                    f" {max(self._ranks.values())}"
                )
            self._warn(adapter)
        # Beyond its slots an engine would evict an adapter without a word.
        if len(self._held) + sum(bool(adapter.tensors) for adapter in adapters) > 2 * len(self._ranks):
            raise SamplerError(
                f"{counted(len(self._held), 'version')} of policies ({', '.join(sorted(self._ranks))}) are current or"
                " still named by open episodes: new weights can be loaded once these episodes have ended"
            )

    def _warn(self, adapter: Adapter) -> None:
        if self._half and adapter.tensors and math.frexp(adapter.scale)[0] != 0.5:
            _LOG.warning(
                "policy %s: alpha / rank = %g is no power of two, so vLLM rounds its adapter once more",
                adapter.policy,
                adapter.scale,
            )

    def _check(self) -> None:
        if self._dead is not None:
            raise EngineError(f"vLLM died: {told(self._dead)}") from self._dead

    async def _timely(self, work: Awaitable[T]) -> T:
        async def timed() -> T:
            async with asyncio.timeout(_SECONDS):
                return await work

        return await self._alive(timed())

    async def _alive(self, work: Awaitable[T]) -> T:
        """The answer of the engine. An engine that raised is dead: asked again, it may not answer at all."""
        try:
            return await work
        except SamplerError:
            raise
        except Exception as error:  # whatever it died of
            self._dead = self._dead or error
            raise EngineError(f"vLLM died: {told(error)}") from error


def _digest_of(adapter: Adapter, found: Sequence[Mapping[str, str]]) -> str:
    """The digest that all workers report. Raises ProofError if one reports a fault or another digest."""
    for worker, one in enumerate(found):
        if one.get("digest") != adapter.digest:
            why = one.get("fault") or f"its file has digest {one.get('digest', 'none')[:12]}"
            raise ProofError(
                f"policy {adapter.policy!r}: worker {worker} of vLLM does not hold version {adapter.version}, which has"
                f" digest {adapter.digest[:12]}: {why}"
            )
    if not found:
        raise ProofError(f"policy {adapter.policy!r}: no worker of vLLM says what it holds")
    return found[0]["digest"]
