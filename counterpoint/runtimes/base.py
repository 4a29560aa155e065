"""What a runtime is: the place where sampler and learner live."""

from collections.abc import Mapping
from dataclasses import dataclass

from counterpoint.chat import Chat
from counterpoint.learners.base import Learner
from counterpoint.samplers.base import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Sampler and learner, ready, and how the base model of each policy writes conversations."""

    sampler: Sampler
    learner: Learner
    chats: Mapping[str, Chat]
