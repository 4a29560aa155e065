"""Debaters solve the problem, read each other's solutions and solve it again; then a judge or the majority decides."""

from asyncio import gather
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_index
from counterpoint.workflows._solve import answer, solve
from counterpoint.workflows._vote import most_frequent
from counterpoint.workflows.base import Part, Reply, Role, user, workflow


def _cast(options: Mapping[str, Any]) -> dict[str, Part]:
    judge = Part() if options["decision"] == "judge" else Part(roles=0)
    return {"debater": Part(slots=options["debaters"]), "judge": judge}


@workflow(cast=_cast)
async def debate(
    problem: Problem,
    *,
    debater: Role,
    judge: Role | None,
    debaters: Annotated[int, Field(ge=2, le=64)] = 2,
    rounds: Annotated[int, Field(ge=0, le=16)] = 1,
    decision: Literal["judge", "majority"] = "judge",
) -> str | None:
    """Write `debaters` solutions, reconsider each `rounds` times given the others (arXiv 2305.14325), choose one.

    With `decision = "majority"` there is no judge, and the most frequent answer counts.
    """
    replies = await gather(*(solve(debater, problem) for _ in range(debaters)))
    for _ in range(rounds):
        replies = await gather(*(_reconsider(debater, problem, replies, place) for place in range(debaters)))
    if judge is None:
        return most_frequent(replies)
    verdict = await judge(prompts.choose(problem, [reply.text for reply in replies]))
    return verdict.chooses(replies, read_index(verdict.text))


async def _reconsider(debater: Role, problem: Problem, replies: Sequence[Reply], place: int) -> Reply:
    others = [reply.text for number, reply in enumerate(replies) if number != place]
    asked = user(prompts.reconsider(problem, others))
    return await answer(debater, problem, [*replies[place].conversation, asked])
