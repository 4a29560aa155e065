"""A draft is judged and refined until the judge approves."""

from typing import Annotated, Literal

from pydantic import Field

from counterpoint.episode import Message
from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_verdict
from counterpoint.workflows._solve import answer, solve
from counterpoint.workflows.base import Reply, Role, assistant, user, workflow


@workflow
async def evaluator_optimizer(
    problem: Problem,
    *,
    generator: Role,
    evaluator: Role,
    rounds: Annotated[int, Field(ge=1, le=16)] = 3,
    transcripts: Literal["private", "joint"] = "private",
) -> str | None:
    """Draft, judge, and refine until the evaluator approves or has judged `rounds` times; the last draft counts.

    With private transcripts each role has its own conversation, in which it alone is the assistant. With a joint one
    both write as the assistant of the same conversation: solution, review, solution, ... (arXiv 2605.24202, first
    variant); the requests in between are not part of it.
    """
    transcript = _Joint(problem) if transcripts == "joint" else _Private(problem)
    draft = await solve(generator, problem)
    for judged in range(1, rounds + 1):
        review = await evaluator(transcript.to_judge(draft))
        transcript.reviewed(draft, review)
        approved = review.judges(draft, read_verdict(review.text))
        if approved or judged == rounds:
            break
        draft = await answer(generator, problem, transcript.to_refine(draft, review))
    return draft.answer


class _Private:
    """One conversation per role, of what it was sent and what it wrote."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._reviews: list[Message] = []

    def to_judge(self, draft: Reply) -> list[Message]:
        first = not self._reviews
        asked = prompts.judge(self._problem, draft.text) if first else prompts.judge_again(draft.text)
        return [*self._reviews, user(asked)]

    def reviewed(self, draft: Reply, review: Reply) -> None:
        self._reviews = [*review.conversation]

    def to_refine(self, draft: Reply, review: Reply) -> list[Message]:
        return [*draft.conversation, user(prompts.refine(self._problem, review.text))]


class _Joint:
    """One conversation of drafts and reviews."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._messages = [user(prompts.solve(problem))]

    def to_judge(self, draft: Reply) -> list[Message]:
        return [*self._messages, assistant(draft.text), user(prompts.judge_above())]

    def reviewed(self, draft: Reply, review: Reply) -> None:
        self._messages += [assistant(draft.text), assistant(review.text)]

    def to_refine(self, draft: Reply, review: Reply) -> list[Message]:
        return [*self._messages, user(prompts.refine_above(self._problem))]
