"""Several drafts in parallel; another role writes the solution if they disagree."""

from asyncio import gather
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._solve import answer, solve
from counterpoint.workflows._vote import unanimous
from counterpoint.workflows.base import Part, Role, user, workflow


def _cast(options: Mapping[str, Any]) -> dict[str, Part]:
    return {"solver": Part(slots=options["solvers"])}


@workflow(cast=_cast)
async def tie_break(
    problem: Problem, *, solver: Role, arbiter: Role, solvers: Annotated[int, Field(ge=2, le=64)] = 2
) -> str | None:
    """Draft `solvers` answers independently; the arbiter reads them and writes the solution, but only if they disagree.

    Drafts agree if each has an answer and all answers are the same. Agreement decides who is asked as in the cascades
    of arXiv 2310.03094, in which the role that is asked last has a larger model.
    """
    drafts = await gather(*(solve(solver, problem) for _ in range(solvers)))
    if unanimous(drafts):
        return drafts[0].answer
    together = prompts.synthesize(problem, [draft.text for draft in drafts])
    return (await answer(arbiter, problem, [user(together)])).answer
