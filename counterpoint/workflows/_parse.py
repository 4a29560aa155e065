"""Parsers of replies. A parser never guesses: a reply that does not plainly say it is read as None."""

import re
from collections.abc import Sequence
from typing import TypeVar

_Value = TypeVar("_Value", int, bool)
_BOX = r"\boxed{"
_BOXED_INTEGER = re.compile(r"\\boxed\{\s*(\d{1,4})\s*\}")
_WORD = r"\s*(correct|incorrect)\s*"
_BOXED_WORD = re.compile(rf"\\boxed\{{(?:{_WORD}|\s*\\text(?:bf|rm)?\{{{_WORD}\}}\s*)\}}", re.IGNORECASE)
_MARK = r"[ \t#*_]*"
_STRATEGY = re.compile(rf"^{_MARK}strategy[ \t]+(\d{{1,4}}){_MARK}[:.](?!\d){_MARK}", re.IGNORECASE | re.MULTILINE)


def read_index(text: str) -> int | None:
    r"""The number in `\boxed{number}`, counted from 0; None without a box, or with several that disagree."""
    number = _agreed(text, [int(found) for found in _BOXED_INTEGER.findall(text)])
    return None if number is None else number - 1


def read_verdict(text: str) -> bool | None:
    r"""True for `\boxed{correct}`, False for `\boxed{incorrect}`; None without a box, or with boxes that disagree."""
    words = [plain or styled for plain, styled in _BOXED_WORD.findall(text)]
    return _agreed(text, [word.lower() == "correct" for word in words])


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


def _agreed(text: str, found: Sequence[_Value]) -> _Value | None:
    """The common value of all boxes in the text; None if they disagree or there is none."""
    values = set(found)
    return values.pop() if len(values) == 1 and len(found) == text.count(_BOX) else None
