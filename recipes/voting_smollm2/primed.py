r"""Voting, with two worked examples in front of every prompt.

Asked without examples, a chat model of 135 M parameters hardly ever writes `\boxed{...}`: no reply can be read, every
reward is 0, and there is nothing to learn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from counterpoint.episode import Message
from counterpoint.task import Problem
from counterpoint.workflow import Reply, Role, workflow
from counterpoint.workflows.voting import voting

_SOLVE = "{}\n\nSolve the problem step by step. Write the final answer as \\boxed{{answer}}."
_CHOOSE = (
    "Problem: {}\n\nSolution 1:\n{}\n\nSolution 2:\n{}\n\nSolution 3:\n{}\n\n"
    "Which solution is right? Compare them, then write the number of the best one as \\boxed{{number}}."
)


def _example(prompt: str, reply: str) -> list[Message]:
    return [Message(role="user", content=prompt), Message(role="assistant", content=reply)]


SOLVED = [
    *_example(_SOLVE.format("What is 3 + 4?"), r"3 + 4 = 7. \boxed{7}"),
    *_example(_SOLVE.format("What is 15 - 6?"), r"15 - 6 = 9. \boxed{9}"),
]
CHOSEN = [
    *_example(
        _CHOOSE.format(
            "What is 12 + 5?", r"12 + 5 = 15. \boxed{15}", r"12 + 5 = 17. \boxed{17}", r"12 + 5 = 18. \boxed{18}"
        ),
        r"12 + 5 = 17, so solution 2 is right. \boxed{2}",
    ),
    *_example(
        _CHOOSE.format("What is 14 - 8?", r"14 - 8 = 6. \boxed{6}", r"14 - 8 = 6. \boxed{6}", r"14 - 8 = 7. \boxed{7}"),
        r"14 - 8 = 6, so solution 1 is right. \boxed{1}",
    ),
]


@dataclass(frozen=True, slots=True)
class Primed:
    """A role that has the examples before its eyes whenever it is asked."""

    role: Role
    examples: Sequence[Message]

    @property
    def name(self) -> str:
        return self.role.name

    async def __call__(
        self, messages: str | Sequence[Message], *, slot: int | None = None, turn: int | None = None
    ) -> Reply:
        asked = [Message(role="user", content=messages)] if isinstance(messages, str) else messages
        return await self.role([*self.examples, *asked], slot=slot, turn=turn)


@workflow
async def primed_voting(problem: Problem, *, generator: Role, aggregator: Role, votes: int = 3) -> str | None:
    """The shipped voting workflow, played by roles that have seen examples."""
    return await voting.play(
        problem, generator=[Primed(generator, SOLVED)], aggregator=Primed(aggregator, CHOSEN), votes=votes
    )
