"""The runtime's interface: the place where sampler and learner live.

A runtime of your own is a class that is called with `config` and `routing`, and whose keyword-only parameters are its
options. A recipe names it by `runtime = "my_module:MyRuntime"`.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from counterpoint.adapter import Sources
from counterpoint.chat import Chat
from counterpoint.learners.base import Learner
from counterpoint.samplers.base import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A sampler that is ready, and the chat format of each policy's base model."""

    sampler: Sampler
    chats: Mapping[str, Chat]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime(Generation):
    """Sampler and learner, ready. The sampler has not loaded the learner's weights yet."""

    learner: Learner


class Place(Protocol):
    """Opens what a recipe needs. What it opens is closed when its context is left."""

    def training(self) -> AbstractAsyncContextManager[Runtime]:
        """Sampler and learner."""
        ...

    def generation(self, sources: Sources) -> AbstractAsyncContextManager[Generation]:
        """A sampler alone, which has loaded every policy from its source, or from where the policy starts."""
        ...
