"""Sampler and learner in this process, around the frozen bases of the policies; endpoints where they are."""

import inspect
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from counterpoint.adapter import Adapter, Sources, starting_adapter
from counterpoint.architectures import check_positions
from counterpoint.chat import Chat
from counterpoint.config import Config, EndpointConfig, ModelConfig, PolicySettings, RolloutConfig
from counterpoint.errors import ConfigError
from counterpoint.learners.base import Learner
from counterpoint.policy import Policy, Routing, settings_of
from counterpoint.runtimes.base import Generation, Runtime
from counterpoint.samplers import SAMPLERS
from counterpoint.samplers.base import Sampler
from counterpoint.samplers.by_policy import ByPolicy


class Local:
    """Everything in this process."""

    def __init__(self, config: Config, routing: Routing) -> None:
        """Raises ConfigError if the recipe has settings for a policy that does not exist."""
        self._config = config
        self._settings = settings_of(routing, config)
        self._policies = [policy for policy in routing.policies if self._settings[policy.name].endpoint is None]

    @asynccontextmanager
    async def training(self) -> AsyncIterator[Runtime]:
        """For each base a learner with its policies' adapters, and what the sampler makes of it.

        Raises ModelError if a base cannot be loaded, ConfigError if an endpoint needs what is not installed.
        """
        _use_threads(self._config)
        bases = self._bases(has_learner=True)
        async with AsyncExitStack() as stack:
            # The sampler first: learners put their adapters into the bases, which it must find as they are.
            sampler = self._sampler(bases, stack)
            yield Runtime(sampler=sampler, learner=self._learner(bases), chats=_chats(bases))

    @asynccontextmanager
    async def generation(self, sources: Sources) -> AsyncIterator[Generation]:
        """The sampler alone. Raises as `training`, and AdapterError or SamplerError if an adapter cannot be loaded."""
        _use_threads(self._config)
        bases = self._bases(has_learner=False)
        # Before the bases are loaded, which takes longer: a folder without an adapter is found at once.
        adapters = [
            _adapter(policy.name, self._settings[policy.name], sources.get(policy.name)) for policy in self._policies
        ]
        async with AsyncExitStack() as stack:
            sampler = self._sampler(bases, stack)
            await sampler.load(adapters)
            yield Generation(sampler=sampler, chats=_chats(bases))

    def _bases(self, *, has_learner: bool) -> list["LocalBase"]:
        return bases_of(self._config, self._settings, self._policies, has_learner=has_learner)

    def _sampler(self, bases: Sequence["LocalBase"], stack: AsyncExitStack) -> Sampler:
        """A sampler for every policy, which `stack` closes."""
        samplers: dict[str, Sampler] = {}
        if bases:
            mine = self._own_sampler(bases, stack)
            samplers |= {name: mine for base in bases for name in base.policies}
        endpoints = {name: own.endpoint for name, own in self._settings.items() if own.endpoint is not None}
        for name, endpoint in endpoints.items():
            samplers[name] = _endpoint(name, endpoint)
            _close_with(stack, samplers[name])
        return ByPolicy(samplers) if endpoints else next(iter(samplers.values()))

    def _own_sampler(self, bases: Sequence["LocalBase"], stack: AsyncExitStack) -> Sampler:
        """The sampler of the recipe, around all bases."""
        mine: Sampler = SAMPLERS.build(self._config.sampler, bases=bases)
        _close_with(stack, mine)
        return mine

    def _learner(self, bases: Sequence["LocalBase"]) -> Learner:
        # Here and not above: a sampler alone does without PEFT, which takes some 30 MB.
        from counterpoint.learners.by_base import ByBase
        from counterpoint.learners.peft import Peft

        learners: list[Learner] = [Peft(base.model, base.members, self._config) for base in bases]
        return learners[0] if len(learners) == 1 else ByBase(learners)


@dataclass(frozen=True)
class LocalBase:
    """A base model in this process, loaded when it is first asked for."""

    config: ModelConfig
    members: tuple[Policy, ...]
    has_learner: bool
    longest: int
    """Tokens of the longest call, to which position scaling is pinned."""
    ranks: Mapping[str, int]
    """Policy -> the rank of its adapters."""

    @property
    def policies(self) -> tuple[str, ...]:
        return tuple(policy.name for policy in self.members)

    @cached_property
    def chat(self) -> Chat:
        from counterpoint.base_model import load_chat

        return load_chat(self.config)

    @cached_property
    def model(self) -> Any:
        from counterpoint.base_model import load_base_model
        from counterpoint.forwards.positions import pin

        model = load_base_model(self.config).model
        pin(model, self.longest)
        return model


def bases_of(
    config: Config, settings: Mapping[str, PolicySettings], policies: Sequence[Policy], *, has_learner: bool
) -> list[LocalBase]:
    """Every distinct base of these policies once. None is loaded before it is asked for."""
    models: list[tuple[ModelConfig, list[Policy]]] = []
    for policy in policies:
        model = settings[policy.name].model
        known = next((members for other, members in models if other == model), None)
        if known is None:
            models.append((model, [policy]))
        else:
            known.append(policy)
    longest = longest_call(config.rollout)
    return [
        LocalBase(model, tuple(members), has_learner, longest, {one.name: settings[one.name].rank for one in members})
        for model, members in models
    ]


def longest_call(rollout: RolloutConfig) -> int:
    """The largest number of tokens in one call, prompt and reply together."""
    return rollout.max_prompt_tokens + rollout.max_tokens


def position_scaling(settings: Mapping[str, PolicySettings], longest: int) -> dict[str, str]:
    """For every policy whose base scales positions by a length, how it does for calls of at most `longest` tokens.

    Reads no weights. Raises ModelError.
    """
    from counterpoint.base_model import configuration
    from counterpoint.forwards.positions import regime

    models = {name: own.model for name, own in settings.items() if own.endpoint is None}
    known = {name: configuration(model) for name, model in models.items()}
    for name, one in known.items():  # those of hub models are first read here
        check_positions(one.to_dict(), models[name].path, longest)
    found = {name: regime(one, longest) for name, one in known.items()}
    return {name: text for name, text in found.items() if text}


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _use_threads(config: Config) -> None:
    import torch  # not above, as everything that imports it: what only looks at a recipe does without it

    torch.set_num_threads(config.run.threads or available_cores())


def _adapter(policy: str, settings: PolicySettings, source: Path | None) -> Adapter:
    """The adapter in `source`; else the one that the policy starts from; else its base."""
    from counterpoint.learners._optim import version_in

    if source is not None:
        return Adapter.read(source, policy=policy, version=version_in(source))
    if settings.adapter:
        folder = Path(settings.adapter).expanduser()
        return starting_adapter(folder, policy=policy, alpha=settings.alpha, rank=settings.rank)
    return Adapter.base(policy)


def _chats(bases: Sequence[LocalBase]) -> Mapping[str, Chat]:
    return {name: base.chat for base in bases for name in base.policies}


def _endpoint(policy: str, config: EndpointConfig) -> Sampler:
    try:
        from counterpoint.samplers.endpoint import Endpoint
    except ImportError as error:
        raise ConfigError(f"policy {policy!r}: pip install 'counterpoint[endpoint]' first ({error})") from error
    return Endpoint(policy, config)


def _close_with(stack: AsyncExitStack, sampler: Sampler) -> None:
    close = getattr(sampler, "close", None)
    if inspect.iscoroutinefunction(close):
        stack.push_async_callback(close)
