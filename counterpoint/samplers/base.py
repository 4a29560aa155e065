"""The sampler's interface: prompt tokens in, completion tokens and their log-probabilities out.

A sampler of your own is a function or class that is called with the bases that it serves, and whose keyword-only
parameters are its options:

    def my_sampler(bases: Sequence[Base], *, servers: int = 1) -> Sampler: ...

A recipe names it by `sampler = "my_module:my_sampler"`, or by a table with that `name` and its options. What it returns
must keep the promises of `Sampler`; `counterpoint.testing.sampler_conformance` checks them. If it has a method `async
def close(self)`, that is awaited when the run ends. If it has the method of `Scorer`, a run can prove what it generates
with even where an adapter is small. If the function or class itself has a function `check(config, bases, **options)`,
that is called before anything is started or loaded, and raises ConfigError for what cannot be served.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from counterpoint.adapter import Adapter
from counterpoint.chat import Chat
from counterpoint.config import ModelConfig
from counterpoint.episode import Call, Message

MAX_ROWS = 1024
"""Calls generated at once in this process, at most, unless the recipe or the memory of a GPU says otherwise."""
MAX_CACHE_TOKENS = 2**17
"""Tokens whose keys and values are held at once in this process, at most, with the same exceptions."""


class Base(Protocol):
    """A frozen base model, and the policies on it that a sampler serves."""

    @property
    def config(self) -> ModelConfig:
        """The model as the recipe describes it."""
        ...

    @property
    def policies(self) -> Sequence[str]:
        """The names of the policies on it."""
        ...

    @property
    def ranks(self) -> Mapping[str, int]:
        """Policy -> the rank of its adapters, of none where they are exactly the base."""
        ...

    @property
    def longest(self) -> int:
        """Tokens of the longest call, prompt and reply together."""
        ...

    @property
    def chat(self) -> Chat:
        """Its tokenizer, chat template and stop tokens."""
        ...

    @property
    def has_learner(self) -> bool:
        """True if a learner computes with `model` too. Then it must not be changed; a sampler may copy it."""
        ...

    @property
    def model(self) -> Any:
        """The model, loaded when it is first asked for: a sampler that never asks takes no memory for it here.

        A learner will put its adapters into it, so ask for it at once and copy what must stay. Raises ModelError.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call to be made. Equal requests at equal weights have equal completions."""

    policy: str
    prompt_ids: tuple[int, ...]
    """Empty for a policy of an endpoint, whose tokenizer is not known here: then `messages` is the prompt."""
    messages: tuple[Message, ...] = ()
    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The sampled tokens, and the version of the weights that they were sampled from."""

    ids: tuple[int, ...]
    """With the stop token, if there is one. Empty only for an endpoint."""
    logprobs: tuple[float, ...]
    """One for each id, in nats, under the distribution sampled from: with the temperature, without top-k or top-p."""
    finish: Literal["stop", "length"]
    version: int
    text: str | None = None
    """The reply, without its reasoning, where there are no ids."""
    reasoning: str = ""
    """The reasoning before the reply, where there are no ids."""
    tokens: int | None = None
    """The number of tokens by the endpoint's count, where there are no ids."""


class Session(Protocol):
    """One episode's line to the sampler."""

    async def sample(self, request: Request) -> Completion:
        """The completion of a request, by the weights of its policy. Raises SamplerError if it cannot be served."""
        ...


class Sampler(Protocol):
    """Generates completions for its policies."""

    def session(self) -> AbstractContextManager[Session]:
        """Open for as long as one episode is played. A sampler may wait for all open sessions before it computes."""
        ...

    async def load(self, adapters: Sequence[Adapter]) -> None:
        """Every policy in `adapters` generates with those weights from here on; the other policies are unchanged."""
        ...

    def digests(self) -> dict[str, str]:
        """For each policy the digest of the weights with which it generates now, as `Adapter.digest` has it."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """Optional for a sampler: log-probabilities of given tokens, computed by the model that generates.

    They tell more than those of generated tokens if they are computed as the learner computes its own, all calls of a
    policy in one pass in their order: then both round alike, and a small change is not lost in rounding.
    """

    async def logprobs(self, calls: Sequence[Call], *, base: bool = False) -> list[list[float]]:
        """Log-probability (nats) of each completion token of `calls`, at their temperatures.

        They are those under the weights with which the policy of each call generates now, or with `base` under the base
        without an adapter.
        """
        ...
