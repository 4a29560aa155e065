"""One call of one role: the control to which every other workflow is compared."""

from counterpoint.task import Problem
from counterpoint.workflows._solve import solve
from counterpoint.workflows.base import Role, workflow


@workflow
async def single(problem: Problem, *, generator: Role) -> str | None:
    """Solve the problem in one call."""
    return (await solve(generator, problem)).answer
