"""Several drafts in parallel, then one role chooses among them."""

from asyncio import gather
from typing import Annotated

from pydantic import Field

from counterpoint.task import Problem
from counterpoint.workflow import Role, workflow
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_index
from counterpoint.workflows._solve import solve


@workflow
async def voting(
    problem: Problem, *, generator: Role, aggregator: Role, votes: Annotated[int, Field(ge=1, le=64)] = 3
) -> str | None:
    """Draft `votes` answers independently, then let the aggregator choose one."""
    drafts = await gather(*(solve(generator, problem) for _ in range(votes)))
    reply = await aggregator(prompts.choose(problem, [draft.text for draft in drafts]))
    return reply.chooses(drafts, read_index(reply.text))
