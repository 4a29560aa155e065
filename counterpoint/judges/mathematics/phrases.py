r"""Answers that are words, letters of choices, dates, or amounts of several units: compared as a person reads them."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from counterpoint.judges.mathematics.quantities import quantity
from counterpoint.judges.mathematics.units import MONTHS, WEEKDAYS, WORDS_OF_MATHEMATICS, unit_named

_TEXT: Final = re.compile(r"\\text\s*\{([^{}]*)\}")
_NUMBER: Final = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_LETTER: Final = r"(?:\((?:[A-Z]|[IVX]{2,}|[ivx]+)\)|[A-Z]\b|[IVX]{2,}\b)"
_LETTERS: Final = re.compile(rf"{_LETTER}(?:\s*(?:[,;&]|\band\b)\s*(?:and\s+)?{_LETTER})+")
_OPTION: Final = re.compile(r"(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?:? \(?([a-z])\)?")
_CHOICE: Final = re.compile(
    r"(?:\\text\s*\{\s*\(?(?P<marked>[A-H])[).:]+\s*\}|\(\s*\\text\s*\{\s*(?P<inside>[A-H])\s*\}\s*\)"
    r"|\((?P<bare>[A-H])\)(?=\s+[\d\\])|(?P<open>[A-H])(?:\)\s*|[.:]\s+)(?=[\d\\]))"
    r"[\s:.]*(?P<value>[^\s+*/=^_,)<>|].*)",
    re.DOTALL,
)
_MARKED_CHOICE: Final = re.compile(r"\s*\(?(?P<marked>[A-H])[).:]\s*(?P<value>(?!and\b|or\b|[,&;])[^\s)].*)")
_NEXT_CHOICE: Final = re.compile(r"(?:[\s,;{]|or|and)\(?[A-H][).:]\s*\}?\s*(?=[\d\\])")
_ANGLE: Final = re.compile(r"\\angle\s*\{?\s*([A-Z]{3})\s*\}?")
_NO_VALUE: Final = re.compile(r"\\(?:cup|cap|times|cdot|in|le|ge|ne|to|pm|mp|setminus|subset|and|or)(?![a-zA-Z])")
_AMOUNT: Final = re.compile(
    rf"(?P<number>{_NUMBER})\s*(?P<words>[A-Za-z][A-Za-z ]*?(?:\^\d)?)\s*(?:,\s*and\b|,|\band\b)?\s*(?=\d|$)"
)
_SHORTEST: Final = 3
_WORD: Final = re.compile(r"[A-Za-z]+|\d[\d.,:]*")
_ORDINAL: Final = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_PHRASE: Final = re.compile(r"[A-Za-z0-9 .,:;'\-()!?]+")
_DROPPED: Final = frozenset(("the", "of", "on"))


def words(text: str) -> str | None:
    """The words of a cleaned text, if it is words and not mathematics: lower case, without brackets; else None."""
    plain = _unmarked(text)
    marked = plain != text and "\\" not in plain and not re.search(r"[\d=^_+*/<>]", plain)
    bare = re.sub(r"^(?:a|an|the) (?=[a-z]{4})", "", _bare(text))
    letters = re.fullmatch(r"[A-Za-z][A-Za-z '\-,.]*", bare) is not None
    option = _OPTION.fullmatch(bare.casefold().strip("() "))
    if option is not None:
        return option[1]
    if not letters:
        return None
    choice = re.fullmatch(r"[A-H]", bare) is not None
    name = re.fullmatch(r"[A-Za-z]{4,}", bare.replace(" ", "").replace(",", "").replace("-", "")) is not None
    short = bare.casefold() in {"yes", "no", "dne", "all", "odd", "one", "two", "six", "ten", "mon", "sun", "red"}
    dated = bare.casefold() in MONTHS | WEEKDAYS
    return bare.casefold() if marked or choice or name or short or dated else None


def said(found: str, right: str) -> bool | None:
    """True or False if a cleaned answer says what its key says; None if the key is neither words nor letters.

    Letters of choices (`A, C and F`) have no order. A number in a phrase (`June 20`) belongs to it.
    """
    listed = _letters(right)
    if listed is not None:
        other = _letters(found)
        if other is not None or _TEXT.search(right):
            return listed == other
        return None
    if _counts(right):
        return None
    reading: Callable[[str], object]
    for reading in (_vertices, words, _amounts, _phrase):
        wanted = reading(right)
        if wanted is not None:
            return _primes(found) == _primes(right) and (reading(found) == wanted or _bare(found) == _bare(right))
    return None


def _counts(text: str) -> bool:
    r"""True if a text without digits is an unknown with what it counts, such as `x \text{ cm}`."""
    found = quantity(text)
    return not re.search(r"\d", text) and (bool(found.unit) or (found.value != text and found.value.islower()))


def choice(text: str) -> tuple[str, str]:
    r"""The letter and the value of a choice that says its value too, `\text{(A) } 5`; ("", text) otherwise."""
    whole = _TEXT.fullmatch(text)
    match = _CHOICE.fullmatch(text) if whole is None else _MARKED_CHOICE.fullmatch(whole[1])
    if match is None or _NO_VALUE.match(match["value"]) or _NEXT_CHOICE.search(match["value"]):
        return "", text
    letter = next(name for name in ("marked", "inside", "bare", "open") if match.groupdict().get(name))
    return match[letter], match["value"].strip()


def paired(found: str, right: str) -> tuple[str, str]:
    """Both without the letter of a choice, or only the letters, where one of them is a choice with what it says."""
    (letter, value), (key_letter, key_value) = choice(found), choice(right)
    if letter and key_letter:
        return (value, key_value) if letter == key_letter else (letter, key_letter)
    if letter:
        return (letter if _is_letter(right) else value), right
    if key_letter:
        return found, (key_letter if _is_letter(found) else key_value)
    return found, right


def _is_letter(text: str) -> bool:
    return re.fullmatch("[a-h]", words(text) or "") is not None


def _vertices(text: str) -> str | None:
    """The letters of an angle, which is the same from both sides; None for anything else."""
    match = _ANGLE.fullmatch(text)
    return None if match is None else min(match[1], match[1][::-1])


def _primes(text: str) -> int:
    """The number of primes at the end of a text that is not in quotation marks."""
    return 0 if text.startswith("'") else len(text) - len(text.rstrip("'"))


def _bare(text: str) -> str:
    return " ".join(_unmarked(text).split()).strip("()[]{}.:;,'\" ")


def _unmarked(text: str) -> str:
    return _TEXT.sub(lambda one: f" {one[1]} ", text)


def _letters(text: str) -> frozenset[str] | None:
    r"""The letters of a list such as `A, C and F`, with or without `\text`; None for anything else."""
    plain = " ".join(_unmarked(text).replace(r"\&", "&").replace(r"\{", "").replace(r"\}", "").split()).strip(". ")
    return frozenset(re.findall(r"[A-Z]+|\([ivx]+\)", plain)) if _LETTERS.fullmatch(plain) else None


def _amounts(text: str) -> tuple[tuple[Fraction, str], ...] | None:
    """Two or more numbers, each with its unit or its words (`3 feet 6 inches`); None for anything else."""
    plain = " ".join(_unmarked(text).replace("{", "").replace("}", "").split()).strip(". ")
    if not plain[:1].isdigit() or not re.search(r"[A-Za-z]$|\^\d$", plain):
        return None
    found, place = [], 0
    while place < len(plain):
        match = _AMOUNT.match(plain, place)
        if match is None or _of_mathematics(match["words"]):
            return None
        words_of_it = match["words"].strip()
        if len(words_of_it) < _SHORTEST and not unit_named(words_of_it):
            return None
        number = Fraction(match["number"].replace(",", ""))
        found.append((number, unit_named(words_of_it) or words_of_it.casefold()))
        place = match.end()
    return tuple(found) if len(found) > 1 else None


def _of_mathematics(text: str) -> bool:
    """True if a word of the text means something in mathematics and is no unit, such as `or`."""
    return any(word in WORDS_OF_MATHEMATICS and not unit_named(word) for word in text.casefold().split())


def _phrase(text: str) -> tuple[str, ...] | None:
    """The words and numbers of a phrase such as `June 20` or `Room 12`; of a date in any order; None for no phrase."""
    plain = _ORDINAL.sub("", " ".join(_unmarked(text).split()))
    if not _PHRASE.fullmatch(plain) or not re.search(r"\d", plain):
        return None
    tokens = [token.rstrip(".,:").replace(",", "").casefold() for token in _WORD.findall(plain)]
    found = [token for token in tokens if token and token not in _DROPPED]
    if MONTHS.intersection(found):
        return tuple(sorted(found))
    first = re.match(r"[A-Za-z]{3,}[ :.]", plain)
    if first is None or found[0] in WORDS_OF_MATHEMATICS - WEEKDAYS:
        return None
    return tuple(found)
