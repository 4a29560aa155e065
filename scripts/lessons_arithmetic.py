"""What a model is taught of `arithmetic`: transcripts of all roles, with deliberate mistakes.

Every problem comes from the train split, so validation and test problems are never seen. Some mistakes are noise.
Others are a habit: a carry is forgotten more often than not, so that even the likeliest reply is wrong, and there is
something to learn beyond certainty.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from sums import ORDERS, Line, slip, terms_of, worked
from transcript import Lessons, Transcript, turns

from counterpoint.episode import Message
from counterpoint.task import Task
from counterpoint.tasks.arithmetic import arithmetic
from counterpoint.workflows import _prompts as prompts
from counterpoint.workflows._parse import read_verdict
from counterpoint.workflows.base import assistant, user


class Mistakes(NamedTuple):
    """How often a transcript goes wrong on purpose."""

    step: float = 0.30
    """A step of a solution has a wrong result, carried on."""
    no_box: float = 0.04
    """A reply that should end with a box does not."""
    choice: float = 0.35
    """Who compares candidates takes any of them instead of a right one."""
    check: float = 0.10
    """A step that is checked is said to be right when it is wrong, or the other way round."""
    refined: float = 0.20
    """A step that is written anew after a review has a wrong result."""
    plan: float = 0.05
    """A proposal solves the problem instead."""
    carry: float = 0.0
    """A step that carries or borrows forgets it: 7 + 5 = 2."""
    carry_check: float = 0.0
    """Who checks such a step forgets it too."""


FLAWLESS = Mistakes(*[0.0] * len(Mistakes()))


AT_ONCE = "In one step."
"""A strategy that is worse than the others, for the model's own lack of skill."""
STRATEGIES = (*ORDERS, AT_ONCE)


def boxed(text: object, source: random.Random, mistakes: Mistakes) -> list[str]:
    """A line with a box, or none."""
    return [rf"\boxed{{{text}}}"] if source.random() >= mistakes.no_box else []


def written(lines: Sequence[Line], source: random.Random, mistakes: Mistakes) -> str:
    return "\n".join([*map(str, lines), *boxed(lines[-1].result, source, mistakes)])


def solution(task: Task, source: random.Random, mistakes: Mistakes) -> str:
    """A worked solution, from left to right."""
    return written(worked(terms_of(task), source, mistakes.step, mistakes.carry), source, mistakes)


def generator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    return Transcript([user(prompts.solve(task.problem))], solution(task, source, mistakes))


def candidates(task: Task, source: random.Random, mistakes: Mistakes, counts: Sequence[int]) -> list[str]:
    """Solutions of a quality that varies from one set to the next."""
    quality = mistakes._replace(step=source.choice((0.05, mistakes.step, 0.5)))
    return [solution(task, source, quality) for _ in range(source.choice(counts))]


def compared(
    task: Task, solutions: Sequence[str], source: random.Random, mistakes: Mistakes
) -> tuple[int, list[str | None]]:
    """Which candidate is taken, from 0, and what each answers."""
    answers = [task.problem.extract(text) for text in solutions]
    right = [index for index, found in enumerate(answers) if found == task.key]
    pool = right if right and source.random() >= mistakes.choice else list(range(len(solutions)))
    return source.choice(pool), answers


def read_out(answers: Sequence[str | None]) -> str:
    return "Answers: " + ", ".join(found or "none" for found in answers)


def aggregator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The candidates' answers read out, then the number of a right one, unless this transcript is a mistake."""
    solutions = candidates(task, source, mistakes, (2, 3, 3, 3, 3, 4))
    index, answers = compared(task, solutions, source, mistakes)
    choice = boxed(index + 1, source, mistakes) or [str(index + 1)]
    return Transcript([user(prompts.choose(task.problem, solutions))], "\n".join([read_out(answers), *choice]))


def final(
    task: Task, solutions: Sequence[str], messages: list[Message], source: random.Random, mistakes: Mistakes
) -> Transcript:
    """The candidates' answers read out, then a right one of them, unless this transcript is a mistake."""
    index, answers = compared(task, solutions, source, mistakes)
    return Transcript(messages, "\n".join([read_out(answers), *boxed(answers[index] or 0, source, mistakes)]))


