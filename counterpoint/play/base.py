"""The inputs of a rollout in addition to tasks, and the seed of each call."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from counterpoint.chat import Chat
from counterpoint.config import Config, LongPrompts
from counterpoint.policy import Routing
from counterpoint.samplers.base import Sampler
from counterpoint.workflows.base import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sampling parameters and time limits of a rollout."""

    temperature: float
    max_tokens: int
    """The longest reply, in tokens."""
    max_prompt_tokens: int
    long_prompts: LongPrompts = "refuse"
    timeout: float
    """Seconds per episode, not counting those in which it waits for the sampler."""
    judge_timeout: float
    """Seconds per judged answer."""
    max_calls: int = 1000
    """Calls per episode."""
    timeout_name: str = "rollout.timeout"
    """The name of `timeout` in messages."""
    max_calls_name: str = "rollout.max_calls"
    """The name of `max_calls` in messages."""

    @classmethod
    def of(cls, config: Config, temperature: float) -> "Limits":
        """The limits that a recipe sets, at a temperature."""
        rollouts = config.rollout
        return cls(
            temperature=temperature,
            max_tokens=rollouts.max_tokens,
            max_prompt_tokens=rollouts.max_prompt_tokens,
            long_prompts=rollouts.long_prompts,
            timeout=rollouts.timeout,
            judge_timeout=rollouts.judge_timeout,
            max_calls=rollouts.max_calls,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that is needed to play a workflow, except tasks and limits."""

    workflow: Workflow
    routing: Routing
    """Which policy generates the replies of each role and slot."""
    sampler: Sampler
    """Generates replies with every policy."""
    chats: Mapping[str, Chat]
    """Policy -> the chat template of its base model; the policy of an endpoint has none."""


def call_seed(*parts: object) -> int:
    """A seed in [0, 2^63) that depends on every part."""
    name = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
