"""From a recipe to a stage on which its workflow can be played: names looked up first, then engines opened."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from counterpoint.adapter import Sources
from counterpoint.config import Config, PolicySettings
from counterpoint.play import Limits, Stage
from counterpoint.policy import Routing, routing, settings_of
from counterpoint.runtimes import open_sampler
from counterpoint.tasks import load_tasks
from counterpoint.tasks.base import Splits
from counterpoint.workflows import load_workflow
from counterpoint.workflows.base import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A recipe with every name looked up, before any weights are read."""

    config: Config
    workflow: Workflow
    tasks: Splits
    routing: Routing
    settings: Mapping[str, PolicySettings]
    """The settings of every policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStage(Stage):
    """A stage with the tasks and limits of its recipe, for as long as its engines are open."""

    config: Config
    tasks: Splits

    @property
    def limits(self) -> Limits:
        """The recipe's limits, at its evaluation temperature."""
        return Limits.of(self.config, self.config.evaluation.temperature)


def set_up(config: Config, tasks: Splits | None = None) -> Setup:
    """The recipe's workflow, tasks and routing; `tasks` are its own, if they have been read already.

    Raises CounterpointError if one of them is wrong.
    """
    workflow = load_workflow(config.workflow)
    routes = routing(config.policies.sharing, workflow.slots)
    settings = settings_of(routes, config)  # before the tasks, which may take long to read
    return Setup(
        config=config,
        workflow=workflow,
        tasks=load_tasks(config.task, config.sandbox, config.judge) if tasks is None else tasks,
        routing=routes,
        settings=settings,
    )


@asynccontextmanager
async def open_stage(setup: Setup, sources: Sources) -> AsyncIterator[OpenStage]:
    """The stage of a recipe; its engines and its judge are closed afterwards.

    A policy that `sources` gives no folder starts as in training: from its base, or from the adapter that the recipe
    names.

    There is a sampler and no learner, so the base is in memory once. Raises CounterpointError if a model or an adapter
    cannot be loaded, or the judge cannot start.
    """
    config = setup.config
    async with setup.tasks.judging, open_sampler(config, setup.routing, sources) as opened:
        yield OpenStage(
            workflow=setup.workflow,
            routing=setup.routing,
            sampler=opened.sampler,
            chats=opened.chats,
            config=config,
            tasks=setup.tasks,
        )
