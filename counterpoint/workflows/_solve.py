"""One role works on the problem by itself."""

from counterpoint.task import Problem
from counterpoint.workflow import Reply, Role
from counterpoint.workflows import _prompts as prompts


async def solve(role: Role, problem: Problem) -> Reply:
    """The role's reply to the problem, claimed as an answer, or as unreadable if there is none in it."""
    reply = await role(prompts.solve(problem))
    reply.answers(problem.extract(reply.text))
    return reply
