"""Judges that compare answers as text and as rational numbers."""

import re
from fractions import Fraction
from typing import ClassVar

from counterpoint.judges.base import Judge
from counterpoint.task import RIGHT, WRONG, Score

_MAX_DIGITS = 400
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LOOSE = re.compile(r"(?<=[-+/])\s+|\s+(?=/)")


async def same_number(answer: str, key: str) -> Score:
    """Right if both denote the same rational number, written plainly (`1,204`, `-3`, `0.5`, `1/2`)."""
    value = _number(answer)
    return RIGHT if value is not None and value == _number(key) else WRONG


async def same_text_or_number(answer: str, key: str) -> Score:
    """Right if both are the same number, or the same text up to case and white space."""
    if _normal(answer) == _normal(key):
        return RIGHT
    return await same_number(answer, key)


class NumberJudge(Judge):
    """The judge "number": right is the same rational number."""

    bounded: ClassVar[bool] = True

    async def judge(self, answer: str, key: str) -> Score:
        return await same_number(answer, key)


class TextJudge(Judge):
    """The judge "text": right is the same number, or the same text up to case and white space."""

    bounded: ClassVar[bool] = True

    async def judge(self, answer: str, key: str) -> Score:
        return await same_text_or_number(answer, key)


def _number(text: str) -> Fraction | None:
    plain = _THOUSANDS.sub("", text.strip().replace("$", "").replace("\u2212", "-"))
    if len(plain) > _MAX_DIGITS or "e" in plain.lower() or "_" in plain:
        return None
    try:
        return Fraction(_LOOSE.sub("", plain))
    except (ValueError, ZeroDivisionError):
        return None


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()
