"""Several drafts in parallel, each judged by itself: the control for refining one draft with the same evaluator."""

from asyncio import gather
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_verdict
from counterpoint.workflows._solve import solve
from counterpoint.workflows.base import Part, Reply, Role, workflow


def _cast(options: Mapping[str, Any]) -> dict[str, Part]:
    return {"generator": Part(slots=options["samples"]), "evaluator": Part(slots=options["samples"])}


@workflow(cast=_cast)
async def best_of(
    problem: Problem, *, generator: Role, evaluator: Role, samples: Annotated[int, Field(ge=1, le=256)] = 3
) -> str | None:
    """Draft `samples` answers and judge each; the first approved one counts, or the first of all if none is."""
    judged = await gather(*(_judged(generator, evaluator, problem, slot) for slot in range(samples)))
    return max(judged, key=lambda pair: pair[1] is True)[0].answer


async def _judged(generator: Role, evaluator: Role, problem: Problem, slot: int) -> tuple[Reply, bool | None]:
    draft = await solve(generator, problem)
    review = await evaluator(prompts.judge(problem, draft.text), slot=slot, turn=0)
    return draft, review.judges(draft, read_verdict(review.text))
