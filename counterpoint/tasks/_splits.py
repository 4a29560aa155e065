"""Splits that are disjoint by construction: the split of a problem is a function of its text alone."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeVar, get_args

from counterpoint.errors import ConfigError, TaskError

T = TypeVar("T")

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
_NAMES: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_BUCKETS = 100
_VALIDATION = 10
_TEST = 10


def problem_id(prefix: str, text: str) -> str:
    """A short id that is the same for the same text in every run and on every machine."""
    return f"{prefix}-{_digest(text)[:12]}"


def split_of(text: str) -> Split:
    """The split of a problem: 10 % validation, 10 % test, the rest train; equal texts share a split."""
    bucket = int(_digest(text)[12:20], 16) % _BUCKETS
    if bucket < _VALIDATION:
        return "validation"
    return "test" if bucket < _VALIDATION + _TEST else "train"


def split_named(word: str) -> Split | None:
    """The split that a word in a column or the name of a file stands for, such as `dev`; None if it is none."""
    return _NAMES.get(word.strip().casefold())


def check_splits(splits: Mapping[Split, str] | None) -> None:
    """Raises ConfigError unless the option names what is train, and nothing twice; None is no option."""
    if splits is None:
        return
    if "train" not in splits or not all(splits.values()) or len(set(splits.values())) < len(splits):
        raise ConfigError(
            f"task.splits = {dict(splits)!r}: it must name the split of the data that is train, and different ones for "
            "validation and test if it names those"
        )


def named_splits(there: Sequence[str], splits: Mapping[Split, str], source: str) -> dict[str, Split]:
    """The names that the splits of the data have -> the split that each is: as `splits` says, or by their names.

    A single one is divided by the texts of its problems: then, and where there is none, the answer is empty. Raises
    TaskError if one of several has the name of no split.
    """
    if splits:
        return {name: split for split, name in splits.items()}
    if len(there) < 2:
        return {}
    found = {name: split for name in there if (split := split_named(name)) is not None}
    strange = next((name for name in there if name not in found), None)
    if strange is not None:
        raise TaskError(
            f"{source} has the splits {', '.join(there)}: {strange!r} is the name of no split; say with"
            ' task.splits = {train = "...", test = "..."} which are train, validation and test'
        )
    return found


def normal(text: str) -> str:
    """The text of a problem up to case and white space: where it is the same, the problem is the same."""
    return " ".join(text.split()).casefold()


def drawn(items: Sequence[T], count: int | None, stream: str) -> tuple[T, ...]:
    """At most `count` of the items, in their order, chosen by the random `stream` of that name."""
    if count is None or count >= len(items):
        return tuple(items)
    chosen = random.Random(stream).sample(range(len(items)), count)
    return tuple(items[index] for index in sorted(chosen))


def _digest(text: str) -> str:
    return hashlib.sha256(normal(text).encode()).hexdigest()
