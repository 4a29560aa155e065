"""Questions and answers from the user's own files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from counterpoint.errors import ConfigError, TaskError
from counterpoint.judges.text import TextJudge, same_text_or_number
from counterpoint.task import JudgeFunction, Task
from counterpoint.tasks._answers import keys_of, listed
from counterpoint.tasks._choices import Choices, choices_of, hidden, named_in
from counterpoint.tasks._readings import PATTERN, Reading, reading_of
from counterpoint.tasks._refused import Refused, complaint, repeated
from counterpoint.tasks._sources import Row, rows_of, splits_by_name
from counterpoint.tasks._splits import SPLITS, Split, check_splits, normal, problem_id, split_named, split_of
from counterpoint.tasks._tables import ANSWERS, QUESTIONS, chosen, value_in
from counterpoint.tasks._written import AnswerIn, answer_in_text
from counterpoint.tasks.base import Splits, task_of

_IN_ORDER: Final[tuple[Split, ...]] = ("test", "validation", "train")
"""A question that is in several splits is kept in the first of these."""


def questions(
    *,
    data: Any = None,
    path: str = "",
    dataset: str = "",
    subset: str = "",
    revision: str = "",
    splits: dict[Split, str] | None = None,
    validation: str = "",
    test: str = "",
    split: str = "",
    question: str = "",
    answer: str = "",
    separator: str = "",
    read: str = "",
    pattern: str = "",
    answer_format: str = "",
    percent: bool = False,
    answer_in: AnswerIn = "",
    choices: str = "",
    first_choice: Annotated[int, Field(ge=0, le=1)] = 0,
    invalid: Literal["refuse", "skip"] = "refuse",
) -> Splits:
    r"""One task per row of the file or folder at `path`: JSON Lines, JSON, CSV, TSV or Parquet.

    Or one per row of a `dataset` (and its `subset`) of a hub at a `revision`, or of a folder that `save_to_disk` of
    Hugging Face's datasets has written, or of a data set, a frame or a list of mappings that was given from Python.

    The column `question` holds text; if none is named, it is `question`, or else the only one that is there of
    `problem`, `prompt`, `instruction`, `query`. The column `answer` (`answers`, `solution`, `final_answer`,
    `expected_answer`, `target`, `label`) holds text, a number, true or false, or a list of several
    accepted answers; a `separator` divides one text into several. A dot in a name leads into an object: `answer.text`.

    `answer_in` says where in its column an answer is: all of it, which must be no worked solution (the default) or may
    be one (`text`); after `####` (`hashes`, as in GSM8K), in the last `\boxed{...}` (`box`), or after `answer is`
    (`sentence`). `choices` names a column with what may be chosen; the choices are shown below the question, and the
    answer is a letter, a text of theirs or a number that counts from `first_choice`. The letter and the text are right.

    `validation` and `test` are files or folders of their own; or `split` names a column that holds train, validation
    (val, dev) or test; or the files in a folder, or the splits of a data set, have these names; or `splits` says which
    splits of the data are train, validation and test. A split may be named once. Where nothing says which questions are
    validation or test, those of train are whose text says so, about 10 % each.

    `read` says how an answer is read from a reply: from the last `\boxed{...}` (`boxed`, the default), `last_line`,
    `whole`, the last match of a regular expression (`pattern`), or by the user's own function, `module:name`.
    `answer_format` is the sentence that tells a model to write it so; `pattern` and functions have none of their own.
    An answer is right if it is the same number or text as an accepted one, as a person reads them: see
    `same_text_or_number`. With `percent`, `50%` is the number 0.5.

    Raises ConfigError if the options contradict each other, or the sentence asks for an answer that is not read. Raises
    TaskError if the data is missing or malformed, a split is empty, or rows cannot be used, with the first and how many
    there are; `invalid` 'skip' leaves those out, unless they are all, and notes their number.
    """
    if split and (validation or test):
        raise ConfigError("task.split names a column with the splits: task.validation and task.test must be left out")
    if splits is not None and split:
        raise ConfigError("task.splits names the splits of the data: task.split must not")
    check_splits(splits or None)
    reading = reading_of(read, pattern, answer_format)
    named = {"question": question, "answer": answer, "split": split, "choices": choices}
    columns = _Columns(**named, separator=separator, answer_in=answer_in, first=first_choice)
    origin = _Origin(data=data, path=path, dataset=dataset, subset=subset, revision=revision, splits=splits or {})
    others: dict[Split, str] = {"validation": validation, "test": test}
    entries, refused = _entries(origin, {name: place for name, place in others.items() if place}, columns, reading)
    entries = _answerable(_once(entries, refused), refused, reading)
    rows = len(entries) + len(refused)
    if refused and (invalid == "refuse" or not entries):
        raise TaskError(complaint(refused, rows))
    reading.check(key for entry in entries for key in entry.keys)
    judge = TextJudge(percent=True).judge if percent else same_text_or_number
    found = {name: _tasks(entries, name, reading, judge, path or dataset or "the data") for name in SPLITS}
    notes = {"rows_left_out": f"{len(refused)} of {rows}"} if refused else {}
    train, validating, testing = (found[name] for name in SPLITS)
    return Splits(train=train, validation=validating, test=testing, notes=MappingProxyType(notes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """The place that the questions come from, except for files of validation and test."""

    data: Any
    path: str
    dataset: str
    subset: str
    revision: str
    splits: Mapping[Split, str]

    @property
    def name(self) -> str:
        return self.path or self.dataset or "data"

    def rows(self) -> list[Row]:
        return [
            *rows_of(
                path=self.path,
                dataset=self.dataset,
                subset=self.subset,
                revision=self.revision,
                splits=[*self.splits.values()],
                data=self.data,
            )
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """The names of the columns."""

    question: str
    answer: str
    split: str
    separator: str
    answer_in: AnswerIn
    choices: str
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    place: str
    question: str
    keys: tuple[str, ...]
    split: Split | None
    """None where only the question's text can say it."""


