r"""The plain form of a short answer: without markup, quotation marks, a leading article and a final full stop.

Everything here is decided by the text alone, so that equality of plain forms is an equivalence: `\text{Paris}`,
`**Paris.**` and `paris` are the same, and so are `The Nile` and `Nile`. What could change a meaning is kept: `A` is a
choice and no article, `5!` is no 5, and a raised 2 is no 2.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final
from unicodedata import decomposition, normalize

_LONGEST: Final = 1000
"""Characters of a short answer; of a longer one only case, white space and signs are made alike."""
_LONGEST_NUMBER: Final = 400
_KEPT: Final = frozenset(("<super>", "<sub>", "<fraction>", "<circle>", "<square>"))
_SIGNS: Final = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"'),
        **dict.fromkeys("\u00ad\u200b\u2060\ufeff", ""),
        "\u2044": "/",
    }
)
_REWRITTEN: Final = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (
            r"\\(?:boxed|mbox|emph|text(?:rm|bf|it|sf|tt|sc|normal|up)?|math(?:rm|bf|it|sf|tt)|operatorname)"
            r" ?\{([^{}]*)\}",
            r"\1",
        ),
        (r"(?<=\d)(?:\{,\}|\\,|,\\!)(?=\d{3}(?!\d))", ","),
        (r"\\!", ""),
        (r"\\[,;:> ]|\\q?quad(?![a-z])", " "),
        (r"\\([%$&#_])", r"\1"),
        (r"(?<=\d) ?(?:%|percent\b|per cent\b)", "%"),
        (r"^\*\*((?:the )?(?:final )?answer(?: is)?:)\*\*", r"\1"),
    )
]
_AROUND: Final = [
    re.compile(pattern)
    for pattern in (
        r"\$\$([^$]+)\$\$",
        r"\$([^$]+)\$",
        r"\\\(((?:(?!\\[()]).)+)\\\)",
        r"\\\[((?:(?!\\[\[\]]).)+)\\\]",
        r"\*\*([^*]+)\*\*",
        r"\*([^*]+)\*",
        r"(?:```|`)([^`]+)(?:```|`)",
        r'"([^"]+)"',
        r"'([^']+)'",
        r"\(([^()\d,]+)\)",
        r"\[([a-z])\]",
        r"([a-z])\)",
        r"(?:option|choice) (\(?[a-z]\)?)",
        r"(?:the |my )?(?:final |correct |right )?answer(?: is:?| ?[:=]) ?(.+)",
        r"the (\w.*)",
        r"an? (?!(?:and|or|minor|major|flat|sharp|positive|negative|priori|posteriori)\b)([^\W\d_]{2}.*)",
        r"(.*[^.,;: ])[.,;: ]+",
        r"(.*[^\W\d_]{2})!+",
    )
]
_DECIMAL: Final = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_AMOUNT: Final = re.compile(
    r"(?P<sign>[-+]?) ?(?P<before>[$\u20ac\u00a3\u00a5]?) ?(?:"
    rf"(?P<decimal>{_DECIMAL})(?:e(?P<power>[-+]?\d{{1,3}}))?"
    rf"|(?:(?P<whole>\d+) )?(?P<top>\d+) ?/ ?(?P<bottom>\d+)"
    rf"|(?P<upon>{_DECIMAL}) ?/ ?(?P<under>{_DECIMAL})"
    r"|(?P<wholes>\d*) ?\\[dt]?frac ?\{(?P<above>\d+)\} ?\{(?P<below>\d+)\}"
    r"|(?P<number>\d*) ?(?P<vulgar>[\u00bc-\u00be\u2150-\u215e])"
    r") ?(?P<after>[%$\u20ac\u00a3\u00a5]?)"
)


@dataclass(frozen=True, slots=True)
class Amount:
    """A rational number and its sign of currency or `%`, empty if it has none."""

    value: Fraction
    unit: str

    def equals(self, other: "Amount") -> bool:
        """The same number, of the same unit; a currency may be left out, `%` may not."""
        units = {self.unit, other.unit}
        return self.value == other.value and (len(units) == 1 or ("" in units and "%" not in units))


@lru_cache(maxsize=8192)
def plain(text: str) -> str:
    """The plain form of `text`: of what looks the same to a reader it is the same. It is its own plain form.

    It is empty only if the text is blank.
    """
    found = _alike(text)
    while len(found) <= _LONGEST:
        peeled = _peeled(found)
        if peeled == found:
            break
        found = peeled
    return found


def amount(plain_text: str, *, percent: bool = False) -> Amount | None:
    """The amount that a plain form denotes: `1,204`, `-3`, `.5`, `1e-3`, `2 1/2`, `$12`, `50%`; None for all else.

    With `percent`, `50%` is the number 0.5.
    """
    match = None if len(plain_text) > _LONGEST_NUMBER else _AMOUNT.fullmatch(plain_text)
    if match is None:
        return None
    part = {name: found for name, found in match.groupdict().items() if found}
    if "before" in part and "after" in part:
        return None
    try:
        value = _value(part)
    except ZeroDivisionError:
        return None
    value = -value if part.get("sign") == "-" else value
    unit = part.get("before", part.get("after", ""))
    return Amount(value / 100, "") if percent and unit == "%" else Amount(value, unit)


def _value(part: dict[str, str]) -> Fraction:
    """The absolute value of a match of _AMOUNT, by its named parts."""
    if "decimal" in part:
        return _fraction(part["decimal"]) * Fraction(10) ** int(part.get("power", "0"))
    if "upon" in part:
        return _fraction(part["upon"]) / _fraction(part["under"])
    if "vulgar" in part:
        above, _, below = normalize("NFKC", part["vulgar"]).partition("\u2044")
    else:
        above, below = part.get("top", part.get("above", "")), part.get("bottom", part.get("below", ""))
    whole = part.get("whole", part.get("wholes", part.get("number", "0")))
    return int(whole) + Fraction(int(above), int(below))


def _fraction(decimal: str) -> Fraction:
    return Fraction(decimal.replace(",", ""))


def _alike(text: str) -> str:
    """The text with one form of each character, one space between words, and no capitals."""
    if not text.isascii():
        text = normalize("NFC", "".join(map(_compatible, text)))
    return " ".join(text.translate(_SIGNS).split()).casefold()


@lru_cache(maxsize=4096)
def _compatible(sign: str) -> str:
    """The usual form of a character, unless that would make a digit of what is none, such as a raised 2."""
    form = normalize("NFKC", sign)
    raised = decomposition(sign).partition(" ")[0] in _KEPT
    digits = not sign.isdecimal() and any(one.isdigit() for one in form)
    return sign if raised or digits else form


def _peeled(text: str) -> str:
    """The text without one layer of each kind; never empty."""
    found = text
    for pattern, replacement in _REWRITTEN:
        found = pattern.sub(replacement, found)
    for around in _AROUND:
        match = around.fullmatch(found.strip())
        if match is not None and match[1].strip():
            found = match[1]
    return " ".join(found.split()) or text
