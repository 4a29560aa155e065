"""The interface of a task set: a function of keyword-only options that returns `Splits`.

It may also return a list of tasks, or of (question, answer) pairs, or of rows with a `question` and an `answer`: these
are divided into splits by their text (see `splits_of`). A member may be such an object itself.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

from counterpoint.boxes import last_box
from counterpoint.errors import TaskError, counted
from counterpoint.judges.base import Judging
from counterpoint.judges.text import same_text_or_number
from counterpoint.task import JudgeFunction, Problem, Task
from counterpoint.tasks._answers import BOXED_FORMAT, listed, task_keys
from counterpoint.tasks._choices import hidden
from counterpoint.tasks._readings import unread
from counterpoint.tasks._refused import quoted, repeated
from counterpoint.tasks._splits import Split, normal, problem_id, split_of

FEWEST: Final = 25
"""Problems of a split, below which the standard error of an accuracy, 50 % / sqrt(n), may exceed 10 points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Three sets of tasks that share no problem: train on one, choose by the second, report the third."""

    train: tuple[Task, ...]
    validation: tuple[Task, ...]
    test: tuple[Task, ...]
    judging: Judging = field(default_factory=Judging, compare=False)
    """The processes that have to run while answers are judged: `async with splits.judging`."""
    notes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    """Facts about the tasks, for a run's metadata."""

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for split, tasks in self.named().items():
            if not tasks:
                raise TaskError(f"the {split} split has no tasks")
            for number, task in enumerate(tasks, start=1):
                text, place = normal(task.problem.text), f"{split} (number {number})"
                if text in seen:
                    about = f"problem {task.problem.id!r}, {quoted(task.problem.text)},"
                    raise TaskError(f"{about} is in {seen[text]} and again in {place}")
                seen[text] = place
        _check_ids([task.problem for tasks in self.named().values() for task in tasks])

    def named(self) -> dict[str, tuple[Task, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def every(self) -> Iterator[Task]:
        """All tasks: train, validation, test."""
        return chain(self.train, self.validation, self.test)

    def warnings(self) -> tuple[str, ...]:
        """Reasons why a training run on these tasks may say little, one sentence each."""
        roles = {"validation": "the peak is chosen", "test": "accuracy is reported"}
        small = [
            f"{role} on {len(tasks)} {split} problem{'' if len(tasks) == 1 else 's'}: the standard error of an accuracy"
            f" is up to {50 / math.sqrt(len(tasks)):.0f} points, so that a gain can hardly be told from chance; give at"
            f" least {FEWEST}"
            for split, role in roles.items()
            if len(tasks := self.named()[split]) < FEWEST
        ]
        unread_formats = [
            f"no answer is read from the replies that {sentence!r} may ask for: make `extract` read what it asks for"
            for sentence in unread(self.every())
        ]
        return (*small, *unread_formats)

    def fingerprints(self) -> dict[str, str]:
        """One SHA-256 per split, over ids, texts and keys in order: equal if and only if the tasks are the same."""
        return {split: _fingerprint(tasks) for split, tasks in self.named().items()}


def task_of(
    text: str,
    key: object,
    *,
    judge: JudgeFunction = same_text_or_number,
    answer_format: str = BOXED_FORMAT,
    extract: Callable[[str], str | None] = last_box,
    id: str = "",
    place: str = "",
) -> Task:
    r"""The task to answer the question `text`, with the right answer `key`, which is kept as text.

    A list or tuple as `key` holds several right answers. An answer is read from the last `\boxed{...}` of a reply and
    is right if it is the same number or text as a person reads it (see `same_text_or_number`). `judge(answer, key)` may
    be any function, plain or async, that returns a reward in [0, 1], True, False, None (not judged) or a `Score`. The
    id is that of the text; `place` says in messages where the question stands.

    Raises TaskError if the text is empty, or the key is not a number or is an empty list, or one of them holds what
    UTF-8 does not have.
    """
    if not text.strip():
        raise TaskError("a task needs a text: this one is empty")
    _check_characters("the text", text)
    name = id or problem_id("task", text)
    problem = Problem(id=name, text=text, answer_format=answer_format, extract=extract)
    try:
        keys = task_keys(key)
    except TaskError as error:
        raise TaskError(f"the answer to {quoted(text)} {error}") from None
    for one in keys:
        _check_characters(f"the answer to {quoted(text)}", one)
    accepted = keys if len(keys) > 1 else ()
    return Task(problem=problem, key=listed(keys), judge=judge, accepted=accepted, place=place)


def _check_characters(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TaskError(f"{what} holds half a character ({text[error.start]!a}), which is no text") from None


def splits_of(made: object, source: str) -> Splits:
    """The splits that `source` made: `Splits` as they are, or a list divided by text, 80 % train, 10 % each other.

    A list holds tasks, pairs (question, answer), or mappings with the keys `question` and `answer`. Raises TaskError if
    it is something else, or too short for three splits.
    """
    if isinstance(made, Splits):
        return made
    if isinstance(made, str | bytes | Mapping) or not isinstance(made, Iterable):
        shown = f"{repr(made)[:_LONGEST_SHOWN]}, a {type(made).__name__}"
        raise TaskError(f"task {source!r} is {shown}: allowed are Splits, or a list of tasks or of questions")
    name = f"task {source!r}"
    tasks = [_task_from(row, f"{name}, number {number}") for number, row in enumerate(made, start=1)]
    _check_once(tasks, name)
    return divided(tasks, name)


def _check_once(tasks: Sequence[Task], source: str) -> None:
    """Raises TaskError if two tasks of a list ask the same, up to case and white space."""
    seen: dict[str, int] = {}
    for place, task in enumerate(tasks):
        first = seen.setdefault(normal(task.problem.text), place)
        if first != place:
            other = tasks[first]
            reason = repeated(task.problem.text, task.key, other.problem.text, other.key, f"number {first + 1}")
            raise TaskError(f"{source}, number {place + 1}: {reason}")


def divided(tasks: Sequence[Task], source: str) -> Splits:
    """Each task in the split that its text alone decides. Raises TaskError if a split is empty."""
    found: dict[Split, list[Task]] = {"train": [], "validation": [], "test": []}
    for task in tasks:
        found[split_of(task.problem.text)].append(task)
    for split, members in found.items():
        if not members:
            raise TaskError(
                f"{source} has too few questions: none falls into the {split} split, of {len(tasks)} in all; the text"
                " of a question decides its split (80 % train, 10 % validation, 10 % test), unless it returns"
                " counterpoint.Splits"
            )
    return Splits(train=tuple(found["train"]), validation=tuple(found["validation"]), test=tuple(found["test"]))


def _check_ids(problems: Iterable[Problem]) -> None:
    """Raises TaskError if two problems have one id, by which episodes, samples and outcomes are told apart."""
    seen: dict[str, str] = {}
    for problem in problems:
        if problem.id in seen:
            texts = f"{seen[problem.id][:_LONGEST_SHOWN]!r} and {problem.text[:_LONGEST_SHOWN]!r}"
            raise TaskError(f"the id {problem.id!r} belongs to two problems: {texts}")
        seen[problem.id] = problem.text


def _task_from(row: Any, place: str) -> Task:
    try:
        match row:
            case Task():
                return row
            case {"question": str(question), "answer": answer} if not isinstance(answer, dict):
                unseen = hidden(row, question, answer)
                if unseen:
                    raise TaskError(
                        f"its answer is a letter or a number of {unseen!r}, which the question does not show;"
                        f" task.choices = {unseen!r} shows it"
                    )
                return task_of(question, answer)
            case (str(question), answer) if not isinstance(answer, dict):
                return task_of(question, answer)
    except TaskError as error:
        raise TaskError(f"{place}: {error}") from None
    shown = repr(row)
    raise TaskError(
        f"{place} is {shown[:_LONGEST_SHOWN]}: allowed are a Task, (question, answer), or"
        ' {"question": ..., "answer": ...}'
    )


_LONGEST_SHOWN = 80


def batch(tasks: Sequence[Task], *, step: int, size: int, seed: int) -> tuple[Task, ...]:
    """The tasks of a step: a function of (seed, step) alone, all different, their order reshuffled in each epoch.

    Every task comes once per epoch; where `size` does not divide their number, the last few of the order wait for the
    next epoch. `step` counts from 1. Raises TaskError if `size` exceeds the number of tasks.
    """
    if size > len(tasks):
        raise TaskError(f"rollout.tasks_per_step = {size}: the training split has only {counted(len(tasks), 'task')}")
    epoch, place = divmod(step - 1, len(tasks) // size)
    order = _order(len(tasks), epoch, seed)
    return tuple(tasks[index] for index in order[place * size : (place + 1) * size])


@lru_cache(maxsize=4)
def _order(count: int, epoch: int, seed: int) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)


def _fingerprint(tasks: Sequence[Task]) -> str:
    digest = hashlib.sha256()
    for task in tasks:
        for part in (task.problem.id, task.problem.text, task.key):
            digest.update(part.encode() + b"\0")
    return digest.hexdigest()
