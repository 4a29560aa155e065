"""The names under which trackers show numbers and recipes."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

GROUPS = {
    "episode": "team",
    "role": "roles",
    "gradient": "gradients",
    "loss": "losses",
    "policy": "policies",
    "eval": "evaluation",
    "final": "final",
    "time": "time",
    "warning": "warnings",
}
"""First part of a name in `metrics.jsonl` -> the group in which trackers show it."""
_OF_ROLES = "_roles"
"""After a group: the numbers of roles in evaluations, which are most of them, have a section of their own."""
OTHERS = "own"
"""The group of every other number, such as those of diagnostics of your own."""
_ESCAPE = ":"
_NOT_A_PATH = re.compile(r"(?:^|(?<=/))(?:/|\.{1,2}(?=/|$))|/$")
"""The parts that a path must not have, to be the same once it is made plain."""


def tracked_name(name: str) -> str:
    """The name that trackers show for a number that the run records under `name`."""
    first, slash, rest = name.partition("/")
    if not slash or first not in GROUPS:
        return f"{OTHERS}/{name}"
    split, _, number = rest.partition("/")
    if first in ("eval", "final") and number.startswith("role/"):
        return f"{GROUPS[first]}{_OF_ROLES}/{split}/{number.removeprefix('role/')}"
    return f"{GROUPS[first]}/{rest}"


def escaped(name: str) -> str:
    """The name with every character but ASCII letters, digits and `_ - . /` as `:` and the hexadecimal of its bytes.

    So are a slash without a name before or after it, and the dots of a part that is `.` or `..`.
    """
    is_odd = {place for found in _NOT_A_PATH.finditer(name) for place in range(*found.span())}
    return "".join(
        one if one.isascii() and (one.isalnum() or one in "_-./") and place not in is_odd else _bytes(one)
        for place, one in enumerate(name)
    )


def _bytes(character: str) -> str:
    return "".join(f"{_ESCAPE}{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a recipe, dotted, with its value as text."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
