"""Reads the rows of tables that are Python objects: data sets of Hugging Face, frames, lists of mappings.

Objects are known by the package of their type, so that no package is imported for it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from counterpoint.errors import CounterpointError, TaskError
from counterpoint.tasks._answers import MOST_DIGITS, shortest

QUESTIONS: Final = ("question", "problem", "prompt", "instruction", "query")
"""Names of the column with the question, where none is named: the first, or the only other one that is there."""
PROBLEMS: Final = ("problem", "question", "prompt", "instruction", "query")
ANSWERS: Final = ("answer", "answers", "solution", "final_answer", "expected_answer", "target", "label")
_MEDIA: Final = {"Image": "images", "Audio": "sound", "Video": "videos", "Pdf": "pages", "Nifti": "images"}
_WITHIN: Final = ("Dataset", "IterableDataset")
_OF_SEVERAL: Final = ("DatasetDict", "IterableDatasetDict")
_FRAMES: Final = {"polars": ("DataFrame", "LazyFrame"), "pandas": ("DataFrame",), "pyarrow": ("Table",)}
_NARROW: Final = ("float16", "float32")
Columns = Mapping[str, Any]


class Written(float):
    """A number of a JSON file. As text it is what the file says: `0.10` and `1e-3` stay as they are."""

    text: str

    def __new__(cls, text: str) -> "Written":
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


def is_table(made: object) -> bool:
    """True for a data set or a frame, and for a list of mappings that are not all questions with their answers."""
    if _kind(made) is not None:
        return True
    if not isinstance(made, list | tuple) or not made or not all(isinstance(row, Mapping) for row in made):
        return False
    return not all({"question", "answer"} <= row.keys() for row in made)


def table_rows(data: Any, name: str = "data") -> Iterator[tuple[str, str, Columns]]:
    """Place, split and columns of every row; the split is empty where the table has none.

    Raises TaskError if it is no table, has a column of images, sound or other media, or cannot be read.
    """
    try:
        yield from _table_rows(data, name)
    except CounterpointError:
        raise
    except Exception as error:  # whatever a stream, a query that is made only now, or its files raise
        first = (str(error).splitlines() or [""])[0]
        raise TaskError(f"{name} cannot be read: {type(error).__name__}: {first}") from error


def _table_rows(data: Any, name: str) -> Iterator[tuple[str, str, Columns]]:
    package, kind = _kind(data) or ("", "")
    if kind in _OF_SEVERAL:
        for split, rows in data.items():
            yield from ((place, str(split), columns) for place, columns in dataset_rows(rows, f"{name}, {split}"))
    elif package == "datasets":
        yield from ((place, str(data.split or ""), columns) for place, columns in dataset_rows(data, name))
    else:
        for number, row in enumerate(_plain_rows(data, package, kind), start=1):
            yield f"{name}, row {number}", "", row


def dataset_rows(rows: Any, place: str) -> Iterator[tuple[str, Columns]]:
    """Place and columns of every row of a data set of Hugging Face; labels of classes are their names.

    Raises TaskError if it has a column of images, sound or other media.
    """
    readers: dict[str, Callable[[Any], Any]] = {}
    for name, feature in (getattr(rows, "features", None) or {}).items():
        media = _medium(feature)
        if media:
            raise TaskError(
                f"{place}: column {name!r} holds {media}, which no role can see; if the questions do without it,"
                f" leave it out first: remove_columns({name!r})"
            )
        reader = _reader(feature)
        if reader is not None:
            readers[name] = reader
    for number, row in enumerate(rows, start=1):
        columns = {name: readers[name](value) if name in readers else value for name, value in row.items()}
        yield f"{place}, row {number}", columns


def chosen(columns: Columns, given: str, names: Sequence[str], option: str, place: str) -> str:
    """The column that is meant: the one given, else the first of `names`, else the only other one that is there.

    Raises TaskError if several others are there.
    """
    if given or names[0] in columns:
        return given or names[0]
    there = [name for name in names if name in columns]
    if len(there) > 1:
        raise TaskError(
            f"{place} has the columns {' and '.join(map(repr, there))}: say with task.{option} which of them is meant;"
            f" there are: {', '.join(columns)}"
        )
    return there[0] if there else names[0]


def value_in(columns: Columns, name: str) -> Any:
    """The value in a column, also inside an object: `answer.text`.

    Raises TaskError if there is no such column, or it holds text that UTF-8 does not have, or a number that is too long
    to be written.
    """
    found: Any = columns
    if name in found:
        return _sound(found[name], name)
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise TaskError(f"there is no column {name!r}; there are: {', '.join(map(str, columns))}")
        found = found[part]
    return _sound(found, name)


def _sound(value: Any, name: str) -> Any:
    for one in _within(value):
        if isinstance(one, str):
            try:
                one.encode()
            except UnicodeEncodeError as error:
                half = one[error.start]
                raise TaskError(f"column {name!r} holds half a character ({half!a}), which is no text") from None
        elif isinstance(one, int) and abs(one) >= 10**MOST_DIGITS:
            raise TaskError(f"column {name!r} is a number of more than {MOST_DIGITS} digits")
    return value


def _within(value: Any) -> Iterator[Any]:
    """The value, or the values and the keys in it, however deep, if it is a list or an object."""
    if isinstance(value, Mapping):
        yield from value
        value = [*value.values()]
    if isinstance(value, list | tuple):
        for one in value:
            yield from _within(one)
    else:
        yield value


def _kind(made: object) -> tuple[str, str] | None:
    """Package and name of the class that makes it a table; None if there is none."""
    for one in type(made).__mro__:
        package = one.__module__.partition(".")[0]
        known = (*_WITHIN, *_OF_SEVERAL) if package == "datasets" else _FRAMES.get(package, ())
        if one.__name__ in known:
            return package, one.__name__
    return None


def _plain_rows(data: Any, package: str, kind: str) -> Iterator[Columns]:
    if package == "polars":
        yield from frame_rows(data.collect() if kind == "LazyFrame" else data)
    elif package == "pandas":
        _check_once([*map(str, data.columns)])
        narrow = {str(name): str(dtype) for name, dtype in data.dtypes.items() if str(dtype).lower() in _NARROW}
        for row in data.to_dict("records"):
            plain = {str(name): _without_nan(value) for name, value in row.items()}
            yield {name: _shortened(value, narrow.get(name)) for name, value in plain.items()}
    elif package == "pyarrow":
        _check_once(data.column_names)
        import polars as pl

        yield from frame_rows(pl.from_arrow(data))
    elif isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        yield from data
    else:
        raise TaskError(
            f"task.data is a {type(data).__name__}: allowed are a data set of Hugging Face, a frame of polars or"
            " pandas, a table of pyarrow, and a list of mappings"
        )


def frame_rows(frame: Any) -> Iterator[dict[str, Any]]:
    """The rows of a frame of polars, in which a narrow float has the digits of its own type: 0.1 for 0.1 as Float32."""
    narrow = {name: dtype for name, dtype in frame.schema.items() if _is_narrow(dtype)}
    for row in frame.iter_rows(named=True):
        for name, dtype in narrow.items():
            row[name] = _as_written(row[name], dtype)
        yield row


def _is_narrow(dtype: Any) -> bool:
    """True for a type of polars of floats of 16 or 32 bits, also inside lists and objects."""
    inner = [field.dtype for field in getattr(dtype, "fields", [])] or [getattr(dtype, "inner", None)]
    return str(dtype).lower() in _NARROW or any(_is_narrow(one) for one in inner if one is not None)


def _as_written(value: Any, dtype: Any) -> Any:
    if isinstance(value, list):
        return [_as_written(one, dtype.inner) for one in value]
    if isinstance(value, dict):
        types = {field.name: field.dtype for field in dtype.fields}
        return {name: _as_written(one, types[name]) for name, one in value.items()}
    return _shortened(value, str(dtype))


def _shortened(value: Any, dtype: str | None) -> Any:
    """A float of 16 or 32 bits with the digits of its own type; anything else as it is."""
    if not isinstance(value, float) or dtype is None or dtype.lower() not in _NARROW:
        return value
    return Written(shortest(value, dtype.lower()) if math.isfinite(value) else str(value))


def _check_once(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TaskError(f"the data has two columns named {twice!r}; rename one of them")


def _without_nan(value: Any) -> Any:
    """None where pandas has nothing: NaN, NaT and NA; the lists that it reads from Parquet as arrays are lists."""
    missing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))
    return None if missing else [*map(_without_nan, value)] if getattr(value, "shape", ()) else value


def _medium(feature: Any) -> str:
    """The word for the media in a column, also inside lists and objects; empty if there are none."""
    name = type(feature).__name__
    if name in _MEDIA:
        return _MEDIA[name]
    inner = [*feature.values()] if isinstance(feature, Mapping) else [getattr(feature, "feature", None)]
    inner = [*feature] if isinstance(feature, list) else inner
    return next((found for one in inner if one is not None and (found := _medium(one))), "")


def _reader(feature: Any) -> Callable[[Any], Any] | None:
    """Reads a value of a column whose labels of classes or narrow floats are not as a person writes them, else None."""
    if isinstance(feature, Mapping):
        known = {name: read for name, one in feature.items() if (read := _reader(one)) is not None}
        return (lambda value: _read_fields(value, known)) if known else None
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    if inner is not None:
        one = _reader(inner)
        return None if one is None else lambda value: _read_items(value, one)
    if type(feature).__name__ == "ClassLabel":
        return lambda value: feature.int2str(value) if isinstance(value, int) and value >= 0 else None
    dtype = getattr(feature, "dtype", None)
    return (lambda value: _shortened(value, dtype)) if dtype in _NARROW else None


def _read_fields(value: Any, known: Mapping[str, Callable[[Any], Any]]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: known[name](one) if name in known else one for name, one in value.items()}


def _read_items(value: Any, read: Callable[[Any], Any]) -> Any:
    """A list of items, or an object of lists, as a list of objects is stored."""
    if isinstance(value, Mapping):
        return {name: [row[name] for row in map(read, _records(value))] for name in value}
    return [*map(read, value)] if isinstance(value, list) else value


def _records(lists: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(lists, items, strict=True)) for items in zip(*lists.values(), strict=True)]
