"""The runtimes that a recipe can name, and the openings that everything else uses."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from counterpoint.adapter import Sources
from counterpoint.config import Config
from counterpoint.errors import AbsentError
from counterpoint.family import Family
from counterpoint.policy import Routing, settings_of
from counterpoint.runtimes.base import Generation, Place, Runtime
from counterpoint.runtimes.local import bases_of
from counterpoint.samplers import SAMPLERS

RUNTIMES: Family[Place] = Family(
    "runtime", {"local": "counterpoint.runtimes.local:Local", "ray": "counterpoint.runtimes.ray:Ray"}
)


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
    """Raises ConfigError if a recipe's runtime or sampler does not exist, or has wrong options. Reads no weights.

    A runtime that has a function `check` is asked by it too, with the recipe and its options.
    """
    bound: Any = RUNTIMES.bind(config.runtime, config=config, routing=None)
    check = getattr(RUNTIMES.find(config.runtime.name), "check", None)
    if check is not None:
        check(**{name: value for name, value in bound.keywords.items() if name != "routing"})
    SAMPLERS.bind(config.sampler, bases=())


def is_elsewhere(config: Config) -> bool:
    """True if sampler and learner compute on machines whose devices this one does not see."""
    return config.runtime.name == "ray" and bool(config.runtime.options.get("address"))


def processes(config: Config) -> tuple[int, int]:
    """The processes of the sampler and, for each base, those of the learner; (0, 0) if all is in this one."""
    if config.runtime.name != "ray":
        return 0, 0
    options = config.runtime.options
    return int(options.get("samplers", 1)), int(options.get("learners", 1))


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
            if not is_elsewhere(config):  # other machines may have what this one lacks
                raise
