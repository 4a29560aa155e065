"""Sampler and learner in this process, around the frozen bases of the policies; endpoints where they are."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import torch

from counterpoint.base_model import BaseModel, load_base_model
from counterpoint.config import Config, EndpointConfig, ModelConfig, check_options
from counterpoint.errors import ConfigError
from counterpoint.learners.base import Learner
from counterpoint.learners.by_base import ByBase
from counterpoint.learners.peft import Peft
from counterpoint.policy import Policy, Routing, settings_of
from counterpoint.runtimes.base import Runtime
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Sampler
from counterpoint.samplers.by_policy import ByPolicy
from counterpoint.samplers.in_process import InProcess


@asynccontextmanager
async def local(config: Config, routing: Routing) -> AsyncIterator[Runtime]:
    """For each base one copy for the learner's adapters, and one for the sampler to merge them into.

    Raises ModelError if a base cannot be loaded, ConfigError if the sampler's options are wrong or an endpoint needs
    what is not installed.
    """
    options = check_options("sampler.in_process", Engine.__init__, config.sampler.options, skip={"self", "forward"})
    torch.set_num_threads(config.run.threads or available_cores())
    endpoints = {
        name: settings.endpoint
        for name, settings in settings_of(routing, config).items()
        if settings.endpoint is not None
    }
    bases = _bases([policy for policy in routing.policies if policy.name not in endpoints], config)
    engines: dict[str, Engine] = {}
    for base in bases:
        forward = config.policy_settings(base.policies[0].name).model.forward
        engine = Engine(base.loaded.model, base.loaded.chat.stop_ids, forward=forward, **options)
        engines |= {policy.name: engine for policy in base.policies}
    learners: list[Learner] = [Peft(base.loaded.model, base.policies, config) for base in bases]
    async with AsyncExitStack() as stack:
        yield Runtime(
            sampler=await _sampler(engines, endpoints, stack),
            learner=learners[0] if len(learners) == 1 else ByBase(learners),
            chats={policy.name: base.loaded.chat for base in bases for policy in base.policies},
        )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class _Base:
    """A base model and the policies on it."""

    loaded: BaseModel
    policies: Sequence[Policy]


def _bases(policies: Sequence[Policy], config: Config) -> list[_Base]:
    """Every distinct base, loaded once."""
    models: list[tuple[ModelConfig, list[Policy]]] = []
    for policy in policies:
        model = config.policy_settings(policy.name).model
        known = next((members for other, members in models if other == model), None)
        if known is None:
            models.append((model, [policy]))
        else:
            known.append(policy)
    return [_Base(load_base_model(model), members) for model, members in models]


async def _sampler(
    engines: Mapping[str, Engine], endpoints: Mapping[str, EndpointConfig], stack: AsyncExitStack
) -> Sampler:
    """One that speaks for every policy; `stack` closes the endpoints' connections."""
    samplers: dict[str, Sampler] = {}
    if engines:
        samplers |= dict.fromkeys(engines, InProcess(next(iter(engines.values())), engines))
    for name, config in endpoints.items():
        try:
            from counterpoint.samplers.endpoint import Endpoint
        except ImportError as error:
            raise ConfigError(f"policy {name!r}: pip install 'counterpoint[endpoint]' first ({error})") from error
        endpoint = Endpoint(name, config)
        stack.push_async_callback(endpoint.close)
        samplers[name] = endpoint
    return ByPolicy(samplers) if endpoints else next(iter(samplers.values()))