def _entries(
    origin: _Origin, others: Mapping[Split, str], columns: _Columns, reading: Reading
) -> tuple[list[_Entry], list[Refused]]:
    """The rows of all sources, each in its split. Raises TaskError if there are none, or a file cannot be read."""
    entries: list[_Entry] = []
    refused: list[Refused] = []
    known: set[Split] = set()
    for name, source in {"train": origin.path, **others}.items():
        option = "task.path" if name == "train" else f"task.{name}"
        if name == "train":
            rows = origin.rows()
        else:
            rows = [*rows_of(path=source, dataset="", subset="", revision="", splits=[], option=option)]
            _check_is_one(option, source, rows)
        if not rows:
            shown = f"{option} = {source!r}" if source else origin.name
            raise TaskError(f"{shown} is empty: there are no questions in it")
        named = _found(columns, rows[0])
        by_name = _named(origin, rows, others) if name == "train" and not columns.split else {}
        for row in rows:
            where = name if name != "train" else by_name.get(row.split)
            try:
                entries.append(_entry(row, named, reading, where))
            except TaskError as error:
                refused.append(Refused(place=row.place, reason=str(error)))
        known |= {name} if name != "train" else {*by_name.values()}
    known |= {entry.split for entry in entries if entry.split is not None}
    return [_placed(entry, known) for entry in entries], refused


def _check_is_one(option: str, source: str, rows: Sequence[Row]) -> None:
    """Raises ConfigError if the folder of one split holds files of several, by their names."""
    names = {split: row.split for row in reversed(rows) if (split := split_named(row.split)) is not None}
    if len(names) > 1:
        raise ConfigError(
            f"{option} = {source!r} has the splits {' and '.join(map(repr, sorted(names.values())))}: name the file of"
            " one of them"
        )


def _found(columns: _Columns, first: Row) -> _Columns:
    """The columns by their names in the data."""
    question = chosen(first.columns, columns.question, QUESTIONS, "question", first.place)
    answer = chosen(first.columns, columns.answer, ANSWERS, "answer", first.place)
    return replace(columns, question=question, answer=answer)


def _named(origin: _Origin, rows: Sequence[Row], others: Mapping[Split, str]) -> dict[str, Split]:
    """The splits of the data, by their names in it, where these say which they are.

    Raises TaskError if some do not, and ConfigError if one of `others`, which have files of their own, is among them.
    """
    named = splits_by_name((row.split for row in rows), origin.splits, path=origin.path, source=origin.name)
    for name, split in named.items():
        if split in others:
            raise ConfigError(
                f"task.{split} = {others[split]!r}: {origin.name} has a {split} split too, {name!r}; leave out"
                f" task.{split}, or take {name!r} out of the data"
            )
    return named


