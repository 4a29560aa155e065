"""The names of a study's cells, which are names of directories, and everything that can be wrong with them."""

import re
from collections.abc import Iterable, Mapping, Sequence

from counterpoint.errors import ConfigError

FIRST = ("workflow", "sharing", "scale", "task")
"""The axes that come first in the name of a cell; the others follow in the order of the file."""
LONGEST = 120
"""Characters of a cell's name; directories and logs add to it, and file systems allow 255."""
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_LIKE_A_SEED = re.compile(r"(.*-)?s\d+", re.IGNORECASE)


def check_label(what: str, label: str) -> None:
    """Raises ConfigError unless a label can be a part of the name of a directory."""
    if not _LABEL.fullmatch(label) or label.endswith("."):
        raise ConfigError(
            f"{what} {label!r} cannot be part of the name of a directory: allowed are letters, digits, and . _ + -"
            " after the first character, at the end no dot"
        )
    if _LIKE_A_SEED.fullmatch(label):
        raise ConfigError(f"{what} {label!r} ends like a seed: names of runs end with -s0, -s1 and so on")


def axis_order(axes: Iterable[str]) -> list[str]:
    """Axes in the order of cell names: workflow, sharing, scale, task, then the others as given."""
    given = list(axes)
    return [axis for axis in FIRST if axis in given] + [axis for axis in given if axis not in FIRST]


def joined(labels: Mapping[str, str], first: Sequence[str] = ()) -> str:
    """The name of a group of runs that differ in their seeds alone; `first` comes before its labels."""
    return "-".join([*first, *(labels[axis] for axis in axis_order(labels))])


def check_names(groups: Mapping[str, Sequence[str]]) -> None:
    """Raises ConfigError if a name is too long, or two groups would have the same directory.

    `groups` are name -> descriptions of the groups with this name.
    """
    for name, who in groups.items():
        if len(who) > 1:
            raise ConfigError(f"{who[0]} and {who[1]} would both be named {name!r}: rename a label")
        if len(name) > LONGEST:
            raise ConfigError(
                f"the name {name[:40]}... has {len(name)} characters, allowed are {LONGEST}: shorten labels"
            )
    seen: dict[str, str] = {}
    for name in groups:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ConfigError(
                f"{other!r} and {name!r} differ only in case, and would be one directory on some file systems: rename a"
                " label"
            )
