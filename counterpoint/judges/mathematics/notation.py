r"""Rewrites notation whose meaning depends on what stands around it: prices, and angles in degrees under a sine."""

import re
from fractions import Fraction
from typing import Final

_SCALE: Final = r"(?:\s*(?:\\text\s*\{\s*)?(?:thousand|million|billion|trillion)(?:\s*\})?)?"
_PRICE: Final = re.compile(
    r"(?P<before>[\s$]*+-?)\s*"
    r"(?:(?P<dollars>(?:US|\\(?:text|mathrm)\s*\{\s*US\s*\})?\\\$)|(?P<pounds>\u00a3)|(?P<euros>\u20ac)"
    r"|(?P<rupees>Rs\.?|\\(?:text|mathrm)\s*\{\s*Rs\.?\s*\}|\u20b9)|(?P<yen>\u00a5))"
    rf"\s*(?P<price>-?\.?\d(?:[\d.,{{}}\\!]*[\d}}])?{_SCALE})(?P<after>[\s.$]*)"
)
_FUNCTIONS: Final = r"(?:arcsin|arccos|arctan|sin|cos|tan|cot|csc)"
"""Without sec, which also means seconds."""
_UPRIGHT: Final = re.compile(
    rf"\\(?:text|mathrm|operatorname)\s*\{{\s*({_FUNCTIONS}|log|ln)\s*\}}(?=\s*[\\({{\d^a-z])|(?<![a-zA-Z\\{{])({_FUNCTIONS})(?=[\s({{\\^\d])"
)
_ANGLES: Final = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_SPELLED: Final = re.compile(r"(?<=[\d}a-z)])\s*(?:\\text\s*\{\s*(?:degrees?|deg\.?)\s*\}|(?:degrees?|deg)(?![a-z]))")
_CIRCLE: Final = re.compile(r"\s*\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})")
_MINUTES: Final = re.compile(r"\s*(\d+)\s*(?:'|\^\s*\{?\s*\\prime\s*\}?)(?!')")
_SINGLE: Final = re.compile(
    r"(?:\d+(?:\.\d+)?|\\frac\s*\d\d)?\s*(?:(?<![a-zA-Z\\])[a-zA-Z]|\\(?:theta|alpha|beta|gamma|phi|varphi))?$"
)
_DECIMAL: Final = re.compile(r"\d+(?:\.\d+)?")


def priced(text: str) -> str:
    r"""A text that is one price, with its currency as a unit: `5\text{ dollars}` for `\$5`; any other text as it is."""
    match = _PRICE.fullmatch(text)
    if match is None:
        return text
    currency = next(name for name in ("dollars", "pounds", "euros", "rupees", "yen") if match[name])
    return rf"{match['before']}{match['price']}\text{{ {currency}}}{match['after']}"


def upright(text: str) -> str:
    r"""With `\sin` for `\text{sin}`, `\operatorname{sin}` and `sin`, and likewise for the other functions of angles."""
    return _UPRIGHT.sub(lambda one: rf"\{one[1] or one[2]} ", text)


def has_angles(text: str) -> bool:
    """True if a function of an angle, such as a sine, is in the text."""
    return _ANGLES.search(text) is not None


def in_radians(text: str) -> str:
    r"""With every angle in degrees written in radians, exactly: `\cos {(\frac{1 \pi}{9})}` for `\cos 20^\circ`."""
    text = _SPELLED.sub(r"^\\circ", text)
    done = ""
    while (circle := _CIRCLE.search(text)) is not None:
        before, text = text[: circle.start()], text[circle.end() :]
        start = _start_of_operand(before)
        minutes = _MINUTES.match(text)
        angle = _angle(before[start:].strip(), minutes[1] if minutes else "")
        text = text[minutes.end() :] if minutes else text
        done += before[:start] + (angle or rf"{before[start:]}^\circ")
    return done + text


def _start_of_operand(text: str) -> int:
    """The place in `text` where the operand begins that ends it: a group in brackets, or a number and a letter."""
    if not text.endswith((")", "}")):
        single = _SINGLE.search(text)
        return single.start() if single else len(text)
    start = _opening(text, len(text) - 1)
    if text.endswith("}"):
        if text[:start].rstrip().endswith("}"):
            earlier = _opening(text, len(text[:start].rstrip()) - 1)
            if text[:earlier].rstrip().endswith(r"\frac"):
                return text[:earlier].rindex(r"\frac")
        if text[:start].rstrip().endswith((r"\sqrt", r"\frac")):
            return text[:start].rindex("\\")
    return start


def _opening(text: str, closing: int) -> int:
    """The place of the bracket that the one at `closing` closes; 0 if there is none."""
    depth = 0
    for place in range(closing, -1, -1):
        depth += (text[place] in ")}") - (text[place] in "({")
        if depth == 0:
            return place
    return 0


def _angle(degrees: str, minutes: str) -> str:
    """An angle in radians; empty if there is none."""
    bare = degrees[1:-1].strip() if degrees[:1] + degrees[-1:] in ("()", "{}") else degrees
    if not bare:
        return ""
    if not _DECIMAL.fullmatch(bare):
        return "" if minutes else rf"{{(\frac{{({bare}) \pi}}{{180}})}}"
    turn = (Fraction(bare) + Fraction(int(minutes or 0), 60)) / 180
    return rf"{{(\frac{{{turn.numerator} \pi}}{{{turn.denominator}}})}}"
