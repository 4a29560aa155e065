"""What a model is taught of `synthesis`: transcripts of all roles, with deliberate mistakes.

A solution names its steps in one line, then writes the function. Every problem shows a function that
is in the train split where functions are held out, so of those held out no example is ever seen.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from transcript import Lessons, Transcript, turns

from counterpoint.episode import Message
from counterpoint.task import Problem
from counterpoint.tasks._fence import BLOCK_FORMAT, last_block
from counterpoint.tasks.synthesis.functions import Function, table
from counterpoint.tasks.synthesis.task import Drawn, Options, draw
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_verdict
from counterpoint.workflows.base import assistant, user


class Mistakes(NamedTuple):
    """How often a transcript goes wrong on purpose."""

    function: float = 0.20
    """A solution names and writes a function with another operation."""
    no_end: float = 0.04
    """A reply lacks its code or its box."""
    wanted: float = 0.05
    """Who compares or checks names another function than the one that the examples show."""
    choice: float = 0.30
    """Who compares candidates takes any of them instead of one that is wanted."""
    verdict: float = 0.10
    """A solution is said to be correct when it is incorrect, or the other way round."""
    refined: float = 0.20
    """A function that is written anew after a review is a wrong one."""
    plan: float = 0.05
    """A proposal solves the problem instead."""
    slip: float = 0.0
    """A step that is easily confused is taken for its twin: `take 2` for `take 3`."""
    wanted_slip: float = 0.0
    """Who compares or checks takes it for its twin too."""


FLAWLESS = Mistakes(*[0.0] * len(Mistakes()))


class Lesson(NamedTuple):
    """A problem, and the function that its examples show."""

    problem: Problem
    function: Function


class Solution(NamedTuple):
    function: Function | None
    """The function that is written; None where there is no code."""
    text: str

    @property
    def plan(self) -> str:
        return self.function.plan if self.function else "nothing"


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


STYLES: dict[str, Callable[[Function], str]] = {
    "Name the steps, then one expression.": lambda one: f"{one.plan}\n{fenced(one.expression())}",
    "Name the steps, then a line for each.": lambda one: f"{one.plan}\n{fenced(one.lines())}",
    "One expression at once.": lambda one: fenced(one.expression()),
    "A line for each step at once.": lambda one: fenced(one.lines()),
}
"""Strategies, the first two better than the others, which are worse for the model's own lack of skill."""
USUAL = next(iter(STYLES))


@lru_cache(maxsize=4096)
def neighbours(function: Function) -> tuple[Function, ...]:
    """The tabled functions that differ from it in one operation."""
    known = [one for one in table(function.family.name).functions.values() if one != function]
    return tuple(
        one
        for one in known
        if len(one.operations) == len(function.operations)
        and sum(a != b for a, b in zip(one.operations, function.operations, strict=True)) == 1
    )


CONFUSED = {
    "take 2": "take 3", "take 3": "take 2", "drop first": "drop last", "drop last": "drop first",
    "add 1": "add 2", "add 2": "add 3", "add 3": "add 1", "keep above 2": "keep above 4",
    "keep above 4": "keep above 2", "keep below 5": "keep below 7", "keep below 7": "keep below 5",
    "largest": "last", "smallest": "first", "begin with a": "end with a", "begin with b": "end with b",
    "begin with c": "end with c", "begin with d": "end with d",
}  # fmt: skip
"""What is easily confused with what."""


@lru_cache(maxsize=4096)
def twin(function: Function) -> Function | None:
    """The function with its last confusable operation replaced by what it is confused with."""
    known = {one.name: one for one in (*function.family.operations, *function.family.endings)}
    for place in reversed(range(len(function.operations))):
        other = known.get(CONFUSED.get(function.operations[place].name, ""))
        if other is not None:
            operations = (*function.operations[:place], other, *function.operations[place + 1 :])
            return Function(function.family, operations)
    return None


