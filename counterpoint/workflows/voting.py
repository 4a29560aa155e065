"""Several drafts in parallel, then one role chooses among them."""

from asyncio import gather
from collections.abc import Mapping
from itertools import cycle, islice
from typing import Annotated, Any, Literal

from pydantic import Field

from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_index
from counterpoint.workflows._solve import solve
from counterpoint.workflows.base import Part, Role, Roles, workflow


def _cast(options: Mapping[str, Any]) -> dict[str, Part]:
    distinct = options["voters"] == "distinct"
    return {"generator": Part(roles=options["votes"]) if distinct else Part(slots=options["votes"])}


@workflow(cast=_cast)
async def voting(
    problem: Problem,
    *,
    generator: Roles,
    aggregator: Role,
    votes: Annotated[int, Field(ge=1, le=64)] = 3,
    voters: Literal["alike", "distinct"] = "alike",
) -> str | None:
    """Draft `votes` answers independently, then let the aggregator choose one.

    The drafts are parallel calls of one role, or, with `voters = "distinct"`, one call of each of `votes` roles.
    """
    drafts = await gather(*(solve(voter, problem) for voter in islice(cycle(generator), votes)))
    reply = await aggregator(prompts.choose(problem, [draft.text for draft in drafts]))
    return reply.chooses(drafts, read_index(reply.text))
