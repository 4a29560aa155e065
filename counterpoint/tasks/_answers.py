"""Read answers out of replies, and keys out of data."""

import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from counterpoint.errors import TaskError

BOXED_FORMAT = r"Write the final answer as \boxed{answer}."
_MOST_DIGITS = 1000


def last_line(text: str) -> str | None:
    """The last line that is not blank; None if there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), None)


def whole(text: str) -> str | None:
    """The whole reply; None if it is blank."""
    return text.strip() or None


def keys_of(value: Any, separator: str = "") -> tuple[str, ...]:
    """The answers that are right, of one value or of a list of them, or of text with a `separator` between them.

    Numbers are kept as they are written; true and false are text in lower case. Raises TaskError with the reason if
    there is none, or one of them is no text and no number.
    """
    if isinstance(value, list | tuple):
        if not value:
            raise TaskError("is an empty list")
        return tuple(dict.fromkeys(key for one in value for key in (_key(one),)))
    key = _key(value)
    parts = [part.strip() for part in key.split(separator)] if separator else [key]
    if not all(parts):
        raise TaskError(f"has an empty answer: {key!r}")
    return tuple(dict.fromkeys(parts))


def task_keys(value: Any) -> tuple[str, ...]:
    """The answers that are right, of whatever a task is made with: blank text is kept, for judges that need no key.

    Raises TaskError with the reason if it is not a number, or an empty list.
    """
    if isinstance(value, list | tuple | bool | float) or hasattr(value, "item"):
        return keys_of(value)
    return ("" if value is None else str(value),)


def listed(keys: Sequence[str]) -> str:
    """The key of a task: the only answer that is right, or a JSON list of them."""
    return keys[0] if len(keys) == 1 else json.dumps([*keys], ensure_ascii=False)


def _key(value: Any) -> str:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    match value:
        case None:
            raise TaskError("is empty")
        case bool():
            return "true" if value else "false"
        case float() | Decimal() if not math.isfinite(value):
            raise TaskError(f"is {value}, which no answer can equal")
        case int() if value.bit_length() > 4 * _MOST_DIGITS:
            raise TaskError(f"is a number of more than {_MOST_DIGITS} digits")
        case str() | int() | float() | Decimal():
            if not str(value).strip():
                raise TaskError("is empty")
            return str(value)
    raise TaskError(f"is {type(value).__name__}, not text or a number")