def perhaps_wrong(function: Function, source: random.Random, wrong: float, slip: float = 0.0) -> Function:
    """The function, or as often as `wrong` says a neighbour of it, most often one with another number or letter.

    As often as `slip` says it is the function's twin, if it has one.
    """
    if slip and source.random() < slip:
        return twin(function) or function
    if source.random() >= wrong:
        return function
    others = neighbours(function)
    kinds = [kind_of(function), *(kind_of(one) for one in others)]
    close = [one for one, kind in zip(others, kinds[1:], strict=True) if kind == kinds[0]]
    return source.choice(close if close and source.random() < 0.6 else others or (function,))


def kind_of(function: Function) -> tuple[str, ...]:
    return tuple(operation.name.rpartition(" ")[0] or operation.name for operation in function.operations)


def written(function: Function, source: random.Random, mistakes: Mistakes, style: str = USUAL) -> Solution:
    """The function in a style; as often as `no_end` says only its steps."""
    if source.random() < mistakes.no_end:
        return Solution(None, function.plan)
    return Solution(function, STYLES[style](function))


def solved(lesson: Lesson, source: random.Random, mistakes: Mistakes, style: str = USUAL) -> Solution:
    return written(perhaps_wrong(lesson.function, source, mistakes.function, mistakes.slip), source, mistakes, style)


def boxed(text: object, source: random.Random, mistakes: Mistakes) -> list[str]:
    """A line with a box, or none."""
    return [rf"\boxed{{{text}}}"] if source.random() >= mistakes.no_end else []


