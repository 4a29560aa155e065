"""One role solves the problem by itself."""

from counterpoint.episode import Message
from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows.base import Reply, Role, user


async def solve(role: Role, problem: Problem) -> Reply:
    """The role's reply to the problem, claimed as an answer, or as unreadable if there is none in it."""
    return await answer(role, problem, [user(prompts.solve(problem))])


async def answer(role: Role, problem: Problem, messages: list[Message]) -> Reply:
    """The role's reply to a conversation, claimed as an answer, or as unreadable if there is none in it."""
    reply = await role(messages)
    reply.answers(problem.extract(reply.text))
    return reply
