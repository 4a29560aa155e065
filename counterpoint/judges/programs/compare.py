"""Comparison of a program's output or value with the right one: functions of bytes and values that nobody trusts.

No answer makes them raise or run for longer than its length allows. Order, case and number of elements always count.
"""

import math
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

from counterpoint.judges.programs.suite import Comparison
from counterpoint.sandboxes.inside.codec import Value

_TOLERANCE: Final = Decimal("1e-6")
_NUMBER: Final = re.compile(rb"([+-]?)([0-9]++)?(?:\.([0-9]*+))?(?:[eE]([+-]?)0*+([0-9]{0,17})(?<=[0-9]))?")
_ROUGH: Final = Context(prec=40, Emax=10**18 - 1, Emin=1 - 10**18, traps=[])
"""Enough digits for a tolerance; a number beyond its exponents is infinite, which nothing is close to."""
_SHORT_INT: Final = re.compile(r"-?[1-9][0-9]{0,599}|0")

_REAL: Final = (int, float, Fraction, Decimal)
_Pairs = Iterable[tuple[Value, Value]]


def same_output(got: bytes, right: str, comparison: Comparison) -> bool:
    """True if the output `got` is as good as `right`; never if it is not UTF-8.

    `lines`: as many lines, each, up to white space at its ends, the same text or token by token the same text or
    number. `tokens`: the same without regard to lines. `tokens_any_case`: and without regard to the case of ASCII
    letters. `lcb_strict`: as LiveCodeBench does: lines are the same text, or all their tokens are numbers of exactly
    the same value. `exact`: byte by byte.

    Numbers are finite decimals. Two that are written as integers are the same if they are equal, others if they differ
    by at most 1e-6 max(1, |right|). White space is that of ASCII.
    """
    wanted = right.encode(errors="surrogatepass")
    if got == wanted:
        return _is_text(got)
    if comparison == "exact" or not _is_text(got):
        return False
    if comparison == "tokens":
        return _same_tokens(got, wanted)
    if comparison == "tokens_any_case":
        return _same_tokens(got.lower(), wanted.lower())
    got, wanted = got.strip(), wanted.strip()
    if got.count(b"\n") != wanted.count(b"\n"):
        return False
    same_line = _same_decimals if comparison == "lcb_strict" else _same_tokens
    return all(
        one.strip() == other.strip() or same_line(one, other)
        for one, other in zip(got.split(b"\n"), wanted.split(b"\n"), strict=True)
    )


def same_value(got: Value, right: Value, *, json_born: bool, tolerance: float) -> bool:
    """True if the value `got` is as good as `right`, at every depth.

    Types must match, except that numbers (int, float, Fraction, Decimal; a complex where a real one is right) are the
    same if they are equal, as are dicts of all kinds, bytes and bytearrays; where values were JSON (`json_born`), a
    tuple is as good as a list, and an int as a key is as good as its text. Two floats are the same if they differ by at
    most tolerance max(1, |right|), and so for both parts of a complex; in sets and as keys they must be equal. NaN is
    right only where NaN is, which is not in sets and not as a key. A bool is not a number.
    """
    left: list[tuple[Value, Value]] = [(got, right)]
    while left:
        one, other = left.pop()
        inside = _what_must_be_same(one, other, json_born, tolerance)
        if inside is None:
            return False
        left.extend(inside)
    return True


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _same_tokens(got: bytes, right: bytes) -> bool:
    wanted = right.split()
    found = got.split(None, len(wanted))
    return len(found) == len(wanted) and all(map(_same_token, found, wanted))


def _same_token(got: bytes, right: bytes) -> bool:
    if got == right:
        return True
    one, other = _number(got), _number(right)
    if one is None or other is None:
        return False
    if one == other or (one.whole and other.whole):
        return one == other
    # A large integer is often a residue or a count, of which every digit matters.
    return _close(got, right, relative=not other.whole)


def _same_decimals(got: bytes, right: bytes) -> bool:
    wanted = right.split()
    found = got.split(None, len(wanted))
    return len(found) == len(wanted) and all(map(_same_decimal, found, wanted))


def _same_decimal(got: bytes, right: bytes) -> bool:
    number = _number(got)
    return number is not None and number == _number(right)


@dataclass(frozen=True, slots=True)
class _Number:
    """0.digits times ten to the exponent, without zeros at either end: one way to write each number."""

    negative: bool
    digits: bytes
    exponent: int
    whole: bool = field(compare=False)
    """It was written as an integer."""


