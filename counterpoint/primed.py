r"""The shipped workflows, played by roles that have worked examples in front of every prompt.

Asked without examples, a chat model of 135 M parameters hardly ever writes `\boxed{...}`: no reply can be read, every
reward is 0, and there is nothing to learn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from counterpoint.episode import Message
from counterpoint.task import Problem
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows.base import Part, Reply, Role, assistant, user, workflow
from counterpoint.workflows.evaluator_optimizer import evaluator_optimizer
from counterpoint.workflows.orchestrator_workers import orchestrator_workers
from counterpoint.workflows.voting import voting

PLAIN = "What is {}?"
"""The text of a problem that asks for a calculation; the braces are replaced by it."""


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
        asked = [user(messages)] if isinstance(messages, str) else list(messages)
        return await self.role(self._after_examples(asked), slot=slot, turn=turn)

    def _after_examples(self, asked: list[Message]) -> list[Message]:
        """The examples, then what is asked; a conversation that goes on begins with them already."""
        examples = list(self.examples)
        return asked if asked[: len(examples)] == examples else examples + asked


@workflow(cast=lambda options: {"generator": Part(slots=options["votes"])})
async def primed_voting(
    problem: Problem,
    *,
    generator: Role,
    aggregator: Role,
    votes: Annotated[int, Field(ge=1, le=64)] = 3,
    wording: str = PLAIN,
) -> str | None:
    """Voting; in `wording`, the task's own, the examples ask for a calculation in place of the braces."""
    lessons = Lessons(problem, wording)
    generators = [Primed(generator, lessons.solving())]
    return await voting.play(
        problem, generator=generators, aggregator=Primed(aggregator, lessons.choosing()), votes=votes
    )


@workflow
async def primed_evaluator_optimizer(
    problem: Problem,
    *,
    generator: Role,
    evaluator: Role,
    rounds: Annotated[int, Field(ge=1, le=16)] = 2,
    wording: str = PLAIN,
) -> str | None:
    """Evaluator-optimizer; in `wording`, the task's own, the examples ask for a calculation in place of the braces."""
    lessons = Lessons(problem, wording)
    primed = {"generator": Primed(generator, lessons.refining()), "evaluator": Primed(evaluator, lessons.judging())}
    return await evaluator_optimizer.play(problem, **primed, rounds=rounds)


@workflow(cast=lambda options: {"worker": Part(slots=options["workers"])})
async def primed_orchestrator_workers(
    problem: Problem,
    *,
    orchestrator: Role,
    worker: Role,
    synthesizer: Role,
    workers: Annotated[int, Field(ge=1, le=64)] = 2,
    wording: str = PLAIN,
) -> str | None:
    """Orchestrator-workers; in `wording`, the task's own, the examples ask for a calculation in place of the braces."""
    lessons = Lessons(problem, wording)
    primed = {
        "orchestrator": Primed(orchestrator, lessons.proposing(workers)),
        "worker": Primed(worker, lessons.following()),
        "synthesizer": Primed(synthesizer, lessons.synthesizing()),
    }
    return await orchestrator_workers.play(problem, **primed, workers=workers)


class Lessons:
    """The examples for each kind of role: the prompts of the shipped workflows, with replies written by hand."""

    def __init__(self, problem: Problem, wording: str) -> None:
        """Asked as the problem is."""
        self._problem = problem
        self._wording = wording

    def solving(self) -> list[Message]:
        """Two calculations, done."""
        return [
            *_example(prompts.solve(self._asking("3 + 4")), r"3 + 4 = 7. \boxed{7}"),
            *_example(prompts.solve(self._asking("15 - 6")), r"15 - 6 = 9. \boxed{9}"),
        ]

    def choosing(self) -> list[Message]:
        """Another place each time, so that the number is read and not copied."""
        sums = [r"12 + 5 = 15. \boxed{15}", r"12 + 5 = 17. \boxed{17}", r"12 + 5 = 18. \boxed{18}"]
        differences = [r"14 - 8 = 6. \boxed{6}", r"14 - 8 = 6. \boxed{6}", r"14 - 8 = 7. \boxed{7}"]
        return [
            *_example(prompts.choose(self._asking("12 + 5"), sums), r"12 + 5 = 17, so solution 2 is right. \boxed{2}"),
            *_example(
                prompts.choose(self._asking("14 - 8"), differences), r"14 - 8 = 6, so solution 1 is right. \boxed{1}"
            ),
        ]

    def refining(self) -> list[Message]:
        """A calculation that is done at the second try, and one at the first: the last one is copied most."""
        wrong, right, review = r"15 - 6 = 8. \boxed{8}", r"15 - 6 = 9. \boxed{9}", r"15 - 6 is 9. \boxed{incorrect}"
        problem = self._asking("15 - 6")
        return [
            *_example(prompts.solve(problem), wrong),
            *_example(prompts.refine(problem, review), right),
            *_example(prompts.solve(self._asking("3 + 4")), r"3 + 4 = 7. \boxed{7}"),
        ]

    def judging(self) -> list[Message]:
        """A solution that is not right, and the next, which is."""
        wrong, right = r"14 - 8 = 7. \boxed{7}", r"14 - 8 = 6. \boxed{6}"
        return [
            *_example(prompts.judge(self._asking("14 - 8"), wrong), r"14 - 8 is 6. \boxed{incorrect}"),
            *_example(prompts.judge_again(right), r"14 - 8 is 6. \boxed{correct}"),
        ]

    def proposing(self, count: int) -> list[Message]:
        """Two strategies, or as many as may be proposed."""
        strategies = ["Strategy 1: add the two numbers.", "Strategy 2: count up from 3."][:count]
        return _example(prompts.propose(self._asking("3 + 4"), count), "\n".join(strategies))

    def following(self) -> list[Message]:
        """A strategy of each kind."""
        return [
            *_example(prompts.follow(self._asking("3 + 4"), "add the two numbers."), r"3 + 4 = 7. \boxed{7}"),
            *_example(prompts.follow(self._asking("15 - 6"), "count down from 15."), r"15 - 6 = 9. \boxed{9}"),
        ]

    def synthesizing(self) -> list[Message]:
        """The right one of two, once the second and once the first."""
        sums = [r"12 + 5 = 15. \boxed{15}", r"12 + 5 = 17. \boxed{17}"]
        differences = [r"14 - 8 = 6. \boxed{6}", r"14 - 8 = 7. \boxed{7}"]
        return [
            *_example(prompts.synthesize(self._asking("12 + 5"), sums), r"12 + 5 = 17. \boxed{17}"),
            *_example(prompts.synthesize(self._asking("14 - 8"), differences), r"14 - 8 = 6. \boxed{6}"),
        ]

    def _asking(self, calculation: str) -> Problem:
        """The problem with another text, so that the examples ask for the same form of answer."""
        return replace(self._problem, text=self._wording.replace("{}", calculation))


def _example(prompt: str, reply: str) -> list[Message]:
    return [user(prompt), assistant(reply)]
