"""What a sampler is: prompt tokens in, completion tokens and their log-probabilities out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from counterpoint.episode import Message
from counterpoint.policy import Adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call to be made. Equal requests at equal weights give equal completions."""

    policy: str
    prompt_ids: tuple[int, ...]
    """Empty for a policy whose tokenizer is out of reach: then the messages are what is asked."""
    messages: tuple[Message, ...] = ()
    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What was sampled, and from which version of the weights."""

    ids: tuple[int, ...]
    """The stop token included where there is one; never empty, but for an endpoint's."""
    logprobs: tuple[float, ...]
    """Nats, under the distribution sampled from: temperature applied, nothing cut off. One for each id."""
    finish: Literal["stop", "length"]
    version: int
    text: str | None = None
    """What was said, where there are no ids; without what was reasoned before."""
    reasoning: str = ""
    """What was reasoned before that, where there are no ids."""
    tokens: int | None = None
    """By the endpoint's count, where there are no ids."""


class Session(Protocol):
    """One episode's line to the sampler."""

    async def sample(self, request: Request) -> Completion:
        """Raises SamplerError if the request cannot be served; never answers with other weights than asked for."""
        ...


class Sampler(Protocol):
    def session(self) -> AbstractContextManager[Session]:
        """Open for as long as one episode plays: a sampler may wait for all open sessions before it computes."""
        ...

    async def load(self, adapters: Sequence[Adapter]) -> None:
        """From here on every policy in `adapters` speaks with those weights."""
        ...

    def digests(self) -> dict[str, str]:
        """The digest of the weights with which each policy speaks now."""
        ...