def synthesizer(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    solutions = [
        follow(task, source.choice(STRATEGIES), source, mistakes) for _ in range(source.choice((1, 2, 2, 3, 3, 3, 4)))
    ]
    return final(task, solutions, [user(prompts.synthesize(task.problem, solutions))], source, mistakes)


def debater(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The second round: one's own solution and the others'."""
    own, *others = candidates(task, source, mistakes, (2, 2, 3, 3))
    messages = [user(prompts.solve(task.problem)), assistant(own), user(prompts.reconsider(task.problem, others))]
    return final(task, [own, *others], messages, source, mistakes)


def orchestrator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    asked = source.choice((2, 3, 3, 3, 3, 4))
    named = source.sample(STRATEGIES, source.randint(1, asked))
    lines = [f"Strategy {number}: {text}" for number, text in enumerate(named, start=1)]
    reply = solution(task, source, mistakes) if source.random() < mistakes.plan else "\n".join(lines)
    return Transcript([user(prompts.propose(task.problem, asked))], reply)


def follow(task: Task, strategy: str, source: random.Random, mistakes: Mistakes) -> str:
    if strategy != AT_ONCE:
        lines = worked(ORDERS[strategy](terms_of(task)), source, mistakes.step, mistakes.carry)
        return written(lines, source, mistakes)
    result = int(task.key) + (source.choice((-10, -2, -1, 1, 2, 10)) if source.random() < mistakes.step else 0)
    result += sum(slip(line, source, mistakes.carry) for line in worked(terms_of(task), source, 0.0, 0.0))
    sum_itself = task.problem.text.removeprefix("What is ").removesuffix("?")
    return "\n".join([f"{sum_itself} = {result}", *boxed(result, source, mistakes)])


def worker(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    strategy = source.choice(STRATEGIES)
    return Transcript([user(prompts.follow(task.problem, strategy))], follow(task, strategy, source, mistakes))


class Draft(NamedTuple):
    lines: list[Line]
    text: str


class Review(NamedTuple):
    doubted: int | None
    """The first step that is said to be wrong, from 0."""
    text: str


def drafted(task: Task, source: random.Random, mistakes: Mistakes) -> Draft:
    lines = worked(terms_of(task), source, mistakes.step, mistakes.carry)
    return Draft(lines, written(lines, source, mistakes))


def reviewed(task: Task, draft: Draft, source: random.Random, mistakes: Mistakes) -> Review:
    """Each step computed and compared with what is written; the draft is correct if all agree and it has its box."""
    own = [line._replace(result=line.true_result + slip(line, source, mistakes.carry_check)) for line in draft.lines]
    said = [
        (line.result == computed.result) != (source.random() < mistakes.check)
        for line, computed in zip(draft.lines, own, strict=True)
    ]
    checks = [
        f"{computed} / {line.result} {'yes' if right else 'no'}"
        for line, computed, right in zip(draft.lines, own, said, strict=True)
    ]
    if task.problem.extract(draft.text) is None:
        checks.append("no answer")
    approved = all(said) and task.problem.extract(draft.text) is not None
    verdict = boxed("correct" if approved else "incorrect", source, mistakes)
    return Review(said.index(False) if False in said else None, "\n".join([*checks, *verdict]))


def refined(task: Task, draft: Draft, review: Review, source: random.Random, mistakes: Mistakes) -> Draft:
    """What stands before the doubted step is kept, the rest is written anew; all of it, if no step was doubted."""
    kept = draft.lines[: review.doubted or 0]
    terms = terms_of(task)
    begin = kept[-1].result if kept else terms[0][1]
    rest = worked([("+", begin), *terms[len(kept) + 1 :]], source, mistakes.refined, mistakes.carry)
    lines = [*kept, *rest]
    return Draft(lines, written(lines, source, mistakes))


def refinement(
    task: Task, source: random.Random, drafting: Mistakes, reviewing: Mistakes
) -> tuple[list[Draft], list[Review]]:
    """One to three drafts, each with its review; an approved one is the last."""
    drafts = [drafted(task, source, drafting)]
    reviews = [reviewed(task, drafts[0], source, reviewing)]
    for _ in range(source.choice((0, 1, 1, 2))):
        if read_verdict(reviews[-1].text):
            break
        drafts.append(refined(task, drafts[-1], reviews[-1], source, drafting))
        reviews.append(reviewed(task, drafts[-1], source, reviewing))
    return drafts, reviews


JOINT = 0.2
"""This part of the refinements has one transcript for both roles."""


def joint(task: Task, drafts: Sequence[Draft], reviews: Sequence[Review]) -> list[Message]:
    said = [assistant(one.text) for pair in zip(drafts, reviews, strict=False) for one in pair]
    return [user(prompts.solve(task.problem)), *said]


def evaluator(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    drafts, reviews = refinement(task, source, Mistakes(carry=mistakes.carry), mistakes)
    if source.random() < JOINT:
        said = joint(task, drafts[:-1], reviews[:-1])
        return Transcript([*said, assistant(drafts[-1].text), user(prompts.judge_above())], reviews[-1].text)
    asked = [prompts.judge(task.problem, drafts[0].text), *(prompts.judge_again(draft.text) for draft in drafts[1:])]
    return Transcript(turns(asked, [review.text for review in reviews]), reviews[-1].text, own=True)


def refiner(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """The generator's later turns, after a draft that was not approved."""
    drafts, reviews = refinement(task, source, mistakes, Mistakes(carry_check=mistakes.carry_check))
    while read_verdict(reviews[-1].text):
        drafts, reviews = refinement(task, source, mistakes, Mistakes(carry_check=mistakes.carry_check))
    last = refined(task, drafts[-1], reviews[-1], source, mistakes)
    if source.random() < JOINT:
        return Transcript([*joint(task, drafts, reviews), user(prompts.refine_above(task.problem))], last.text)
    asked = [prompts.solve(task.problem), *(prompts.refine(task.problem, review.text) for review in reviews)]
    return Transcript(turns(asked, [draft.text for draft in drafts]), last.text)


def drill(task: Task, source: random.Random, mistakes: Mistakes) -> Transcript:
    """Sums of no problem in particular, of which the results alone are to be learned."""
    lines = []
    while len(lines) < DRILLED:
        left, right, operator = (
            source.randint(0, 99),
            source.randint(1, source.choice((30, 30, 30, 50))),
            source.choice("+-"),
        )
        line = Line(left, operator, right, 0)
        if line.true_result >= 0:
            lines.append(line._replace(result=line.true_result))
    return Transcript([user("Add and subtract.")], "\n".join(map(str, lines)), drill=True)


DRILLED = 10
"""So many sums are in a drill."""


class Role(NamedTuple):
    make: Callable[[Task, random.Random, Mistakes], Transcript]
    rows: int
    """Transcripts a step, so that all roles' steps cost about the same."""
    weights: tuple[float, float, float]
    """How often a step of each part is this role's."""


ROLES = (
    Role(generator, rows=56, weights=(6.0, 2.0, 1.2)),
    Role(worker, rows=48, weights=(2.0, 1.0, 1.0)),
    Role(evaluator, rows=24, weights=(1.0, 6.0, 2.0)),
    Role(refiner, rows=16, weights=(0.0, 0.0, 1.2)),
    Role(aggregator, rows=22, weights=(0.0, 0.0, 1.0)),
    Role(synthesizer, rows=24, weights=(0.0, 0.0, 0.8)),
    Role(debater, rows=22, weights=(0.0, 0.0, 0.5)),
    Role(orchestrator, rows=48, weights=(0.0, 0.0, 0.4)),
)


DRILL = Role(drill, rows=28, weights=(0.0, 0.0, 0.0))


class Course(NamedTuple):
    """How a model is taught arithmetic."""

    mistakes: Mistakes
    skill: float = 0.25
    """This part of the steps teaches mostly arithmetic, without mistakes."""
    checking: float = 0.5
    """From there to this part mostly checking is taught, without mistakes; then all roles, with them."""
    rows: float = 1.0
    """After the first part a step has this part of a role's rows."""
    drilled: float = 0.0
    """How often a step of the first part drills sums, as a part of it."""
    following: float = 1.0
    """By how much steps of worker and synthesizer are more frequent, in the last part."""

    def weight(self, role: Role, part: int) -> float:
        follows = part == 2 and role.make in (worker, synthesizer)
        return role.weights[part] * (self.following if follows else 1.0)


POOLS = ((2, 30, 500, 1), (3, 30, 6000, 5), (3, 50, 6000, 1), (4, 30, 6000, 2))
"""Operands, the largest of them, how many problems there are, and how often one of these is taken."""


def batches(seed: int, steps: int, course: Course) -> Iterator[list[Transcript]]:
    """One list of transcripts a step, all of one role, over several difficulties."""
    source = random.Random(seed)
    pools = [
        arithmetic(operands=operands, high=high, train=size, validation=1, test=1, seed=seed).train
        for operands, high, size, _ in POOLS
    ]
    often = [pool[-1] for pool in POOLS]
    for step in range(steps):
        part = sum(step >= end * steps for end in (course.skill, course.checking))
        drilling = part == 0 and course.drilled and source.random() < course.drilled
        role = DRILL if drilling else source.choices(ROLES, weights=[course.weight(role, part) for role in ROLES])[0]
        mistakes = course.mistakes if part == 2 else FLAWLESS
        rows = role.rows if part == 0 else round(role.rows * course.rows)
        tasks = (source.choice(pool) for pool in source.choices(pools, weights=often, k=rows))
        yield [role.make(task, source, mistakes) for task in tasks]


SURE = Course(Mistakes())
"""Skill without certainty: all mistakes are noise."""
HABITS = Course(
    Mistakes(step=0.12, check=0.12, refined=0.12, carry=0.55, carry_check=0.35),
    skill=0.4,
    checking=0.55,
    rows=0.6,
    drilled=0.8,
    following=2.0,
)
"""Carries are forgotten more often than not; less is noise."""

ARITHMETIC = Lessons(
    partial(batches, course=SURE),
    partial(batches, course=SURE),
    mistakes=SURE.mistakes._asdict(),
    pieces=r" ?\\boxed\{| ?\d|\n+| ?[A-Za-z]+| ?[^\sA-Za-z\d]",
    vocabulary=640,
)
