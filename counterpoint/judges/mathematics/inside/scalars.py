# mypy: disable-error-code="import-untyped,no-untyped-call"
"""Equality of two numbers, or of two expressions with unknowns: exact, and None where neither is shown.

First comes what needs no numbers: two rational functions (`plain`), and expressions that are equal whatever the
functions in them are. Then two numbers differ where their difference is the same, and not zero, at two precisions. They
are equal where it is smaller than an algebraic number of its make can be without being zero (`separation`), or where it
vanishes at two precisions that are above the sizes of all numbers that occur and it is made of elementary functions, or
where sympy simplifies it to zero. Expressions with unknowns are compared at points: rational ones of several sizes,
whole ones for unknowns that can only be whole. An answer must have the key's value wherever the key is real.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import sympy
from mpmath import mp

from .evaluated import TooLargeError, evaluated
from .patience import OutOfTime, within
from .plain import same_function
from .separation import separation_bits
from .values import ELEMENTARY, NoValueError, Values, largest, sizes

_BITS: Final = 128
_STABLE: Final = 16
_LOOSE: Final = 20
_MOST_BITS: Final = 2**17
_MOST_SEPARATION: Final = 2**14
_POINTS: Final = 10
_MORE_POINTS: Final = 40
_TRIES: Final = 100
_WRITTEN: Final = 8
_LARGEST_EXPONENT: Final = Fraction(10)
_BENT: Final = (sympy.Abs, sympy.Max, sympy.Min, sympy.sign)
_SIMPLIFYING: Final = 1.0
_PER_CENT: Final = sympy.UnevaluatedExpr(sympy.Rational(1, 100))

Verdict = bool | None
"""Equal, different, or neither shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The distance that a number may have from the key and still be right."""

    relative: float = 0.0
    absolute: Fraction = Fraction(0)


EXACT: Final = Allowed()


def same(key: Any, answer: Any, allowed: Allowed = EXACT) -> Verdict:
    """The verdict on two scalar expressions as they were read.

    An answer that has no value, or whose value takes too many digits to know, is not the key; where that is so of the
    key, nothing is shown.
    """
    one, other = per_cent(key), per_cent(answer)
    if (one is None) != (other is None):
        # The question says what is asked for in per cent: 40 % is then 40. As a number it is 0.4.
        plain, number = (answer, one) if other is None else (key, other)
        return any_of(_judged(number / scale, plain, allowed) for scale in (1, 100))
    return _judged(key, answer, allowed)


def per_cent(expression: Any) -> Any:
    """The x of x per cent; None of anything else."""
    if isinstance(expression, sympy.Mul) and len(expression.args) == 2 and _PER_CENT in expression.args:
        return next((part for part in expression.args if part != _PER_CENT), _PER_CENT)
    return None


def any_of(verdicts: Iterator[Verdict]) -> Verdict:
    """True if any is, False if all are."""
    found = [*verdicts]
    return True if True in found else None if None in found else False


def _judged(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    try:
        return _same(key, answer, allowed)
    except (NoValueError, TooLargeError):
        return False if _has_value(key) else None


def _has_value(key: Any) -> bool:
    try:
        value = evaluated(key)
        return bool(value.free_symbols) or _same_numbers(value, value + 1, {}, True) is False
    except (NoValueError, TooLargeError):
        return False


def _same(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    if key == answer:
        return True
    plain = same_function(key, answer)
    if plain or (plain is False and allowed == EXACT):
        return plain
    wanted, found = evaluated(key), evaluated(answer)
    if wanted.has(sympy.nan, sympy.zoo) or found.has(sympy.nan, sympy.zoo):
        return False
    if wanted == found:
        return True
    if wanted.has(sympy.oo) or found.has(sympy.oo):
        return False
    names = sorted({symbol.name for symbol in wanted.free_symbols | found.free_symbols})
    real = not wanted.has(sympy.I) and not found.has(sympy.I)
    if not names and allowed != EXACT and _near(wanted, found, allowed, real):
        return True
    if same_function(*_without_functions(wanted, found)):
        return True
    return _same_expressions(wanted, found, names, real) if names else _same_numbers(wanted, found, {}, real)


def _near(key: Any, answer: Any, allowed: Allowed, real: bool) -> bool:
    at = Values(bits=_bits_of(key - answer), real_roots=real)
    wanted, found = at.of(key), at.of(answer)
    slack = max(allowed.relative * abs(wanted), mp.mpf(allowed.absolute.numerator) / allowed.absolute.denominator)
    return bool(abs(wanted - found) <= slack)


def _without_functions(*expressions: Any) -> list[Any]:
    """The expressions with an unknown for each part that is not made by adding, multiplying and whole powers."""
    names: dict[Any, Any] = {}

    def plain(part: Any) -> Any:
        if not all(isinstance(one, sympy.Expr) for one in (part, *part.args)):
            return names.setdefault(part, sympy.Symbol(f"part {len(names)}"))
        if part.is_Rational or part.is_Symbol:
            return part
        if part.is_Add or part.is_Mul or (part.is_Pow and part.exp.is_Integer):
            return part.func(*map(plain, part.args), evaluate=False)
        if part.is_Pow and part.exp.is_Add:
            return sympy.Mul(*(plain(part.base**term) for term in part.exp.args), evaluate=False)
        name = part.func(*map(sympy.expand, part.args)) if part.args else part
        return names.setdefault(name, sympy.Symbol(f"part {len(names)}"))

    return [plain(expression) for expression in expressions]


def _same_numbers(key: Any, answer: Any, point: Mapping[str, Any], real: bool) -> Verdict:
    """The verdict on two expressions at a point. Raises NoValueError if one has no value there, TooLargeError."""
    difference = sympy.Add(key, sympy.Mul(-1, answer))
    separation = None if point else separation_bits(difference)
    if separation is not None and separation > _MOST_SEPARATION:
        separation = None
    loose = difference.has(sympy.Integral, sympy.Sum, sympy.Product)
    jumps = not real or difference.has(sympy.floor, sympy.ceiling, sympy.Mod, sympy.sign)
    bits = _bits_of(difference)
    while bits <= _MOST_BITS:
        coarse, fine = (Values(bits=size, point=point, real_roots=real) for size in (bits, 2 * bits))
        first, second = coarse.of(difference), fine.of(difference)
        needed = _BITS + 3 * sizes(coarse, fine)
        scale = largest(fine)
        if second and abs(first - second) <= mp.ldexp(abs(second), -_STABLE) and (bits >= needed or not jumps):
            return False if not loose or abs(second) > mp.ldexp(mp.mpf(1), scale - _LOOSE) else _simplified(difference)
        if separation is not None:
            needed = max(needed, separation + max(scale, 0) + _BITS)
        if bits >= needed and abs(second) <= mp.ldexp(mp.mpf(1), scale - bits - bits // 2):
            return True if separation is not None or _elementary(difference) else _simplified(difference)
        bits = max(needed, 2 * bits)
    raise TooLargeError


def _bits_of(expression: Any) -> int:
    """Enough bits for the numbers that are written in an expression."""
    numbers = expression.atoms(sympy.Rational)
    bits = _BITS + 3 * sum(int(one.p).bit_length() + int(one.q).bit_length() for one in numbers)
    if bits > _MOST_BITS:
        raise TooLargeError
    return bits


def _elementary(expression: Any) -> bool:
    return all(part.func in ELEMENTARY for part in sympy.preorder_traversal(expression) if part.args)


def _simplified(difference: Any) -> Verdict:
    try:
        with within(_SIMPLIFYING):
            return True if sympy.simplify(difference) == 0 else None
    except (MemoryError, RecursionError):
        raise
    except (OutOfTime, Exception):  # whatever sympy raises, it has not found it
        return None


def order(one: Any, other: Any) -> int | None:
    """-1, 0 or 1 as the first of two real numbers is the smaller, they are equal, or it is the larger; else None."""
    try:
        left, right = evaluated(one), evaluated(other)
        if left.free_symbols or right.free_symbols:
            return None
        verdict = left == right or _same_numbers(left, right, {}, True)
        if verdict is not False:
            return 0 if verdict else None
        at = Values(bits=2 * _bits_of(left - right))
        value = at.real(at.of(left - right))
        return None if isinstance(value, mp.mpc) else 1 if value > 0 else -1
    except (NoValueError, TooLargeError):
        return None


def points(one: Any, other: Any) -> Iterator[dict[Any, Any]]:
    """Values of the unknowns of two expressions, at which to compare them."""
    symbols = {symbol.name: symbol for symbol in one.free_symbols | other.free_symbols}
    for point in _points([*sorted(symbols)], one - other):
        yield {symbols[name]: value for name, value in point.items()}


def _same_expressions(key: Any, answer: Any, names: list[str], real: bool) -> Verdict:
    difference = sympy.Add(key, sympy.Mul(-1, answer))
    wanted = _POINTS if _smooth(difference) else _MORE_POINTS
    agreed, lost, undefined, doubtful = 0, 0, 0, False
    for point in _points(names, difference):
        if not _counts(key, point, real):
            continue
        try:
            verdict = _same_numbers(key, answer, point, real)
        except NoValueError:
            undefined += 1
            continue
        except TooLargeError:
            lost += 1
            continue
        if verdict is False:
            return False
        agreed, doubtful = agreed + 1, doubtful or verdict is None
        if agreed == wanted:
            break
    if agreed < _POINTS and undefined > agreed:
        return False
    if lost > agreed:
        raise TooLargeError
    if agreed >= _POINTS and not doubtful and _elementary(difference):
        return True
    return _simplified(difference)


def _counts(key: Any, point: Mapping[str, Any], real: bool) -> bool:
    """True where the key has a value, and, among real expressions, all of its parts are real."""
    at = Values(bits=_BITS, point=point, real_roots=real)
    try:
        at.of(key)
    except NoValueError:
        return False
    return not real or not any(isinstance(at.real(value), mp.mpc) for value in at.known.values())


def _smooth(expression: Any) -> bool:
    """False if it may be another function on each side of some place: |x|, or a square root, which may be one."""
    return not any(
        isinstance(part, _BENT) or (part.is_Pow and part.free_symbols and part.exp.is_Rational and part.exp.q % 2 == 0)
        for part in sympy.preorder_traversal(expression)
    )


def _points(names: list[str], difference: Any) -> Iterator[dict[str, Any]]:
    """Points at which to compare: of several sizes and both signs, and around the numbers that are written."""
    drawn = random.Random(0)
    whole, positive, raised = _whole_names(difference), _positive_names(difference), _raised_names(difference)
    written = {Fraction(int(one.p), int(one.q)) for one in difference.atoms(sympy.Rational)}
    sizes_of = sorted({abs(one) for one in written})[-_WRITTEN:]
    scales = [Fraction(1, 4), Fraction(1), Fraction(10), *(2 * one for one in sizes_of if one > 2), Fraction(3)]
    between = [one + sign * Fraction(1, 3) for one in sizes_of for sign in (1, -1)]
    for turn in range(_TRIES):
        point = {}
        for name in names:
            size = scales[turn // 3 % len(scales)] if turn % 3 == 0 else drawn.choice(scales)
            size = min(size, _LARGEST_EXPONENT) if name in raised else size
            value = size * Fraction(drawn.randrange(1, 2**12), 2**12 - 3)
            if turn % 4 == 3 and between and name not in raised:
                value = drawn.choice(between) + value / size / 7
            if turn % 2 and name not in positive and drawn.random() < 0.7:
                value = -value
            if name in whole:
                value = Fraction(drawn.randrange(1, 4 + turn))
            point[name] = sympy.Rational(abs(value) if name in positive else value)
        yield point


def _whole_names(expression: Any) -> set[str]:
    """The unknowns that can only be whole numbers: in factorials, and in exponents of negative numbers."""
    found: set[Any] = set()
    for part in sympy.preorder_traversal(expression):
        if isinstance(part, sympy.factorial | sympy.binomial | sympy.Sum | sympy.Product) or (
            isinstance(part, sympy.Pow) and part.base.is_negative
        ):
            found |= part.free_symbols
    return {symbol.name for symbol in found}


def _raised_names(expression: Any) -> set[str]:
    """The unknowns in exponents, of which large values cannot be computed with."""
    powers = [part for part in sympy.preorder_traversal(expression) if isinstance(part, sympy.Pow | sympy.exp)]
    return {symbol.name for power in powers for symbol in power.exp.free_symbols}


def _positive_names(expression: Any) -> set[str]:
    """The unknowns that can only be positive: in the base of a power whose exponent is not known."""
    powers = [part for part in sympy.preorder_traversal(expression) if isinstance(part, sympy.Pow)]
    return {symbol.name for power in powers if power.exp.free_symbols for symbol in power.base.free_symbols}
