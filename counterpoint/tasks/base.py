"""What a member of this family is: a function `(**options) -> Splits`."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from counterpoint.errors import TaskError
from counterpoint.judges.base import Judging
from counterpoint.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Three sets of tasks that share no problem: train on one, choose by the second, report the third."""

    train: tuple[Task, ...]
    validation: tuple[Task, ...]
    test: tuple[Task, ...]
    judging: Judging = field(default_factory=Judging, compare=False)

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for split, tasks in self.named().items():
            if not tasks:
                raise TaskError(f"the {split} split has no tasks")
            for task in tasks:
                text = " ".join(task.problem.text.split()).casefold()
                if text in seen:
                    raise TaskError(f"problem {task.problem.id!r} stands in {seen[text]} and again in {split}")
                seen[text] = split

    def named(self) -> dict[str, tuple[Task, ...]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def fingerprints(self) -> dict[str, str]:
        """A SHA-256 a split, over ids, texts and keys in order: equal if and only if the tasks are the same."""
        return {split: _fingerprint(tasks) for split, tasks in self.named().items()}


def batch(tasks: Sequence[Task], *, step: int, size: int, seed: int) -> tuple[Task, ...]:
    """The tasks of a step: a function of (seed, step) alone, all different, order reshuffled each epoch.

    Every task comes once an epoch; where `size` does not divide their number, the last few of the order wait for the
    next epoch. `step` counts from 1. Raises TaskError if `size` exceeds the number of tasks.
    """
    if size > len(tasks):
        raise TaskError(f"{size} tasks a step were asked for, but there are only {len(tasks)}")
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