def _entry(row: Row, columns: _Columns, reading: Reading, split: Split | None) -> _Entry:
    """The question of a row. Raises TaskError with the reason if it has none that can be used."""
    text = value_in(row.columns, columns.question)
    if text is None or not str(text).strip():
        raise TaskError(f"column {columns.question!r} is empty")
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise TaskError(f"column {columns.question!r} is {type(text).__name__}, not text or a number")
    if isinstance(text, float) and not math.isfinite(text):
        raise TaskError(f"column {columns.question!r} is {text}, which is no question")
    shown, keys = _shown(row, columns, str(text))
    unreadable = next((key for key in keys if not reading.keeps(key)), None)
    if unreadable is not None:
        raise TaskError(f"its answer {unreadable!r} can never be read with task.read = {reading.name!r}")
    if columns.split:
        said = value_in(row.columns, columns.split)
        split = split_named(said) if isinstance(said, str) else None
        if split is None:
            raise TaskError(f"column {columns.split!r} is {said!r}; allowed are train, validation (val, dev), test")
    return _Entry(place=row.place, question=shown, keys=keys, split=split)


def _shown(row: Row, columns: _Columns, question: str) -> tuple[str, tuple[str, ...]]:
    """The question with its choices, if any, and the answers that are right. Raises TaskError with the reason."""
    answer = value_in(row.columns, columns.answer)
    choices = _choices(row, columns.choices) if columns.choices else None
    try:
        if choices is not None:
            return choices.shown_below(question), choices.keys(answer, columns.first)
        if isinstance(answer, str) and columns.answer_in:
            answer = answer_in_text(answer, columns.answer_in)
        keys = keys_of(answer, columns.separator)
        keys = tuple(key if columns.answer_in else answer_in_text(key, "") for key in keys)
    except TaskError as error:
        raise TaskError(f"column {columns.answer!r} {error}") from None
    unseen = "" if columns.answer_in else hidden(row.columns, question, answer)
    if unseen:
        raise TaskError(
            f"its answer is a letter or a number of column {unseen!r}, which the question does not show; task.choices"
            f" = {unseen!r} shows it"
        )
    return question, tuple(dict.fromkeys(name for key in keys for name in named_in(key)))


def _choices(row: Row, column: str) -> Choices:
    value = value_in(row.columns, column)
    try:
        return choices_of(value)
    except TaskError as error:
        raise TaskError(f"column {column!r} {error}") from None


def _placed(entry: _Entry, known: set[Split]) -> _Entry:
    """The entry in its split: what its file or column says, or else its text where no file or column is that split."""
    if entry.split not in (None, "train"):
        return entry
    by_text = split_of(entry.question)
    return replace(entry, split="train" if by_text in known else by_text)


def _once(entries: Sequence[_Entry], refused: list[Refused]) -> list[_Entry]:
    """Each question once, up to case and white space; the others are refused."""
    kept: dict[str, _Entry] = {}
    for entry in sorted(entries, key=lambda entry: _IN_ORDER.index(entry.split or "train")):
        other = kept.setdefault(normal(entry.question), entry)
        if other is not entry:
            reason = repeated(entry.question, listed(entry.keys), other.question, listed(other.keys), other.place)
            refused.append(Refused(place=entry.place, reason=reason))
    chosen = {id(entry) for entry in kept.values()}
    return [entry for entry in entries if id(entry) in chosen]


def _answerable(entries: Sequence[_Entry], refused: list[Refused], reading: Reading) -> list[_Entry]:
    """The entries whose answers a regular expression reads back; the others are refused, unless it reads none."""
    if reading.name != PATTERN:
        return [*entries]
    read = {id(entry) for entry in entries if all(reading.reads_right(key) for key in entry.keys)}
    if not read:
        return [*entries]
    for entry in entries:
        if id(entry) not in read:
            reason = f"its answer {listed(entry.keys)!r} can never be read with task.pattern"
            refused.append(Refused(place=entry.place, reason=reason, kind="its answer can never be read"))
    return [entry for entry in entries if id(entry) in read]


def _tasks(
    entries: Sequence[_Entry], split: Split, reading: Reading, judge: JudgeFunction, source: str
) -> tuple[Task, ...]:
    """The tasks of a split, in the order of the data. Raises TaskError if there are none."""
    own = [entry for entry in entries if entry.split == split]
    if not own:
        raise TaskError(
            f"{source} has too few questions: none falls into the {split} split, of {len(entries)} in all. The text of"
            " a question decides its split (80 % train, 10 % validation, 10 % test), unless task.validation and"
            " task.test name files of their own, or task.split a column"
        )
    return tuple(
        task_of(
            entry.question,
            entry.keys[0] if len(entry.keys) == 1 else entry.keys,
            judge=judge,
            answer_format=reading.answer_format,
            extract=reading.extract,
            id=problem_id("question", entry.question),
            place=entry.place,
        )
        for entry in own
    )