def _number(token: bytes) -> _Number | None:
    """The finite decimal that a token is; None if it is not one, or its exponent has more than 17 digits.

    It is never an int of Python's, whose conversion takes time that is quadratic in the digits and is limited.
    """
    parts = _NUMBER.fullmatch(token)
    if parts is None or not (parts[2] or parts[3]):
        return None
    before, after = parts[2] or b"", parts[3] or b""
    shift = int((parts[4] or b"") + (parts[5] or b"0"))
    significant = (before + after).lstrip(b"0")
    digits = significant.rstrip(b"0")
    whole = parts[3] is None and parts[5] is None
    if not digits:
        return _Number(False, b"", 0, whole)
    leading_zeros = len(before) + len(after) - len(significant)
    return _Number(parts[1] == b"-", digits, len(before) - leading_zeros + shift, whole)


def _close(got: bytes, right: bytes, *, relative: bool) -> bool:
    one, other = (_ROUGH.create_decimal(token.decode()) for token in (got, right))
    if not (one.is_finite() and other.is_finite()):
        return False
    size = _ROUGH.max(Decimal(1), _ROUGH.abs(other)) if relative else Decimal(1)
    allowed = _ROUGH.multiply(_TOLERANCE, size)
    return _ROUGH.abs(_ROUGH.subtract(one, other)) <= allowed


def _what_must_be_same(got: Value, right: Value, json_born: bool, tolerance: float) -> _Pairs | None:
    """The pairs that must be the same for these two to be; None if they are not, whatever is in them."""
    if _kind(got) is not _kind(right):
        return _across_types(got, right, json_born)
    match got, right:
        case (list() as one, list() as other) | (tuple() as one, tuple() as other) | (deque() as one, deque() as other):
            return _in_order(one, other)
        case (set() as one, set() as other) | (frozenset() as one, frozenset() as other):
            return _elements(one, other)
        case (dict() as one, dict() as other):
            return _items(one, other, json_born)
        case (float() as one, float() as other):
            return () if _close_floats(one, other, tolerance) else None
        case (complex() as one, complex() as other):
            return (one.real, other.real), (one.imag, other.imag)
    return () if got == right else None


def _kind(value: Value) -> type:
    """The type of a value; equal values of several types have the same."""
    if isinstance(value, dict):
        return dict
    return bytes if isinstance(value, bytearray) else type(value)


def _across_types(got: Value, right: Value, json_born: bool) -> _Pairs | None:
    if type(right) in _REAL and type(got) in (*_REAL, complex):
        return () if got == right else None
    if json_born and isinstance(got, list | tuple) and isinstance(right, list | tuple):
        return _in_order(got, right)
    return None


def _in_order(got: Sequence[Value], right: Sequence[Value]) -> _Pairs | None:
    return zip(got, right, strict=True) if len(got) == len(right) else None


def _elements(got: set[Value] | frozenset[Value], right: set[Value] | frozenset[Value]) -> _Pairs | None:
    """Equal elements side by side: they may still differ in type, as 1 and True do."""
    if len(got) != len(right) or got != right:
        return None
    theirs = {element: element for element in got}
    return [(theirs[element], element) for element in right]


def _items(got: dict[Value, Value], right: dict[Value, Value], json_born: bool) -> _Pairs | None:
    """Equal keys and their values side by side."""
    if len(got) != len(right):
        return None
    theirs = {key: key for key in got}
    pairs: list[tuple[Value, Value]] = []
    for key, value in right.items():
        form = key if key in theirs or not json_born else _other_form(key)
        if form not in theirs:
            return None
        pairs += [(theirs[form], form), (got[form], value)]
    return pairs


def _other_form(key: Value) -> Value:
    """The text for an int as a key, or the int for its text; itself if it is neither."""
    if type(key) is int and key.bit_length() < 1900:
        return str(key)
    if type(key) is str and _SHORT_INT.fullmatch(key):
        return int(key)
    return key


def _close_floats(got: float, right: float, tolerance: float) -> bool:
    if math.isnan(right) or math.isnan(got):
        return math.isnan(right) and math.isnan(got)
    if math.isinf(right) or math.isinf(got):
        return got == right
    return abs(got - right) <= tolerance * max(1.0, abs(right))
