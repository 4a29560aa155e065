"""Judges that compare answers as text and as rational numbers."""

import re
from fractions import Fraction
from typing import ClassVar

from counterpoint.judges._plain import amount, plain
from counterpoint.judges.base import Judge
from counterpoint.task import RIGHT, WRONG, Score

_MAX_DIGITS = 400
_MARGIN = 1000
"""Characters by which an answer may be longer than four times its key."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LOOSE = re.compile(r"(?<=[-+/])\s+|\s+(?=/)")


async def same_number(answer: str, key: str) -> Score:
    """Right if both denote the same rational number, written plainly (`1,204`, `-3`, `0.5`, `1/2`)."""
    value = _number(answer)
    return RIGHT if value is not None and value == _number(key) else WRONG


async def same_text_or_number(answer: str, key: str) -> Score:
    r"""Right if both are the same number, or the same text as a person reads it.

    Case, white space, markup (`\text{Paris}`, `**Paris**`, `$5$`), quotation marks, a leading article and a final full
    stop do not count. `50%` is neither 50 nor 0.5.
    """
    return _compared(answer, key, percent=False, text=True)


def alike(answer: str, key: str) -> bool:
    """True if `same_text_or_number` finds the answer right."""
    return _compared(answer, key, percent=False, text=True) == RIGHT


class NumberJudge(Judge):
    """The judge "number": right is the same rational number. With `percent`, `50%` is the number 0.5."""

    bounded: ClassVar[bool] = True

    def __init__(self, *, percent: bool = False) -> None:
        self._percent = percent

    async def judge(self, answer: str, key: str) -> Score:
        return _compared(answer, key, percent=self._percent, text=False)

    def takes(self, key: str) -> bool:
        return _compared(key, key, percent=self._percent, text=False).reward == 1.0


class TextJudge(Judge):
    """The judge "text": right is the same number, or the same text as a person reads it: see `same_text_or_number`.

    With `percent`, `50%` is the number 0.5.
    """

    bounded: ClassVar[bool] = True

    def __init__(self, *, percent: bool = False) -> None:
        self._percent = percent

    async def judge(self, answer: str, key: str) -> Score:
        return _compared(answer, key, percent=self._percent, text=True)

    def takes(self, key: str) -> bool:
        return _compared(key, key, percent=self._percent, text=True).reward == 1.0


def _compared(answer: str, key: str, *, percent: bool, text: bool) -> Score:
    if len(answer) > _MARGIN + 4 * len(key):
        return Score(reward=0.0, reason=f"it has {len(answer)} characters")
    found, right = plain(answer), plain(key)
    if text and found and found == right:
        return RIGHT
    value, wanted = amount(found, percent=percent), amount(right, percent=percent)
    return RIGHT if value is not None and wanted is not None and value.equals(wanted) else WRONG


def _number(text: str) -> Fraction | None:
    plain_text = _THOUSANDS.sub("", text.strip().replace("$", "").replace("\u2212", "-"))
    if len(plain_text) > _MAX_DIGITS or "e" in plain_text.lower() or "_" in plain_text:
        return None
    try:
        return Fraction(_LOOSE.sub("", plain_text))
    except (ValueError, ZeroDivisionError):
        return None
