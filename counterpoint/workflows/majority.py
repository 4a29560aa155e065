"""Several drafts in parallel and the most frequent answer: the control with the same number of samples."""

from asyncio import gather
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from counterpoint.task import Problem
from counterpoint.workflows._solve import solve
from counterpoint.workflows._vote import most_frequent
from counterpoint.workflows.base import Part, Role, workflow


def _cast(options: Mapping[str, Any]) -> dict[str, Part]:
    return {"generator": Part(slots=options["samples"])}


@workflow(cast=_cast)
async def majority(
    problem: Problem, *, generator: Role, samples: Annotated[int, Field(ge=1, le=1024)] = 4
) -> str | None:
    """Draft `samples` answers independently; the most frequent one counts (self-consistency, arXiv 2203.11171)."""
    return most_frequent(await gather(*(solve(generator, problem) for _ in range(samples))))
