"""Reads the rows of tables that are Python objects: data sets of Hugging Face, frames, lists of mappings.

Objects are known by the package of their type, so that no package is imported for it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from counterpoint.errors import TaskError

QUESTIONS: Final = ("question", "problem", "prompt", "instruction", "query")
"""Names of the column with the question, where none is named: the first, or the only other one that is there."""
PROBLEMS: Final = ("problem", "question", "prompt", "instruction", "query")
ANSWERS: Final = ("answer", "answers", "solution", "final_answer", "expected_answer", "target", "label")
_MEDIA: Final = {"Image": "images", "Audio": "sound", "Video": "videos", "Pdf": "pages", "Nifti": "images"}
_WITHIN: Final = ("Dataset", "IterableDataset")
_OF_SEVERAL: Final = ("DatasetDict", "IterableDatasetDict")
_FRAMES: Final = {"polars": ("DataFrame", "LazyFrame"), "pandas": ("DataFrame",), "pyarrow": ("Table",)}
Columns = Mapping[str, Any]


def is_table(made: object) -> bool:
    """True for a data set or a frame, and for a list of mappings that are not all questions with their answers."""
    if _kind(made) is not None:
        return True
    if not isinstance(made, list | tuple) or not made or not all(isinstance(row, Mapping) for row in made):
        return False
    return not all({"question", "answer"} <= row.keys() for row in made)


def table_rows(data: Any, name: str = "data") -> Iterator[tuple[str, str, Columns]]:
    """Place, split and columns of every row; the split is empty where the table has none.

    Raises TaskError if it is no table, or has a column of images, sound or other media.
    """
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
        if _labels(feature) is not None:
            readers[name] = _reader(_labels(feature))
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
    """The value in a column, also inside an object: `answer.text`. Raises TaskError if there is no such column."""
    found: Any = columns
    if name in found:
        return found[name]
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise TaskError(f"there is no column {name!r}; there are: {', '.join(columns)}")
        found = found[part]
    return found


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
        yield from (data.collect() if kind == "LazyFrame" else data).iter_rows(named=True)
    elif package == "pandas":
        yield from ({str(name): _without_nan(value) for name, value in row.items()} for row in data.to_dict("records"))
    elif package == "pyarrow":
        yield from data.to_pylist()
    elif isinstance(data, list | tuple) and all(isinstance(row, Mapping) for row in data):
        yield from data
    else:
        raise TaskError(
            f"task.data is a {type(data).__name__}: allowed are a data set of Hugging Face, a frame of polars or"
            " pandas, a table of pyarrow, and a list of mappings"
        )


def _without_nan(value: Any) -> Any:
    """None where pandas has nothing: NaN, NaT and NA."""
    missing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and math.isnan(value))
    return None if missing else value


def _medium(feature: Any) -> str:
    """The word for the media in a column, also inside lists and objects; empty if there are none."""
    name = type(feature).__name__
    if name in _MEDIA:
        return _MEDIA[name]
    inner = [*feature.values()] if isinstance(feature, Mapping) else [getattr(feature, "feature", None)]
    inner = [*feature] if isinstance(feature, list) else inner
    return next((found for one in inner if one is not None and (found := _medium(one))), "")


def _labels(feature: Any) -> Any:
    """The class labels of a column of them, or of lists of them; None if it has none."""
    inner = getattr(feature, "feature", feature)
    return inner if type(inner).__name__ == "ClassLabel" else None


def _reader(labels: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, list):
            return [read(one) for one in value]
        return labels.int2str(value) if isinstance(value, int) and value >= 0 else None

    return read
