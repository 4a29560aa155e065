"""The runtimes that a recipe can name, and the openings that everything else uses."""

from contextlib import AbstractAsyncContextManager

from counterpoint.adapter import Sources
from counterpoint.config import Config
from counterpoint.errors import AbsentError
from counterpoint.family import Family
from counterpoint.policy import Routing, settings_of
from counterpoint.runtimes.base import Generation, Place, Runtime
from counterpoint.runtimes.local import bases_of
from counterpoint.samplers import SAMPLERS

RUNTIMES: Family[Place] = Family("runtime", {"local": "counterpoint.runtimes.local:Local"})


def open_runtime(config: Config, routing: Routing) -> AbstractAsyncContextManager[Runtime]:
    """Sampler and learner of a recipe, to be entered. Raises ConfigError if its runtime or sampler does not exist."""
    check_runtime(config)
    return RUNTIMES.build(config.runtime, config=config, routing=routing).training()


def open_sampler(config: Config, routing: Routing, sources: Sources) -> AbstractAsyncContextManager[Generation]:
    """The sampler of a recipe alone, to be entered; every policy is loaded.

    `sources` maps a policy to the folder of its adapter. A policy whose source is None, or that has none, starts as it
    would in training: from the adapter that its settings name, or as exactly its base. No learner is built, and the
    base is held once. Raises ConfigError if the runtime or sampler does not exist; on entering, AdapterError if a
    folder holds no adapter, SamplerError if an adapter does not fit, ModelError if a base cannot be loaded.
    """
    check_runtime(config)
    return RUNTIMES.build(config.runtime, config=config, routing=routing).generation(sources)


def check_runtime(config: Config) -> None:
    """Raises ConfigError if a recipe's runtime or sampler does not exist, or has wrong options. Reads no weights."""
    RUNTIMES.bind(config.runtime, config=config, routing=None)
    SAMPLERS.bind(config.sampler, bases=())


def check_sampler(config: Config, routing: Routing) -> None:
    """Raises ConfigError if a recipe's sampler cannot serve its bases, or not on this machine. Reads no weights.

    Only a sampler that has a function `check` is asked, with the recipe, the bases and its options.
    """
    check = getattr(SAMPLERS.find(config.sampler.name), "check", None)
    settings = settings_of(routing, config)
    policies = [policy for policy in routing.policies if settings[policy.name].endpoint is None]
    if check is not None and policies:
        options = SAMPLERS.bind(config.sampler, bases=()).keywords
        bases = bases_of(config, settings, policies, has_learner=True)
        try:
            check(config, bases, **{name: value for name, value in options.items() if name != "bases"})
        except AbsentError:
            if config.runtime.name == "local":  # others put samplers on machines that may have what this one lacks
                raise