def generator(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    return Transcript([user(prompts.solve(lesson.problem))], solved(lesson, source, mistakes).text)


def worker(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    style = source.choice(tuple(STYLES))
    return Transcript([user(prompts.follow(lesson.problem, style))], solved(lesson, source, mistakes, style).text)


def orchestrator(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    asked = source.choice((2, 3, 3, 3, 3, 4))
    named = source.sample(tuple(STYLES), source.randint(1, asked))
    lines = [f"Strategy {number}: {text}" for number, text in enumerate(named, start=1)]
    reply = solved(lesson, source, mistakes).text if source.random() < mistakes.plan else "\n".join(lines)
    return Transcript([user(prompts.propose(lesson.problem, asked))], reply)


def candidates(
    lesson: Lesson, source: random.Random, counts: Sequence[int], styles: Sequence[str] = (USUAL,)
) -> list[Solution]:
    """Solutions of a quality that varies from one set to the next."""
    quality = Mistakes(function=source.choice((0.15, 0.45, 0.7)))
    return [solved(lesson, source, quality, source.choice(styles)) for _ in range(source.choice(counts))]


class Comparison(NamedTuple):
    lines: list[str]
    """The steps that are wanted, then those of each solution."""
    wanted: Function
    index: int
    """The solution that is taken, from 0."""
    found: bool
    """Whether it is for its steps that it is taken."""


def compared(lesson: Lesson, solutions: Sequence[Solution], source: random.Random, mistakes: Mistakes) -> Comparison:
    """A solution with the wanted steps, unless there is none or this transcript is a mistake."""
    wanted = perhaps_wrong(lesson.function, source, mistakes.wanted, mistakes.wanted_slip)
    lines = [f"Wanted: {wanted.plan}", *(f"{number}: {one.plan}" for number, one in enumerate(solutions, start=1))]
    right = [index for index, one in enumerate(solutions) if one.function == wanted]
    by_chance = source.random() < mistakes.choice
    index = source.randrange(len(solutions)) if by_chance or not right else source.choice(right)
    return Comparison(lines, wanted, index, bool(right) or by_chance)


def aggregator(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    solutions = candidates(lesson, source, (2, 3, 3, 3, 3, 4))
    comparison = compared(lesson, solutions, source, mistakes)
    number = comparison.index + 1
    reply = [*comparison.lines, *(boxed(number, source, mistakes) or [str(number)])]
    asked = prompts.choose(lesson.problem, [one.text for one in solutions])
    return Transcript([user(asked)], "\n".join(reply))


def final(
    lesson: Lesson, solutions: Sequence[Solution], messages: list[Message], source: random.Random, mistakes: Mistakes
) -> Transcript:
    """All steps read out, then the solution that is taken, or the wanted function if no solution is that."""
    comparison = compared(lesson, solutions, source, mistakes)
    taken = solutions[comparison.index].function if comparison.found else comparison.wanted
    code = written(taken or comparison.wanted, source, mistakes, "One expression at once.").text
    return Transcript(messages, "\n".join([*comparison.lines, code]))


def synthesizer(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    solutions = candidates(lesson, source, (1, 2, 2, 3, 3, 3, 4), tuple(STYLES))
    asked = prompts.synthesize(lesson.problem, [one.text for one in solutions])
    return final(lesson, solutions, [user(asked)], source, mistakes)


def debater(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The second round: one's own solution and the others'."""
    own, *others = candidates(lesson, source, (2, 2, 3, 3))
    again = prompts.reconsider(lesson.problem, [one.text for one in others])
    messages = [user(prompts.solve(lesson.problem)), assistant(own.text), user(again)]
    return final(lesson, [own, *others], messages, source, mistakes)


def reviewed(lesson: Lesson, draft: Solution, source: random.Random, mistakes: Mistakes) -> str:
    """The steps that are wanted, those that are written, and whether they are the same."""
    wanted = perhaps_wrong(lesson.function, source, mistakes.wanted, mistakes.wanted_slip)
    approved = (draft.function == wanted) != (source.random() < mistakes.verdict)
    verdict = boxed("correct" if approved else "incorrect", source, mistakes)
    return "\n".join([f"Wanted: {wanted.plan}", f"Written: {draft.plan}", *verdict])


def refined(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Solution:
    return written(perhaps_wrong(lesson.function, source, mistakes.refined, mistakes.slip), source, mistakes)


def refinement(
    lesson: Lesson, source: random.Random, drafting: Mistakes, reviewing: Mistakes
) -> tuple[list[Solution], list[str]]:
    """One to three drafts, each with its review; an approved one is the last."""
    drafts = [solved(lesson, source, drafting._replace(function=0.5))]
    reviews = [reviewed(lesson, drafts[0], source, reviewing)]
    for _ in range(source.choice((0, 0, 1, 2))):
        if read_verdict(reviews[-1]):
            break
        drafts.append(refined(lesson, source, drafting))
        reviews.append(reviewed(lesson, drafts[-1], source, reviewing))
    return drafts, reviews


JOINT = 0.2
"""This part of the refinements has one transcript for both roles."""


def joint(lesson: Lesson, drafts: Sequence[Solution], reviews: Sequence[str]) -> list[Message]:
    said = [assistant(text) for draft, review in zip(drafts, reviews, strict=False) for text in (draft.text, review)]
    return [user(prompts.solve(lesson.problem)), *said]


def evaluator(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    drafts, reviews = refinement(lesson, source, Mistakes(), mistakes)
    if source.random() < JOINT:
        said = joint(lesson, drafts[:-1], reviews[:-1])
        return Transcript([*said, assistant(drafts[-1].text), user(prompts.judge_above())], reviews[-1])
    asked = [prompts.judge(lesson.problem, drafts[0].text), *(prompts.judge_again(draft.text) for draft in drafts[1:])]
    return Transcript(turns(asked, reviews), reviews[-1], own=True)


def refiner(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The generator's later turns, after a draft that was not approved."""
    drafts, reviews = refinement(lesson, source, mistakes, Mistakes())
    while read_verdict(reviews[-1]):
        drafts, reviews = refinement(lesson, source, mistakes, Mistakes())
    last = refined(lesson, source, mistakes).text
    if source.random() < JOINT:
        return Transcript([*joint(lesson, drafts, reviews), user(prompts.refine_above(lesson.problem))], last)
    asked = [prompts.solve(lesson.problem), *(prompts.refine(lesson.problem, review) for review in reviews)]
    return Transcript(turns(asked, [draft.text for draft in drafts]), last)


def glance(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    """One example, of a function that may have done just the same as others, and its steps."""
    return Transcript([user(source.choice(lesson.problem.text.split("\n")[1:]))], lesson.function.plan)


def look(lesson: Lesson, source: random.Random, mistakes: Mistakes) -> Transcript:
    """All examples, and the steps."""
    return Transcript([user(lesson.problem.text)], lesson.function.plan)


class Role(NamedTuple):
    make: Callable[[Lesson, random.Random, Mistakes], Transcript]
    rows: int
    """Transcripts a step, so that all roles' steps cost about the same."""
    weights: tuple[float, float, float]
    """How often a step of each part is this role's."""


ROLES = (
    Role(glance, rows=128, weights=(6.0, 0.5, 0.0)),
    Role(look, rows=56, weights=(1.0, 4.0, 0.0)),
    Role(generator, rows=40, weights=(0.0, 2.0, 1.4)),
    Role(worker, rows=36, weights=(0.0, 1.0, 1.0)),
    Role(evaluator, rows=20, weights=(0.0, 0.5, 1.4)),
    Role(refiner, rows=16, weights=(0.0, 0.0, 1.0)),
    Role(aggregator, rows=18, weights=(0.0, 0.0, 1.2)),
    Role(synthesizer, rows=18, weights=(0.0, 0.0, 1.0)),
    Role(debater, rows=16, weights=(0.0, 0.0, 0.4)),
    Role(orchestrator, rows=36, weights=(0.0, 0.0, 0.3)),
)
PARTS = (0.35, 0.6)
"""Where the first and the second part end: what one example shows, then what all show together, then the roles."""
FLAWLESS_PART = 0.65
"""Until here there are no mistakes."""


class Course(NamedTuple):
    """How a model is taught to write functions."""

    mistakes: Mistakes
    operations: tuple[float, float]
    """How often a problem has one operation, and two."""
    rows: float = 1.0
    """This part of each role's rows make a step."""
    following: float = 1.0
    """By how much steps of worker and synthesizer are more frequent, in the last part."""

    def weight(self, role: Role, part: int) -> float:
        follows = part == 2 and role.make in (worker, synthesizer)
        return role.weights[part] * (self.following if follows else 1.0)


def batches(seed: int, steps: int, course: Course) -> Iterator[list[Transcript]]:
    """One list of transcripts a step, all of one role, on functions of one and of two operations."""
    source = random.Random(seed)
    pools = [
        draw("train", count, Options(("lists", "strings"), operations, examples=4, tests=6), seed, "functions")
        for operations, count in ((1, 4000), (2, 24_000))
    ]
    for step in range(steps):
        done = step / steps
        part = sum(done >= end for end in PARTS)
        role = source.choices(ROLES, weights=[course.weight(role, part) for role in ROLES])[0]
        mistakes = FLAWLESS if done < FLAWLESS_PART else course.mistakes
        drawn = (
            source.choice(pool)
            for pool in source.choices(pools, weights=course.operations, k=round(role.rows * course.rows))
        )
        yield [role.make(lesson_of(one), source, mistakes) for one in drawn]


def lesson_of(drawn: Drawn) -> Lesson:
    problem = Problem(id="lesson", text=drawn.text, answer_format=BLOCK_FORMAT, extract=last_block)
    return Lesson(problem, drawn.function)


SURE = Course(Mistakes(), operations=(1, 3))
"""All mistakes are noise."""
HABITS = Course(
    Mistakes(function=0.10, verdict=0.10, refined=0.10, slip=0.55, wanted_slip=0.35),
    operations=(2, 1),
    rows=0.6,
    following=2.0,
)
"""What is easily confused is confused more often than not; less is noise."""

SYNTHESIS = Lessons(
    partial(batches, course=SURE),
    partial(batches, course=SURE),
    mistakes=SURE.mistakes._asdict(),
    pieces=r" ?\\boxed\{|(?:, )?\d{1,3}|\n+ *|[a-dA-D](?=[a-dA-D]*')| ?[A-Za-z]+| ?[^\sA-Za-z\d]+",
    vocabulary=640,
)
