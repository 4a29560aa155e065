"""Mathematical problems, from known sets or files, whose answers are compared as mathematics."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field

from counterpoint.boxes import last_box
from counterpoint.errors import ConfigError, TaskError, unknown
from counterpoint.judges.mathematics.judge import MathJudge, settled
from counterpoint.task import RIGHT, Problem, Task
from counterpoint.tasks._answers import BOXED_FORMAT
from counterpoint.tasks._overlap import overlapping
from counterpoint.tasks._refused import Refused, complaint, quoted, repeated
from counterpoint.tasks._sources import LOCAL, Row, files_by_name, is_source, located, rows_of, splits_by_name
from counterpoint.tasks._splits import Split, check_splits, drawn, problem_id, split_of
from counterpoint.tasks._tables import ANSWERS, PROBLEMS, chosen
from counterpoint.tasks._written import AnswerIn
from counterpoint.tasks.base import Splits
from counterpoint.tasks.mathematics.sets import SETS, MathSet, read_row

Count = Annotated[int, Field(ge=1)]

_IN_ORDER: Final[tuple[Split, ...]] = ("test", "validation", "train")
"""A problem that is in several splits is kept in the first of these."""
_GIVEN: Final[Mapping[Split, str]] = {split: f"the data, {split}" for split in _IN_ORDER}
_STUDY_SET: Final = "dapo_math"
_STUDY_ROWS: Final = 14_116
_STUDY_SEED: Final = 42
_STUDY_TEST: Final = 0.1


def mathematics(
    *,
    data: Any = None,
    path: str = "",
    dataset: str = "",
    subset: str = "",
    revision: str = "",
    splits: dict[Split, str] | None = None,
    sets: dict[Split, str | list[str]] | None = None,
    problem: str = "",
    answer: str = "",
    answer_in: AnswerIn = "",
    copies: dict[str, str] | None = None,
    revisions: dict[str, str] | None = None,
    split: Literal["text", "study"] = "text",
    train: Count | None = None,
    validation: Count | None = None,
    test: Count | None = None,
    seed: int = 0,
    overlap: Literal["refuse", "drop", "keep"] = "drop",
    invalid: Literal["refuse", "skip"] = "refuse",
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    seconds: Annotated[float, Field(gt=0, le=600)] = 5.0,
    memory: Annotated[int, Field(ge=512, le=2**20)] = 2048,
    workers: Annotated[int, Field(ge=1, le=256)] = 2,
) -> Splits:
    r"""One task per row of the file or folder at `path`, or of the `sets` named for train, validation and test.

    Or one per row of a `dataset` (and its `subset`) of a hub at a `revision`, or of a data set, a frame or a list of
    mappings that was given from Python. The splits of a data set, and the files in a folder, are train, validation and
    test by their names, or as `splits` says.

    A set is gsm8k, gsm8k_test, math_500, dapo_math, deepscaler, aime_2024, aime_2025, amc, olympiad_bench, minerva, or
    a path, of which `problem` and `answer` name the columns, as in `questions`; `answer_in` says where in its column an
    answer is. Known sets come from a hub at the commit that `revisions` names, or from the file or folder that `copies`
    names.

    Where no set is named for test or validation, those problems of train are in it that `split` says: by `text`, about
    10 % each, depending on the statement alone; `study` divides dapo_math into 12,704 for training and 1,412 for
    testing as the study did, and validation, if no set is named, is about 10 % of the 12,704. `train`, `validation` and
    `test` keep at most as many problems, drawn by `seed`.

    Problems of train that overlap with validation or test in 13 words on end, and of validation with test, are dropped,
    refused or kept as `overlap` says; the same text is never kept. Their numbers are in `Splits.notes`. The study
    kept them.

    An answer, the last `\boxed{...}`, has `seconds` of processor time and `memory` MiB in one of `workers` processes if
    text and rational numbers do not suffice. `tolerance` is the relative error allowed to numbers.

    Raises ConfigError if the options contradict each other or need what is not installed. Raises TaskError if the data
    is missing or malformed, a split is empty, problems overlap and may not, or rows cannot be used, with the first and
    how many there are; `invalid` 'skip' leaves those out, unless they are all.
    """
    rows: dict[Split, list[Row]] = {}
    check_splits(splits or None)
    if dataset or data is not None or splits or (path and path not in SETS and located(path).is_dir()):
        if sets:
            raise ConfigError(
                "task.sets must be left out where task.path, task.dataset or task.splits says where the problems are"
            )
        rows = _given_rows(data, path, dataset, subset, revision, splits or {})
    named = _named(path, sets, split) if not rows else {name: [_GIVEN[name]] for name in rows}
    columns = MathSet(hub="", split="", problem=problem, answer=answer, answer_in=answer_in)
    sources = _Sources(columns=columns, copies=copies or {}, revisions=revisions or {}, given=rows)
    sources.check(named)
    entries, refused = _entries(named, sources, split)
    entries = _without_repetitions(entries, refused)
    if refused and (invalid == "refuse" or not entries):
        raise TaskError(complaint(refused, len(refused) + len(entries)))
    entries, notes = _apart(entries, overlap)
    judge = MathJudge(workers=workers, seconds=seconds, memory=memory, tolerance=tolerance)
    limits: dict[Split, int | None] = {"train": train, "validation": validation, "test": test}
    made = {name: _tasks(entries, name, limits[name], seed, judge) for name in _IN_ORDER}
    return Splits(train=made["train"], validation=made["validation"], test=made["test"], judging=judge, notes=notes)


def study_test(rows: int) -> frozenset[int]:
    """The rows, of `rows` in all, that the study tested on: `datasets.train_test_split(0.1, seed=42)`.

    That is the first ceil(rows / 10) of a permutation by numpy's default generator.
    """
    order = np.random.default_rng(_STUDY_SEED).permutation(rows)
    return frozenset(int(row) for row in order[: math.ceil(_STUDY_TEST * rows)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    place: str
    statement: str
    key: str
    split: Split


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sources:
    """The places from which sets are read."""

    columns: MathSet
    copies: Mapping[str, str]
    revisions: Mapping[str, str]
    given: Mapping[Split, Sequence[Row]]
    """The rows of a data set that is no known set, by their splits."""

    def check(self, named: Mapping[Split, Sequence[str]]) -> None:
        """Raises ConfigError if a set is not known, or it is not said where it is."""
        members = [member for names in named.values() for member in names]
        for option, table in (("copies", self.copies), ("revisions", self.revisions)):
            for name in table:
                if name not in SETS or name not in members:
                    raise ConfigError(unknown(f"set in task.{option}", name, [one for one in members if one in SETS]))
        for member in members:
            if member in SETS:
                if not self.copies.get(member) and not self.revisions.get(member):
                    raise ConfigError(_how_to_get(member))
            elif not self.given and not is_source(member) and not located(member).exists():
                raise ConfigError(unknown("set of mathematical problems", member, SETS) + ", or a path")

    def shape(self, member: str) -> MathSet:
        return SETS.get(member, self.columns)

    def rows(self, member: str) -> Iterator[Row]:
        """The rows of a set. Raises ConfigError or TaskError."""
        if self.given:
            return iter(next(rows for name, rows in self.given.items() if _GIVEN[name] == member))
        known = SETS.get(member)
        path = member if known is None else self.copies.get(member, "")
        option = "task.path" if known is None else f"task.copies.{member}"
        if path:
            splits = [known.split] if known is not None and located(path).is_dir() else []
            return rows_of(path=path, dataset="", subset="", revision="", splits=splits, option=option)
        assert known is not None
        revision = self.revisions.get(member, "")
        return rows_of(
            path="", dataset=known.hub, subset=known.subset, revision=revision, splits=[known.split], option=option
        )


def _how_to_get(name: str) -> str:
    known = SETS[name]
    return (
        f"{name} is {known.hub} {known.subset} {known.split} on the hub: name its commit with task.revisions.{name}, "
        f"so that it stays the same data, or a local copy ({LOCAL}) with task.copies.{name}"
    )


def _named(path: str, sets: Mapping[Split, str | list[str]] | None, split: str) -> Mapping[Split, Sequence[str]]:
    """The members of each split that has any. Raises ConfigError unless there are some for train."""
    if bool(path) == bool(sets):
        raise ConfigError("either task.path, or task.sets with what is for train, says where the problems are")
    given: Mapping[Split, str | list[str]] = sets or {"train": path}
    named = {name: [members] if isinstance(members, str) else [*members] for name, members in given.items()}
    everything = [member for members in named.values() for member in members]
    if not named.get("train") or not all(named.values()) or len({*everything}) < len(everything):
        raise ConfigError(f"task.sets = {dict(given)!r}: train must have a set, and no set may be named twice")
    if split == "study" and (named["train"] != [_STUDY_SET] or "test" in named):
        raise ConfigError(
            f"task.split = 'study' divides {_STUDY_SET} alone into train and test: name no other for them"
        )
    return named


def _entries(named: Mapping[Split, Sequence[str]], sources: _Sources, split: str) -> tuple[list[_Entry], list[Refused]]:
    entries: list[_Entry] = []
    refused: list[Refused] = []
    for name, members in named.items():
        for member in members:
            rows = [*sources.rows(member)]
            if not rows:
                raise TaskError(f"{member} has no rows, so there are no problems")
            if name == "train" and not sources.given and member not in SETS:
                _check_nothing_is_held_out(member, rows)
            tested = _tested(len(rows)) if split == "study" and name == "train" else None
            shape = _found(sources.shape(member), rows[0])
            for number, row in enumerate(rows):
                try:
                    statement, key = read_row(
                        row.columns, problem=shape.problem, answer=shape.answer, answer_in=shape.answer_in
                    )
                except TaskError as error:
                    refused.append(Refused(place=row.place, reason=str(error)))
                    continue
                if not _answerable(key):
                    reason = f"its answer {quoted(key)} cannot be read from a box, or has nothing to compare"
                    refused.append(Refused(place=row.place, reason=reason))
                    continue
                where = (
                    name if name != "train" else _split(statement, named, None if tested is None else number in tested)
                )
                entries.append(_Entry(place=row.place, statement=statement, key=key, split=where))
    return entries, refused


def _check_nothing_is_held_out(folder: str, rows: Sequence[Row]) -> None:
    """Raises ConfigError if a file of a folder that is named for train is validation or test by its name."""
    named = files_by_name(folder, [*dict.fromkeys(row.split for row in rows)])
    other = next((file for file, split in named.items() if split != "train"), None)
    if other is not None:
        raise ConfigError(
            f"task.sets.train = {folder!r}: its file {other!r} is {named[other]} by its name; name the files that are"
            " train, or the whole folder with task.path"
        )


def _found(shape: MathSet, first: Row) -> MathSet:
    """The shape with the columns by their names in the data."""
    problem = chosen(first.columns, shape.problem, PROBLEMS, "problem", first.place)
    answer = chosen(first.columns, shape.answer, ANSWERS, "answer", first.place)
    return replace(shape, problem=problem, answer=answer)


def _given_rows(
    data: Any, path: str, dataset: str, subset: str, revision: str, splits: Mapping[Split, str]
) -> dict[Split, list[Row]]:
    """The rows of a data set by their splits. Raises TaskError if there are none for train."""
    name = path or dataset or "the data"
    rows = [
        *rows_of(path=path, dataset=dataset, subset=subset, revision=revision, splits=[*splits.values()], data=data)
    ]
    named = splits_by_name((row.split for row in rows), splits, path=path, source=name)
    found: dict[Split, list[Row]] = {}
    for row in rows:
        found.setdefault(named.get(row.split, "train"), []).append(row)
    if "train" not in found:
        raise TaskError(f"{name} has no rows for train, so there are no problems")
    return found


def _tested(rows: int) -> frozenset[int]:
    if rows != _STUDY_ROWS:
        raise TaskError(f"the study divided the {_STUDY_ROWS:,} rows of {_STUDY_SET}, but there are {rows:,}")
    return study_test(rows)


def _split(statement: str, named: Mapping[Split, Sequence[str]], tested: bool | None) -> Split:
    """The split of a problem of the sets for train."""
    if tested:
        return "test"
    found = split_of(statement)
    return "train" if found in named or (tested is False and found == "test") else found


def _without_repetitions(entries: Sequence[_Entry], refused: list[Refused]) -> list[_Entry]:
    """Each statement once in a split, up to case and white space; the others are refused."""
    kept: dict[tuple[Split, str], _Entry] = {}
    for entry in entries:
        asked = (entry.split, _normal(entry.statement))
        if asked in kept:
            other = kept[asked]
            reason = repeated(entry.statement, entry.key, other.statement, other.key, other.place)
            refused.append(Refused(place=entry.place, reason=reason))
        kept.setdefault(asked, entry)
    return [*kept.values()]


def _apart(entries: Sequence[_Entry], overlap: str) -> tuple[list[_Entry], dict[str, str]]:
    """Without what overlaps, as `overlap` says, and notes of what did. Raises TaskError if it may not."""
    notes: dict[str, str] = {}
    kept: list[_Entry] = []
    for later in _IN_ORDER:
        own = [entry for entry in entries if entry.split == later]
        for earlier in _IN_ORDER[: _IN_ORDER.index(later)]:
            others = [entry for entry in entries if entry.split == earlier]
            found = overlapping([entry.statement for entry in own], [entry.statement for entry in others])
            same = {_normal(entry.statement) for entry in others}
            equal = {place for place, entry in enumerate(own) if _normal(entry.statement) in same}
            dropped = {*found, *equal} if overlap == "drop" else equal
            if overlap == "refuse" and (found or equal):
                place = min({*found, *equal})
                other = others[found[place]].place if place in found else f"one of {earlier}"
                raise TaskError(
                    f"{len({*found, *equal})} problems of {later} overlap with {earlier}, {len(equal)} of them word "
                    f"for word, first: {own[place].place} with {other}; "
                    f"task.overlap = 'drop' leaves those of {later} out"
                )
            notes[f"overlap_{later}_{earlier}"] = (
                f"{len({*found, *equal})} of {len(own)}, {len(equal)} word for word, {len(dropped)} dropped"
            )
            own = [entry for place, entry in enumerate(own) if place not in dropped]
        kept += own
    return kept, notes


def _tasks(entries: Sequence[_Entry], split: Split, count: int | None, seed: int, judge: MathJudge) -> tuple[Task, ...]:
    """The tasks of a split, at most `count`, in the order of the data. Raises TaskError if there are none."""
    own = [entry for entry in entries if entry.split == split]
    if not own:
        raise TaskError(f"no problem falls into the {split} split; task.sets can name a set for it")
    return tuple(_task(entry, judge) for entry in drawn(own, count, f"mathematics/{seed}/{split}"))


def _task(entry: _Entry, judge: MathJudge) -> Task:
    problem = Problem(
        id=problem_id("mathematics", entry.statement),
        text=entry.statement,
        answer_format=BOXED_FORMAT,
        extract=last_box,
    )
    return Task(problem=problem, key=entry.key, judge=judge.judge, bounded=True, place=entry.place)


def _answerable(key: str) -> bool:
    """True if an answer that is the key, in its box, would be right. Whole numbers need no trial."""
    return key.isdecimal() or (last_box(rf"\boxed{{{key}}}") == key and settled(key, key) == RIGHT)


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()
