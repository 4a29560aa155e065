"""One generator, one call: the control against which every other workflow is compared."""

from counterpoint.task import Problem
from counterpoint.workflow import Role, workflow
from counterpoint.workflows._solve import solve


@workflow
async def single(problem: Problem, *, generator: Role) -> str | None:
    """Solve the problem in one call."""
    return (await solve(generator, problem)).answer
