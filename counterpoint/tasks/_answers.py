"""Read answers out of replies and compare them."""

import re
from fractions import Fraction

from counterpoint.task import RIGHT, WRONG, Score

BOXED_FORMAT = r"Write the final answer as \boxed{answer}."
_BRACE = re.compile(r"\\boxed\{|[{}]")
_LOOSE = re.compile(r"(?<=[-+/])\s+|\s+(?=/)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_MAX_DIGITS = 400


def boxes(text: str) -> list[str]:
    r"""The contents of every `\boxed{...}` in `text`, in order, braces balanced; an unclosed box is none."""
    return [text[begin:end].strip() for begin, end in _box_spans(text)]


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`; None if there is none or it is empty."""
    spans = _box_spans(text)
    if not spans:
        return None
    begin, end = spans[-1]
    return text[begin:end].strip() or None


async def same_number(answer: str, key: str) -> Score:
    """Right if both denote the same rational number, written plainly (`1,204`, `-3`, `0.5`, `1/2`)."""
    value = _number(answer)
    return RIGHT if value is not None and value == _number(key) else WRONG


async def same_text_or_number(answer: str, key: str) -> Score:
    """Right if both are the same number, or the same text up to case and white space."""
    if _normal(answer) == _normal(key):
        return RIGHT
    return await same_number(answer, key)


def _box_spans(text: str) -> list[tuple[int, int]]:
    """Where the content of each box begins and ends, in the order of the beginnings; in one pass over the text."""
    spans = []
    opened: list[re.Match[str]] = []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace)
        elif opened:
            opening = opened.pop()
            if opening[0] != "{":
                spans.append((opening.end(), brace.start()))
    return sorted(spans)


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
