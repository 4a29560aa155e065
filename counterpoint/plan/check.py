"""Everything about a recipe that can be wrong without an engine: names, options, places, tasks. Imports no torch."""

from importlib.util import find_spec
from pathlib import Path

from counterpoint.adapter import ADAPTER_FILE
from counterpoint.algorithms.build import build_algorithm, build_batches, build_loss
from counterpoint.analysis.signatures import build_signatures
from counterpoint.architectures import check_architecture, check_positions, settings_in
from counterpoint.config import Config, PolicySettings
from counterpoint.diagnostics.build import build_diagnostics
from counterpoint.errors import AdapterError, ConfigError
from counterpoint.interventions.build import build_interventions
from counterpoint.learn import trainable
from counterpoint.locate import check_device_name, locate
from counterpoint.policy import routing, settings_of
from counterpoint.runtimes import check_runtime, check_sampler
from counterpoint.runtimes.local import longest_call
from counterpoint.sandboxes import build_sandbox
from counterpoint.stage import Setup, set_up
from counterpoint.tasks.base import Splits, batch
from counterpoint.trackers.build import check_trackers
from counterpoint.workflows import load_workflow


def checked(config: Config) -> Setup:
    """The recipe with every name looked up, to be trained. Raises CounterpointError for whatever is found wrong."""
    check_parts(config)
    return looked_up(config)


def looked_up(config: Config, tasks: Splits | None = None) -> Setup:
    """The recipe with every name looked up; its bases, devices, runtime and sandbox are not checked.

    `tasks` are those of the recipe, if they have been read already. Raises CounterpointError.
    """
    workflow = load_workflow(config.workflow)
    settings = settings_of(routing(config.policies.sharing, workflow.slots), config)
    build_algorithm(config, workflow.roles, trainable(settings))
    build_loss(config)
    build_batches(config)
    build_diagnostics(config.diagnostics)
    build_interventions(config, workflow.roles)
    build_signatures(config.signatures)
    check_trackers(config.track)
    setup = set_up(config, tasks)  # the tasks, last of all, may be read from large files
    batch(setup.tasks.train, step=1, size=config.rollout.tasks_per_step, seed=config.run.seed)
    return setup


def check_parts(config: Config) -> None:
    """Raises CounterpointError if what plays episodes is wrong: workflow, routing, runtime, sandbox, a policy."""
    workflow = load_workflow(config.workflow)
    routes = routing(config.policies.sharing, workflow.slots)
    settings = settings_of(routes, config)
    check_runtime(config)
    build_sandbox(config.sandbox)
    for name, own in settings.items():
        _check_policy(name, own, longest_call(config.rollout))
    check_sampler(config, routes)  # last: what it misses may be on another machine


def _check_policy(name: str, own: PolicySettings, longest: int) -> None:
    if own.endpoint is not None:
        if find_spec("openai") is None:
            raise ConfigError(f"policy {name!r}: pip install 'counterpoint[endpoint]' first (openai is not installed)")
        return
    check_device_name(own.model)
    place, _ = locate(own.model)
    settings = settings_in(Path(place))  # of a model on this machine; those of others are read by who loads them
    if settings is not None and not own.model.path.endswith(".gguf"):
        check_architecture(settings, own.model.path)
        check_positions(settings, own.model.path, longest)
    if own.adapter and not (Path(own.adapter).expanduser() / ADAPTER_FILE).is_file():
        raise AdapterError(f"policy {name!r}: {own.adapter} holds no adapter: it has no {ADAPTER_FILE}")
