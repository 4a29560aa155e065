"""Read answers out of replies and compare them."""

from fractions import Fraction

from counterpoint.task import RIGHT, WRONG, Score

BOXED_FORMAT = r"Write the final answer as \boxed{answer}."
_OPENING = r"\boxed{"
_MAX_DIGITS = 400


def boxes(text: str) -> list[str]:
    r"""The contents of every `\boxed{...}` in `text`, in order, braces balanced; an unclosed box is none."""
    found: list[str] = []
    start = text.find(_OPENING)
    while start >= 0:
        begin = start + len(_OPENING)
        end = _closing_brace(text, begin)
        if end is not None:
            found.append(text[begin:end].strip())
        start = text.find(_OPENING, begin)
    return found


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`; None if there is none or it is empty."""
    found = boxes(text)
    return found[-1] or None if found else None


async def same_number(answer: str, key: str) -> Score:
    """Right if both denote the same rational number, written plainly (`1,204`, `-3`, `0.5`, `1/2`)."""
    value = _number(answer)
    return RIGHT if value is not None and value == _number(key) else WRONG


async def same_text_or_number(answer: str, key: str) -> Score:
    """Right if both are the same number, or the same text up to case and white space."""
    if _normal(answer) == _normal(key):
        return RIGHT
    return await same_number(answer, key)


def _closing_brace(text: str, begin: int) -> int | None:
    depth = 1
    for position in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return None


def _number(text: str) -> Fraction | None:
    plain = text.strip().replace(",", "").replace("$", "").replace("\u2212", "-")
    if len(plain) > _MAX_DIGITS or "e" in plain.lower() or "_" in plain:
        return None
    try:
        return Fraction(plain.replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        return None


def _normal(text: str) -> str:
    return " ".join(text.split()).casefold()
