"""Engines are chosen here and nowhere else."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from counterpoint.config import Config
from counterpoint.errors import ConfigError, unknown
from counterpoint.policy import Routing
from counterpoint.runtimes.base import Runtime
from counterpoint.runtimes.local import local

RUNTIMES: dict[str, Callable[[Config, Routing], AbstractAsyncContextManager[Runtime]]] = {"local": local}
SAMPLERS = ("in_process",)


def open_runtime(config: Config, routing: Routing) -> AbstractAsyncContextManager[Runtime]:
    """The runtime that the recipe names, to be entered. Raises ConfigError."""
    if config.runtime.name not in RUNTIMES:
        raise ConfigError(unknown("runtime", config.runtime.name, RUNTIMES))
    if config.sampler.name not in SAMPLERS:
        raise ConfigError(unknown("sampler", config.sampler.name, SAMPLERS))
    return RUNTIMES[config.runtime.name](config, routing)
