"""Read answers out of replies, and keys out of data."""

import json
import math
from collections.abc import Iterator, Sequence, Set
from decimal import Decimal
from typing import Any

from counterpoint.errors import TaskError

BOXED_FORMAT = r"Write the final answer as \boxed{answer}."
MOST_DIGITS = 1000
"""Digits of an integer in data: a longer one is no answer that a model would write."""
_NARROW = ("float16", "float32")


def last_line(text: str) -> str | None:
    """The last line that is not blank; None if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), None)


def whole(text: str) -> str | None:
    """The whole reply; None if it is blank."""
    return text.strip() or None


def keys_of(value: Any, separator: str = "") -> tuple[str, ...]:
    """The answers that are right, of one value or of a list of them, or of text with a `separator` between them.

    Numbers are written as `key_of` says. Raises TaskError with the reason if there is none, or one of them is no text
    and no number.
    """
    if isinstance(value, list | tuple):
        if not value:
            raise TaskError("is an empty list")
        return tuple(dict.fromkeys(map(key_of, value)))
    key = key_of(value)
    parts = [part.strip() for part in key.split(separator)] if separator else [key]
    if not all(parts):
        raise TaskError(f"has an empty answer: {key!r}")
    return tuple(dict.fromkeys(parts))


def task_keys(value: Any) -> tuple[str, ...]:
    """The answers that are right, of whatever a task is made with: blank text is kept, for judges that need no key.

    Raises TaskError with the reason if it is not a number, or an empty list, or holds several answers in no order.
    """
    if isinstance(value, Set | Iterator | bytes | bytearray):
        raise TaskError(f"is {type(value).__name__}, not text, a number, or a list of several answers")
    if isinstance(value, list | tuple | bool | int | float | Decimal) or hasattr(value, "item"):
        return keys_of(value)
    return ("" if value is None else str(value),)


def listed(keys: Sequence[str]) -> str:
    """The key of a task: the only answer that is right, or a JSON list of them."""
    return keys[0] if len(keys) == 1 else json.dumps([*keys], ensure_ascii=False)


def key_of(value: Any) -> str:
    """A value of data as text. Numbers of a JSON file stay as they are written, `true` and `false` are in lower case.

    Other numbers have the fewest digits that tell them from every other number of their own type, and no exponent: 0.1
    for the Float32 0.1, 0.00001 for 1e-05, 5 for 5.0. Raises TaskError with the reason if no answer can equal it.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        narrow = str(getattr(value, "dtype", "")).rpartition(".")[2]
        value = value.item()
        if narrow in _NARROW and math.isfinite(value):
            return shortest(value, narrow)
    match value:
        case None:
            raise TaskError("is empty")
        case bool():
            return "true" if value else "false"
        case float() | Decimal() if not math.isfinite(value):
            raise TaskError(f"is {value}, which no answer can equal")
        case int() if abs(value) >= 10**MOST_DIGITS:
            raise TaskError(f"is a number of more than {MOST_DIGITS} digits")
        case Decimal():
            return format(value, "f")
        case float() if type(value) is float:
            return positional(str(value))
        case str() | int() | float():
            if not str(value).strip():
                raise TaskError("is empty")
            return str(value)
    raise TaskError(f"is {type(value).__name__}, not text or a number")


def shortest(value: float, dtype: str) -> str:
    """A float16 or float32 with the fewest digits that tell it from every other number of its type."""
    import numpy as np

    return positional(str(np.dtype(dtype).type(value)))


def positional(number: str) -> str:
    """A decimal without an exponent, and without digits behind the point if these are zero."""
    whole, point, behind = format(Decimal(number), "f").partition(".")
    return whole if not behind.strip("0") else f"{whole}{point}{behind}"
