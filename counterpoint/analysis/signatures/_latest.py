"""The latest episodes of a run, as numbers: its training steps of the last window and its last evaluation."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from counterpoint.analysis.history import History
from counterpoint.analysis.signatures.base import Thresholds

Numbers = Mapping[str, float]


class Record(NamedTuple):
    """Episodes of which only numbers are left: one table per training step, or per split of an evaluation."""

    where: str
    steps: tuple[int, int]
    tables: Sequence[Numbers]

    @property
    def played(self) -> float:
        """The number of episodes."""
        return sum(map(played, self.tables))


class Rate(NamedTuple):
    """A fraction of the calls or episodes of a record."""

    record: Record
    value: float
    among: float
    """The number of calls or episodes."""

    def evidence(self, name: str, threshold: float) -> str:
        """`role/critic/unreadable 0.75 in steps 1 to 2, threshold 0.5`."""
        return f"{name} {self.value:.2f} in {self.record.where}, threshold {threshold:g}"


def played(table: Numbers) -> float:
    """The number of episodes; where it was not recorded, that of tasks, each of which was played at least once."""
    return table.get("episode/played", table.get("episode/tasks", 0.0))


def latest(history: History, limits: Thresholds) -> list[Record]:
    """The last training steps, and the last evaluation unless it is older than these; what there is of them."""
    after = history.last - limits.window
    evaluated = max((row["step"] for row in history.evaluations), default=0)
    return [*_training(history, after), *_evaluations(history, max(evaluated, after))]


def everything(history: History) -> list[Record]:
    """All training steps, and all evaluations; what there is of them."""
    steps = {row["step"] for row in history.evaluations}
    return [*_training(history, 0), *_evaluations(history, min(steps, default=0))]


def lacks_episodes(history: History, limits: Thresholds) -> str | None:
    """`episodes` episodes, if fewer were played, evaluations included."""
    there = sum(record.played for record in everything(history))
    return f"{limits.episodes} episodes" if there < limits.episodes else None


def rate_of_calls(record: Record, role: str, what: str) -> Rate | None:
    """The fraction `role/<role>/<what>` over all calls of the role in a record; None if it was not called."""
    calls = [table.get(f"role/{role}/calls", 0.0) * played(table) for table in record.tables]
    shares = [table.get(f"role/{role}/{what}", 0.0) for table in record.tables]
    if not sum(calls):
        return None
    weighted = sum(count * share for count, share in zip(calls, shares, strict=True))
    return Rate(record, weighted / sum(calls), sum(calls))


def rate_of_episodes(record: Record, count_in: Callable[[Numbers], float]) -> Rate | None:
    """The fraction of a record's episodes that `count_in` counts in its tables; None if none was played."""
    if not record.played:
        return None
    return Rate(record, sum(map(count_in, record.tables)) / record.played, record.played)


def _training(history: History, after: int) -> list[Record]:
    rows = [row for row in history.metrics if row["step"] > after]
    return [_record("step", "steps", [row["step"] for row in rows], rows)] if rows else []


def _evaluations(history: History, first: int) -> list[Record]:
    rows = [row for row in history.evaluations if row["step"] >= first]
    steps, tables = [row["step"] for row in rows], [row["numbers"] for row in rows]
    return [_record("the evaluation at step", "the evaluations at steps", steps, tables)] if rows else []


def _record(one: str, several: str, steps: Sequence[int], tables: Sequence[Numbers]) -> Record:
    first, last = min(steps), max(steps)
    return Record(f"{one} {last}" if first == last else f"{several} {first} to {last}", (first, last), tables)
