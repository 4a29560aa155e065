r"""Reads mathematical answers as text and rational numbers: exact, in one pass, without any library.

Most answers are settled here: same text, or two numbers written plainly (`1{,}204`, `\dfrac34`, `2\frac12`, `3\times
10^{-4}`, `0.\overline{3}`, `5\text{ cm}`, `40\%`). A decimal is the number that it denotes: 0.333 is not 1/3.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from counterpoint.judges.mathematics.notation import (
    has_angles,
    in_ascii,
    in_degrees,
    in_radians,
    priced,
    separated,
    upright,
)

_SYMBOLS: Final = str.maketrans(
    {
        "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ",
        "\u00f7": "/", "\u03c0": r"\pi ", "\u221e": r"\infty ", "\u2264": r"\le ", "\u2265": r"\ge ",
        "\u2260": r"\ne ", "\u00b1": r"\pm ", "\u00b0": r"^\circ ", "\u221a": r"\sqrt ", "\u221b": r"\sqrt[3]",
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2236": ":", "\u2248": r"\approx ",
        "\u2153": r"\frac{1}{3}", "\u2154": r"\frac{2}{3}",
        "\u222a": r"\cup ",
        "\u2229": r"\cap ", "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u00bd": r"\frac{1}{2}",
        "\u00bc": r"\frac{1}{4}", "\u00be": r"\frac{3}{4}", "\u2044": "/",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\uff05": "%", "\uff0c": ",", "\u20ac": "", "\u00a3": "",
        "\u201c": "", "\u201d": "", "\u00a2": r"\text{ cents}", "\u2032": "'", "\u2033": "''",
        "\u2261": r"\equiv ", "\u2026": "...",
    }
)  # fmt: skip
_REWRITTEN: Final = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\$|\$|(?<!\\)\\[()\[\]]", ""),
        (r"\\m?(?:left|right)\s*\.", ""),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\colon(?![a-zA-Z])", ":"),
        (r"\\[lc]?dots[bcim]?(?![a-zA-Z])|\.\.\.(?=\s*[^\s.])", r"\\dots "),
        (r"\\(?:mathbb|Bbb)\s*\{?\s*([RZNQC])(?![a-zA-Z])\s*\}?", r"\\mathbb{\1}"),
        (r"\\(?:R|[Rr]eals)(?![a-zA-Z])", r"\\mathbb{R}"),
        (r"\(\s*(?:\\text\s*\{\s*mod\s*\}|\\?mod)\s*\{?\s*(\d+)\s*\}?\s*\)", r"\\pmod{\1}"),
        (r"\\langle(?![a-zA-Z])", "("),
        (r"\\rangle(?![a-zA-Z])", ")"),
        (r"\\(?:m?left|m?right|[bB]igg?[lrm]?|displaystyle|textstyle|limits|boldsymbol)(?![a-zA-Z])", ""),
        (r"(?<=\d)(?:\\[,!]\s*|\{,\}\s*|,\\!\s*)(?=\d{3}(?!\d))", ","),
        (r"\\!", ""),
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![a-zA-Z]))|~|\{,\}(?!\d)", " "),
        (r"\{,\}", ","),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(?:mathrm|rm|mathit|text)\s*\{([ei])\}", r"\1"),
        (r"\\mathbf\s*\{\s*([RZNQ])\s*\}$", r"\\mathbb{\1}"),
        (r"\\math(?:bf|it)\s*\{\s*([a-zA-Z])\s*\}", r"\1"),
        (r"(?<=[\w)}+-])\\(?:mathrm|text)\{([abd-fj-kn-rt-zDEGHIOPQRSTUXYZ])\}", r" \1"),
        (r"\\(?:textcolor|color)\s*\{[a-zA-Z]+\}|\\underline(?=\s*\{)|\\therefore(?![a-zA-Z])", ""),
        (r"\\lg(?![a-zA-Z])", r"\\log "),
        (r"\{([^{}]*)\\choose(?![a-zA-Z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"\^-(\d+|[a-z])", r"^{-\1}"),
        (r"(?<=\.)(\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?", r"\1\\overline{\2\3\4}"),
        (r"(?<=\.)(\d*)(?:\\(?:bar|dot)\s*\{?\s*(\d+)\s*\}?|\((\d+)\))", r"\1\\overline{\2\3}"),
        (r"(?<=[\])}])\s*(?:-|\\backslash(?![a-zA-Z]))\s*(?=\\\{)", r"\\setminus "),
        (r"(^|\\c[ua]p\s*|\\in\s*)\]([^\[\](){}]*,[^\[\](){}]*)(?=[\[\]])", r"\1(\2"),
        (r"((?:^|\\c[ua]p\s*|\\in\s*)[\[(][^\[\](){}]*,[^\[\](){}]*)\[(?=\s*(?:\\c[ua]p|$))", r"\1)"),
        (r"^([-+]?[\d.,]+)\s*'$", r"\1\\text{ ft}"),
        (r"^([-+]?[\d.,]+)\s*''$", r"\1\\text{ in}"),
        (r"^\s*\*\*(.*)\*\*\s*$", r"\1"),
        (r"(?<=[\w)}])\s*\*\*\s*(?=\()", "^"),
        (r"(?<=[\w)}])\s*\*\*\s*(-?\d+|[a-z])", r"^{\1}"),
        (r"\\(?:math(?:rm|it|bf|sf)|text(?:bf|it|rm|normal|sf)|mbox)(?=\s*\{)", r"\\text"),
        (r"(\\text\s*\{[^{}]*\^)\{(-?\d)\}", r"\1\2"),
        (r"\\text\s*\{\s*(-?\d[\d.,:/]*)(?!st\b|nd\b|rd\b|th\b)(\s*[A-Za-z][^{}\d]*)\}", r"\1\\text{\2}"),
        (r"\\operatorname\s*\{([a-zA-Z/ ]+)\}(?=\s*(?:\^|/|$))", r"\\text{\1}"),
        (r"(?<=\d)\s*(?:\^\s*\{?\s*)?\\text\s*\{\s*(?:st|nd|rd|th)\s*\}(?:\s*\})?", ""),
        (r"(?<=\d)\s*\^\s*\{\s*(?:st|nd|rd|th)\s*\}", ""),
        (r"(?<![\w^{])(?=\d*(?:1st|2nd|3rd|(?:[04-9]|1[123])th)(?![a-zA-Z^]))(\d+)(?:st|nd|rd|th)", r"\1"),
        (
            r"(?<=\d)\s*(?:\\text\s*\{\s*)?([aApP])"
            r"(?:\.\s*m\.?|\.?\s*M\.?|(?<=:\d\d[ap])m|(?<=:\d\d [ap])m)(?:\s*\})?$",
            r"\\text{ \1m}",
        ),
        (r"\^\s*\{\s*\\circ\s*\}|\\degree(?![a-zA-Z])", r"^\\circ"),
        (r"\\geqslant|\\geq(?![a-zA-Z])", r"\\ge "),
        (r"\\leqslant|\\leq(?![a-zA-Z])", r"\\le "),
        (r"\\neq(?![a-zA-Z])", r"\\ne "),
        (r"\\(?:varnothing|O)(?![a-zA-Z])", r"\\emptyset"),
        (r"(?<![\d.])\.(?=\d)", "0."),
        (r"\s+", " "),
    )
]
_DIGITS: Final = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_DECIMAL: Final = rf"{_DIGITS}(?:\.\d*)?"
_NUMBER: Final = re.compile(
    rf"(?P<sign>[-+]?)\s*(?:"
    rf"(?P<decimal>{_DECIMAL})(?:(?:\\times|\\cdot|\*|[xX])10\^(?:\{{(?P<ten>[-+]?\d{{1,3}})\}}|(?P<digit>\d))"
    rf"|[eE](?P<power>[-+]?\d{{1,3}}))?"
    rf"|(?P<top>{_DECIMAL})/(?P<sign2>-?)(?P<bottom>{_DECIMAL})"
    rf"|(?P<whole>\d*)\s*\\frac(?:\{{(?P<above>-?{_DECIMAL})\}}\s*\{{(?P<below>-?{_DECIMAL})\}}|\s*(?P<pair>\d\d))"
    rf"|(?P<wholes>\d+)[ ](?P<upper>\d+)/(?P<lower>\d+)"
    rf"|(?P<begin>\d*)\.(?P<once>\d*)\\overline\{{?(?P<again>\d+)\}}?"
    rf")"
)
_AROUND_OPERATORS: Final = re.compile(
    r"\s*(\\times|\\cdot|[*/^{}])\s*|(?<=[-+])\s+|(?<=\d)\s+(?=[eE][-+]?\d)|(?<=\d)\s*(?P<x>[xX])\s*(?=10)"
)
_WRAPPED: Final = re.compile(r"(?:\\boxed|\\fbox|\\text(?=\s*\{[^{}]*\d[^{}]*\}))?\s*\{(.*)\}", re.DOTALL)
_SUCH_THAT: Final = re.compile(
    r"\\\{\s*(?P<letter>[a-z])\s*(?:\\in\s*(?:\\mathbb\s*)?\{?\s*R\s*\}?\s*)?(?:\\mid(?![a-z])|\||:)\s*(?P<condition>[^|:]*(?P=letter).*)\\\}",
    re.DOTALL,
)
_LETTER: Final = r"[a-zA-Z]'*|\\(?:theta|alpha|beta|lambda|angle\s*[A-Z]+)|[a-zA-Z]'*\([a-z\d]\)|[PE]\([^()]+\)"
_ASSIGNED: Final = re.compile(rf"({_LETTER})\s*=\s*([^=<>]+)")
_RELATION: Final = re.compile(r"\\(?:le|ge|lt|gt|ne|in)(?![a-zA-Z])")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+")
_BASED: Final = re.compile(r"([0-9A-Za-z]*[0-9][0-9A-Za-z]*)\s*_\s*\{?\s*(\d+)\s*\}?")
_RESIDUE: Final = re.compile(
    r"(?:(?P<letter>[a-z])\s*\\equiv\s*)?(?P<value>\d+)"
    r"\s*\(?\s*\\(?P<sign>p?mod|bmod)(?![a-z])\s*\{?\s*(?P<by>\d+)\s*\}?\s*\)?"
)
_PLUS_MINUS: Final = re.compile(r"\\[pm][pm](?![a-zA-Z])")
DOTS: Final = re.compile(r"\.\.|\\[lc]?dots")
"""Texts in which these leave something out cannot be compared."""
LONGEST: Final = 1000
"""Characters that an answer may have, besides as many as its key."""
_LAYERS: Final = 8
_LONG_RATIO: Final = 3
_DEEPEST: Final = 30
_HIGHEST: Final = 2
_FACTORIALS: Final = re.compile(r"!\s*!\s*!|\d{6,}\}?\s*!|\)\s*!\s*\)\s*!|!\s*\}?\s*\)?\s*!\s*\}?\s*\)?\s*!")
_POWERS: Final = re.compile(r"\^\s*\{?\s*[-+]?\s*\d{6,}")
_COMMANDS: Final = r"\\(?:input|include|write|def|csname|catcode|read)(?![a-z])"
_FORBIDDEN: Final = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|__|`|{_COMMANDS}")


def clean(text: str) -> str:
    r"""The same mathematics with one spelling: no `$`, `\left`, spacing or styles, `\frac`, `\text`, ASCII signs."""
    found = upright(priced(in_ascii(text))).translate(_SYMBOLS)
    for pattern, replacement in _REWRITTEN:
        found = pattern.sub(replacement, found)
    found = in_degrees(_unwrapped(found.strip().rstrip(".,;:").strip()))
    condition = _SUCH_THAT.fullmatch(found)
    return found if condition is None else condition["condition"].strip()


def unfit(text: str) -> str:
    """The reason not to read an answer, whatever it means: too long, too deep, a tower; "" for none."""
    if len(text) > LONGEST:
        return f"it has {len(text)} characters, more than {LONGEST}"
    if _FORBIDDEN.search(text):
        return "it has characters or commands that do not belong into mathematics"
    deepest, highest = _depths(text)
    if deepest > _DEEPEST:
        return f"it is nested {deepest} deep, more than {_DEEPEST}"
    if highest > _HIGHEST:
        return f"it is a tower of {highest} powers, more than {_HIGHEST}"
    if _FACTORIALS.search(text) or _POWERS.search(text):
        return "its value has too many digits"
    return ""


def number(text: str) -> Fraction | None:
    """The rational number that a cleaned text denotes, if it is written plainly; None otherwise."""
    match = _NUMBER.fullmatch(_AROUND_OPERATORS.sub(lambda one: one[1] or one["x"] or "", text))
    if match is None:
        return None
    part = {name: value.replace(",", "") for name, value in match.groupdict().items() if value is not None}
    try:
        value = _value(part)
    except (ValueError, ZeroDivisionError):
        return None
    return -value if part["sign"] == "-" else value


def positional(text: str) -> str:
    """A cleaned number without an exponent, `0.00001` for `1e-05`, and any other text as it is."""
    if not re.fullmatch(r"[-+]?\d+(?:\.\d+)?[eE][-+]?\d{1,3}", text):
        return text
    return format(Decimal(text), "f")


def assigned(text: str) -> tuple[str, str]:
    """The left side, if a cleaned text gives a value to one letter, and the value; ("", text) otherwise."""
    match = _ASSIGNED.fullmatch(text)
    return (
        ("", text) if match is None or "," in match[2] or _RELATION.search(match[2]) else (match[1], match[2].strip())
    )


def based(text: str) -> tuple[str, str]:
    """The digits of a cleaned text and the base that stands below them; ("", "") if it is no such number."""
    match = _BASED.fullmatch(text)
    return ("", "") if match is None else (match[1], match[2])


def residue(text: str) -> tuple[str, str]:
    r"""The residue and the modulus of `7 \pmod{12}` or `x \equiv 7 \pmod{12}`; (text, "") for anything else."""
    match = _RESIDUE.fullmatch(text)
    if match is None or not (match["letter"] or match["sign"] == "pmod") or int(match["value"]) >= int(match["by"]):
        return text, ""
    return match["value"], match["by"]


def in_proportion(text: str) -> str:
    """A cleaned ratio of three or more numbers, a:b:c, as the list of them divided by the first; else the text."""
    parts = text.rpartition("=")[2].split(":")
    if len(parts) < _LONG_RATIO or not all(part.strip() and _closed(part) for part in parts):
        return text
    first = parts[0].strip()
    return "(" + ",".join(rf"\frac{{{part.strip()}}}{{{first}}}" for part in parts) + ")"


def spelled_out(text: str) -> str:
    r"""A cleaned text with both cases of each `\pm`, in a list, and degrees under a sine in radians."""
    text = separated(in_proportion(text))
    if has_angles(text):
        text = in_radians(text)
    if not _PLUS_MINUS.search(text):
        return text
    inner = re.fullmatch(r"\\\{(.*)\\\}", text)
    parts = parts_of(text if inner is None else inner[1])
    return ", ".join(case for part in parts for case in _cases(part))


def is_pair(text: str) -> bool:
    """True if a cleaned text is a list in round brackets."""
    return (
        text.startswith("(") and text.endswith(")") and "," in text and len(parts_of(text)) == 1 and _closed(text[1:-1])
    )


def is_list(text: str) -> bool:
    """True if a cleaned text is a list without brackets."""
    return len(parts_of(text)) > 1


def listed(text: str, beside: str) -> str:
    """`150, 300` for `150,300` beside a list; any other text as it is."""
    return text.replace(",", ", ") if _GROUPED.fullmatch(text) and is_list(beside) and ", " in beside else text


def _cases(part: str) -> list[str]:
    if not _PLUS_MINUS.search(part):
        return [part]
    first = part.replace(r"\pm", "+").replace(r"\mp", "-")
    second = part.replace(r"\pm", "-").replace(r"\mp", "+")
    return [case.strip().removeprefix("+") for case in (first, second)]


def parts_of(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "{([") - (sign in "})]")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def same(left: str, right: str) -> bool:
    """True if two cleaned texts are the same, up to white space."""
    return _tight(left) == _tight(right)


def _tight(text: str) -> str:
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def _unwrapped(text: str) -> str:
    r"""Without `\boxed{...}`, `\text{12}` or braces around the whole."""
    for _ in range(_LAYERS):
        match = _WRAPPED.fullmatch(text)
        if match is None or not _closed(match[1]):
            break
        text = match[1].strip()
    return text


def _closed(text: str) -> bool:
    depth = 0
    for sign in text:
        depth += (sign in "{([") - (sign in "})]")
        if depth < 0:
            return False
    return depth == 0


def _depths(text: str) -> tuple[int, int]:
    """The depth of nested brackets, and the number of powers on top of each other."""
    opened: list[int] = []
    deepest = highest = below = chain = 0
    raised = False
    for sign in text:
        if sign == "^":
            chain += 1
            highest = max(highest, below + chain)
        elif sign in "{([":
            opened.append(chain if raised else 0)
            below += opened[-1]
            deepest = max(deepest, len(opened))
            chain = 0
        elif sign in "})]":
            chain = opened.pop() if opened else 0
            below -= chain
        elif not sign.isspace() and not raised and not sign.isdigit():
            chain = 0
        raised = sign == "^" or (raised and sign.isspace())
    return deepest, highest


def _value(part: dict[str, str]) -> Fraction:
    """The absolute value of a match of _NUMBER, by its named parts."""
    if "decimal" in part:
        power = int(part.get("ten", part.get("digit", part.get("power", "0"))))
        return Fraction(part["decimal"]) * Fraction(10) ** power
    if "top" in part:
        value = Fraction(part["top"]) / Fraction(part["bottom"])
        return -value if part["sign2"] else value
    if "upper" in part:
        return int(part["wholes"]) + Fraction(int(part["upper"]), int(part["lower"]))
    if "again" in part:
        once, again = part["once"], part["again"]
        repeated = Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(once))
        return Fraction(f"{part['begin'] or 0}.{once or 0}") + repeated
    above, below = part.get("above", part.get("pair", "")[:1]), part.get("below", part.get("pair", "")[1:])
    return int(part["whole"] or 0) + Fraction(above) / Fraction(below)
