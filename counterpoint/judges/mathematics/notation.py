r"""Rewrites notation whose meaning depends on what stands around it: prices, and angles in degrees under a sine."""

import re
from fractions import Fraction
from typing import Final
from unicodedata import normalize

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
    rf"\\(?:text|mathrm|operatorname)\s*\{{\s*({_FUNCTIONS}|log|ln)\s*\}}(?=\s*[\\({{\d^a-z])"
    rf"|(?<![a-zA-Z\\{{])({_FUNCTIONS}|(?:log|ln|exp)(?=\())(?=[\s({{\\^\d])"
)
_PI: Final = re.compile(r"(?<![a-zA-Z\\{])pi(?![a-zA-Z])")
_ANGLES: Final = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![a-zA-Z])")
_SPELLED: Final = re.compile(r"(?<=[\d}a-z)])\s*(?:\\text\s*\{\s*(?:degrees?|deg\.?)\s*\}|(?:degrees?|deg)(?![a-z]))")
_CIRCLE: Final = re.compile(r"\s*\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})")
_MINUTES: Final = re.compile(r"\s*(\d+)\s*(?:'|\^\s*\{?\s*\\prime\s*\}?)(?!')")
_PRIMES: Final = r"\s*(?:{0}|\^\s*\{{?\s*(?:\\prime\s*){1}\}}?)"
_WITH_MINUTES: Final = re.compile(
    rf"(\d+)\s*\^\s*\\circ\s*(\d{{1,2}}){_PRIMES.format(chr(39), '{1}')}"
    rf"(?:\s*(\d{{1,2}}){_PRIMES.format(chr(39) * 2, '{2}')})?"
)
_SINGLE: Final = re.compile(
    r"(?:\d+(?:\.\d+)?|\\frac\s*\d\d)?\s*(?:(?<![a-zA-Z\\])[a-zA-Z]|\\(?:theta|alpha|beta|gamma|phi|varphi))?$"
)
_DECIMAL: Final = re.compile(r"\d+(?:\.\d+)?")
_INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_STYLED: Final = re.compile("[\uff01-\uff5e\U0001d400-\U0001d7ff]+")
_RAISED: Final = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_ROOT: Final = re.compile(r"(?:\u221a|(?<![a-zA-Z\\])sqrt(?=\())\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[a-z]))")
_FUNCTION: Final = re.compile(
    r"\\(?:(?P<angle>(?:arc)?(?:sin|cos|tan)h?|cot|sec|csc)|ln|log|exp)(?![a-zA-Z])\s*"
    r"(?:[_^]\s*(?:\{[^{}]*\}|\\[a-zA-Z]+|\w)\s*)*"
)
_END: Final = re.compile(r"[-+=<>,|&/*)}\]]|\\(?:[^a-zA-Z]|(?:cdot|times|[lg]e|to|approx|c[ua]p|pm|mp)(?![a-zA-Z]))")
_OF_AN_ANGLE: Final = re.compile(r"[^-+=<>,]*?(?:\\pi|\\circ)")


def priced(text: str) -> str:
    r"""A text that is one price, with its currency as a unit: `5\text{ dollars}` for `\$5`; any other text as it is."""
    match = _PRICE.fullmatch(text)
    if match is None:
        return text
    currency = next(name for name in ("dollars", "pounds", "euros", "rupees", "yen") if match[name])
    return rf"{match['before']}{match['price']}\text{{ {currency}}}{match['after']}"


def upright(text: str) -> str:
    r"""With `\sin` for `\text{sin}`, `\operatorname{sin}` and `sin`, and likewise for other functions and for `pi`."""
    return _PI.sub(r"\\pi ", _UPRIGHT.sub(lambda one: rf"\{one[1] or one[2]} ", text))


def in_ascii(text: str) -> str:
    r"""With `\sqrt{12}` for a root sign or `sqrt(12)`, `^{12}` for raised digits, and nothing invisible."""
    text = _STYLED.sub(lambda one: normalize("NFKC", one[0]), _INVISIBLE.sub("", text))
    text = _RAISED.sub(lambda one: f"^{{{normalize('NFKC', one[0])}}}", text)
    return _ROOT.sub(lambda one: rf"\sqrt{{{one[1] or one[2] or ''}}}", text)


def separated(text: str) -> str:
    r"""With brackets around the argument of a function before a sign of multiplication: `\cos (x)\cdot 2`.

    The grammar takes what follows for a part of the argument, as it is in `\cos 2\cdot\frac{\pi}{3}`. A logarithm's
    argument ends at a slash too.
    """
    done = ""
    while (function := _FUNCTION.search(text)) is not None:
        done, text = done + text[: function.end()], text[function.end() :]
        end = _end_of_argument(text)
        argument, rest = text[:end].strip(), text[end:]
        ends = rest.startswith(("\\cdot", "\\times", "*")) or (rest.startswith("/") and not function["angle"])
        of_an_angle = function["angle"] and _DECIMAL.fullmatch(argument) and _OF_AN_ANGLE.match(rest)
        if argument and ends and not of_an_angle and not argument.startswith("("):
            done, text = f"{done}({separated(argument)})", rest
    return done + text


def _end_of_argument(text: str) -> int:
    """The place behind the argument of a function with which a text begins."""
    place = len(text) - len(text.lstrip())
    if text[place : place + 1] == "|":
        place = text.find("|", place + 1) + 1
    depth = 0
    while place < len(text):
        sign = text[place]
        if depth == 0 and _END.match(text, place) and (sign != "-" or text[:place].strip()):
            return place
        depth += (sign in "{([") - (sign in "})]")
        place += 1
    return place


def has_angles(text: str) -> bool:
    """True if a function of an angle, such as a sine, is in the text."""
    return _ANGLES.search(text) is not None


def in_degrees(text: str) -> str:
    r"""A text that is one angle with its minutes, as degrees alone: `\frac{75}{2}^\circ` for `37^\circ 30'`."""
    angle = _WITH_MINUTES.fullmatch(text)
    if angle is None:
        return text
    turn = Fraction(angle[1]) + Fraction(int(angle[2]), 60) + Fraction(int(angle[3] or 0), 3600)
    return rf"\frac{{{turn.numerator}}}{{{turn.denominator}}}^\circ"


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
