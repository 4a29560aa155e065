r"""Takes values and units apart: `12\pi \text{ cm}^2` is `12\pi` of the unit cm^2.

Letters without `\text` are unknowns: `3m` is 3 times m, and `2xy` has no unit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from counterpoint.judges.mathematics.notation import has_angles
from counterpoint.judges.mathematics.text import number, parts_of
from counterpoint.judges.mathematics.units import (
    ABBREVIATIONS,
    SCALES,
    WORDS_OF_MATHEMATICS,
    excluded,
    other_unit,
    unit_named,
)

_TEXT: Final = re.compile(r"\\text\s*\{([^{}]*)\}")
_POWER: Final = r"(?:\s*\^\s*\{?\s*-?\d\s*\}?)?"
_MARKED: Final = rf"\\text\s*\{{(?:[^{{}}\d^]|\^\s*-?\d)*\}}{_POWER}"
_OF_TWO: Final = rf"\\frac\s*\{{\s*{_MARKED}\s*\}}\s*\{{\s*{_MARKED}\s*\}}"
_MARKED_UNIT: Final = re.compile(
    rf"\s*(?P<unit>(?:{_MARKED}|{_OF_TWO})(?:\s*(?:(?:/|\\cdot|\*|-)\s*)?(?:{_MARKED}|{_OF_TWO}))*)\s*$"
)
_DEGREES: Final = re.compile(
    r"\s*(?P<unit>\^\s*\\circ\s*(?:\\text\s*\{\s*)?(?:C|F|Celsius|Fahrenheit|celsius|fahrenheit)?(?:\s*\})?)\s*$"
)
_BARE_UNIT: Final = re.compile(
    r"(?:(?<=[\d})\]])\s*|(?<=[a-z])\s+)(?P<unit>(?:(?<=\s)[a-zA-Z]{2,}|(?<=\d)[a-z]{2,})"
    rf"[a-zA-Z ./-]*{_POWER})\s*$"
)
_SHORT_UNIT: Final = re.compile(
    rf"(?<=[\d}})\]a-z])\s*(?P<unit>(?<![a-zA-Z])[a-zA-Z]+{_POWER}(?:\s*/\s*[a-zA-Z]+{_POWER})?)\s*$"
)
_PERCENT: Final = re.compile(r"(?P<value>.*?)\s*(?:\\?%|\s*\\text\s*\{\s*(?:%|\\%|percent)\s*\}|\s+percent)", re.DOTALL)
_INVERSE: Final = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)\s*\^\s*\{\s*-\s*1\s*\}")
_NUMBER_END: Final = re.compile(r"(?:[\d})\]%!]|\\pi)$")
_LETTER_END: Final = re.compile(r"[a-zA-Z'|]$")
_NO_OPERAND: Final = re.compile(
    r"\\(?:le|ge|ne|lt|gt|in|notin|to|cdot|times|div|cup|cap|setminus|pm|mp|approx|sim|equiv|mid|mod|cong|subset|and|or"
    r"|implies|(?:left|right)arrow|text\s*\{[^{}]*\})$"
)
_VERBS: Final = frozenset(
    ("is", "was", "has", "does", "exists", "converges", "diverges", "vanishes", "equals", "divides")
)
_LONG: Final = 4
"""Letters of what is taken for a word without `\\text`; one letter less is enough for a word that stands apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A value with what it counts."""

    value: str
    unit: str = ""
    """One name for each unit, "" if there is none or it is not known."""
    percent: bool = False
    words: str = ""
    """The words behind the value, a unit or not."""


def quantity(text: str, beside: str = "") -> Quantity:
    """A cleaned text taken apart: its value, its unit if it has one, and whether that is per cent.

    `beside` is the unit of what it is compared with: if that is m, `3m` is three metres.
    """
    percent = _PERCENT.fullmatch(text)
    if percent is not None:
        return Quantity(value=percent["value"].strip(), percent=True)
    parts = parts_of(text)
    if len(parts) > 1:
        return _listed(text, [quantity(part.strip(), beside) for part in parts])
    for pattern in (_MARKED_UNIT, _DEGREES, _BARE_UNIT):
        match = pattern.search(text)
        if match is None or (pattern is _DEGREES and has_angles(text)):
            continue
        value, unit = text[: match.start()].strip(), _words(match["unit"])
        kind = "marked" if pattern is not _BARE_UNIT else "bare" if " " in match[0] else "attached"
        if _counts(value, unit, kind):
            return _counted(text, value, unit)
    short = _SHORT_UNIT.search(text) if beside else None
    if short is not None and unit_named(_words(short["unit"])) == beside:
        return Quantity(value=text[: short.start()].strip(), unit=beside)
    return Quantity(value=text)


def quantities(found: str, right: str) -> tuple[Quantity, Quantity]:
    """Both texts taken apart, each with regard to the unit of the other."""
    one, other = quantity(found), quantity(right)
    if one.value == found and other.unit:
        one = quantity(found, other.unit)
    elif other.value == right and one.unit:
        other = quantity(right, one.unit)
    return one, other


def incomparable(one: Quantity, other: Quantity) -> str:
    """The reason why two quantities differ whatever their values: another unit, or opposite words; "" for none."""
    if other_unit(one.unit, other.unit):
        return f"it is in {one.unit}, not in {other.unit}"
    return f"it says {one.words}, not {other.words}" if excluded(one.words, other.words) else ""


def in_circles(text: str) -> bool:
    r"""True if a cleaned text names an angle by `\pi` or by an inverse function such as the arc sine."""
    return r"\pi" in text or r"\arc" in text or _INVERSE.search(text) is not None


def radians(text: str) -> str:
    """A cleaned angle in degrees, or a list of them, in radians."""
    return ", ".join(rf"\frac{{({quantity(part.strip()).value})\pi}}{{180}}" for part in parts_of(text))


def _listed(text: str, parts: Sequence[Quantity]) -> Quantity:
    """A list in one unit, which stands behind every member or some; without a unit if there are several."""
    units = {part.unit for part in parts if part.unit}
    if len(units) > 1 or any(part.percent for part in parts):
        return Quantity(value=text)
    values = parts[0].value
    for before, part, written in zip(parts, parts[1:], parts_of(text)[1:], strict=False):
        # Behind a number alone, as in `1,250 m`, a comma without a space may group its digits.
        values += ("," if not before.words and written[:1].isdigit() else ", ") + part.value
    return (
        Quantity(value=values, unit="".join(units), words=parts[-1].words)
        if any(units) or parts[-1].words
        else (Quantity(value=text))
    )


def _counted(text: str, value: str, unit: str) -> Quantity:
    """A value with what it counts, multiplied by a scale such as million; the text itself if it has no such number."""
    first, _, others = unit.partition(" ")
    if first.casefold() in SCALES:
        base = number(value)
        scaled = None if base is None else str(base * SCALES[first.casefold()])
        return Quantity(value=text) if scaled is None else Quantity(value=scaled, unit=unit_named(others), words=others)
    percent = _PERCENT.fullmatch(value)
    if percent is not None:
        return Quantity(value=percent["value"].strip(), percent=True, words=unit)
    return Quantity(value=value, unit=unit_named(unit), words=unit)


def _counts(value: str, unit: str, kind: str) -> bool:
    r"""True if the words behind a value say what it counts; `kind` is marked (`\text`), bare, or attached (`5cm`)."""
    words = unit.casefold().split()
    named = unit_named(unit)
    if not value or not words or _NO_OPERAND.search(value) or (words[0] == "in" and len(words) > 1):
        return False
    if WORDS_OF_MATHEMATICS.intersection(words) and not named and words[0] not in SCALES:
        return False
    if _NUMBER_END.search(value):
        return kind == "marked" or bool(named) or any(word in ABBREVIATIONS or _is_word(word, kind) for word in words)
    if not _LETTER_END.search(value):
        return False
    if kind == "marked":
        return bool(named) or (words[-1].endswith("s") and words[-1] not in _VERBS)
    return bool(named) and len(words[0]) > 1 and words[0] not in WORDS_OF_MATHEMATICS


def _is_word(word: str, kind: str) -> bool:
    """True for `apples`, and for `cat` if it stands apart; False for a product such as `xyz` or `abc`."""
    vowel = re.search("[aeiou]", word[1:]) is not None
    return vowel and word.isalpha() and (len(word) >= _LONG or (kind == "bare" and len(word) == _LONG - 1))


def _words(unit: str) -> str:
    r"""The words of a unit: without `\\text`, braces and full stops, a fraction with a slash."""
    bare = re.sub(r"\^\s*\{?\s*(-?\d)\s*\}?", r"^\1", _TEXT.sub(lambda one: f" {one[1]} ", unit))
    bare = re.sub(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"\1/\2", bare)
    bare = re.sub(r"\\cdot|[*~]|-(?!\d)", " ", bare).replace("{", "").replace("}", "").replace(".", "")
    return " ".join(re.sub(r"\s*\^\s*", "^", bare).split())
