"""One role proposes strategies, workers follow one each, and another role writes the final solution."""

from asyncio import gather
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_strategies
from counterpoint.workflows._solve import answer
from counterpoint.workflows.base import Part, Role, user, workflow


def _cast(options: Mapping[str, Any]) -> dict[str, Part]:
    return {"worker": Part(slots=options["workers"])}


@workflow(cast=_cast)
async def orchestrator_workers(
    problem: Problem,
    *,
    orchestrator: Role,
    worker: Role,
    synthesizer: Role,
    workers: Annotated[int, Field(ge=1, le=64)] = 3,
) -> str | None:
    """Propose up to `workers` strategies, follow each in parallel, then write a final solution.

    A proposal with fewer strategies gets fewer workers; one that cannot be read gets none, and there is no answer.
    """
    plan = await orchestrator(prompts.propose(problem, workers))
    strategies = read_strategies(plan.text, workers)
    if not strategies:
        plan.unreadable("no strategies")
        return None
    asked = [[user(prompts.follow(problem, strategy))] for strategy in strategies]
    solutions = await gather(*(answer(worker, problem, messages) for messages in asked))
    plan.proposes(solutions)
    together = prompts.synthesize(problem, [solution.text for solution in solutions])
    return (await answer(synthesizer, problem, [user(together)])).answer
