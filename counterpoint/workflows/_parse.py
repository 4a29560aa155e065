"""Parsers of replies. A parser never guesses: a reply that does not plainly say it is read as None."""

import re
from collections.abc import Callable
from typing import TypeVar

from counterpoint.boxes import every_box

_Value = TypeVar("_Value", int, bool)
_INTEGER = re.compile(r"\d{1,4}")
_WORD = re.compile(r"(?:\\text(?:bf|rm)?\{\s*)?(correct|incorrect)(?:\s*\})?", re.IGNORECASE)
_MARK = r"[ \t#*_]*"
_STRATEGY = re.compile(rf"^{_MARK}strategy[ \t]+(\d{{1,4}}){_MARK}[:.](?!\d){_MARK}", re.IGNORECASE | re.MULTILINE)


def read_index(text: str) -> int | None:
    r"""The number in `\boxed{number}`, counted from 0; None without a box, or with several that disagree."""
    number = _agreed(text, lambda box: int(box) if _INTEGER.fullmatch(box) else None)
    return None if number is None else number - 1


def read_verdict(text: str) -> bool | None:
    r"""True for `\boxed{correct}`, False for `\boxed{incorrect}`; None without a box, or with boxes that disagree."""
    return _agreed(text, _verdict)


def read_strategies(text: str, most: int) -> list[str]:
    """The texts after `Strategy 1:`, `Strategy 2:` and so on, at most `most` of them.

    Empty if they are not numbered 1, 2, 3, ... in this order, or if one of them is empty.
    """
    headings = list(_STRATEGY.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    found = [text[heading.end() : end].strip(" \t\r\n#*_") for heading, end in zip(headings, ends, strict=False)]
    numbers = [int(heading[1]) for heading in headings]
    if numbers != list(range(1, len(numbers) + 1)) or not all(found):
        return []
    return found[:most]


def _verdict(box: str) -> bool | None:
    word = _WORD.fullmatch(box)
    return None if word is None else word[1].lower() == "correct"


def _agreed(text: str, read: Callable[[str], _Value | None]) -> _Value | None:
    """The common value of all boxes in the text; None if they disagree, one has no end, or there is none."""
    values = {None if box is None else read(box) for box in every_box(text)}
    return values.pop() if len(values) == 1 else None
