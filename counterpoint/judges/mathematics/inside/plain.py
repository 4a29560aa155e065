# mypy: disable-error-code="import-untyped,no-untyped-call"
"""Equality of rational functions, by arithmetic in two prime fields at fixed pseudo-random points.

Only additions, products and whole powers are done, so that numbers of any size, such as 2^(2^40), cost nothing. Two
different rational functions of degree d agree at a random point of a field of p elements with a probability of at most
d/p (Schwartz 1980, Zippel 1979); here p is above 10^156.
"""

import hashlib
from collections.abc import Mapping
from math import factorial
from typing import Any, Final

from sympy import Add, Mul, Pow, UnevaluatedExpr, binomial
from sympy import factorial as factorial_of

_FIELDS: Final = (2**521 - 1, 2**607 - 1)
_POINTS: Final = 2
_TRIES: Final = 4
_LONGEST_EXPONENT: Final = 4096
_LARGEST_FACTORIAL: Final = 20_000


class NotRationalError(Exception):
    """The expression is no rational function of its unknowns."""


def same_function(one: Any, other: Any) -> bool | None:
    """True if both are the same rational function, False if they are two; None if one is no rational function.

    Where one is undefined at every point, such as 1/(x - x), they are two.
    """
    names = sorted({symbol.name for symbol in one.free_symbols | other.free_symbols})
    try:
        return all(_same_in(field, one, other, names) for field in _FIELDS)
    except NotRationalError:
        return None


def _same_in(field: int, one: Any, other: Any, names: list[str]) -> bool:
    agreed = 0
    for turn in range(_POINTS * _TRIES):
        point = {name: _drawn(f"{turn} {name}", field) for name in names}
        try:
            if _value(one, point, field) != _value(other, point, field):
                return False
        except ZeroDivisionError:
            continue
        agreed += 1
        if agreed == _POINTS or not names:
            break
    return agreed > 0


def _drawn(seed: str, field: int) -> int:
    return int.from_bytes(hashlib.shake_256(seed.encode()).digest(96)) % field


def _value(expression: Any, point: Mapping[str, int], field: int) -> int:
    if expression.is_Rational:
        return int(expression.p) * pow(int(expression.q), -1, field) % field
    if expression.is_Symbol:
        return point[expression.name]
    if isinstance(expression, Add):
        return sum(_value(part, point, field) for part in expression.args) % field
    if isinstance(expression, Mul):
        product = 1
        for part in expression.args:
            product = product * _value(part, point, field) % field
        return product
    if isinstance(expression, Pow):
        return _power(_value(expression.base, point, field), _whole(expression.exp), field)
    if isinstance(expression, UnevaluatedExpr):
        return _value(expression.args[0], point, field)
    if isinstance(expression, factorial_of | binomial):
        return _whole(expression) % field
    raise NotRationalError


def _power(base: int, exponent: int, field: int) -> int:
    if base == 0 and exponent < 0:
        raise ZeroDivisionError
    return pow(base, exponent, field)


def _whole(expression: Any) -> int:
    """The whole number that a constant is. Raises NotRationalError if it is none, or has very many digits."""
    if expression.is_Integer:
        return int(expression)
    parts = [_whole(part) for part in expression.args]
    if isinstance(expression, Add) and parts:
        return sum(parts)
    if isinstance(expression, Mul) and parts:
        product = 1
        for part in parts:
            product = _bounded(product * part)
        return product
    if isinstance(expression, Pow) and 0 <= parts[1] <= _LONGEST_EXPONENT:
        return _bounded(parts[0] ** parts[1]) if parts[0].bit_length() * parts[1] <= _LONGEST_EXPONENT else _too_long()
    if isinstance(expression, factorial_of) and 0 <= parts[0] <= _LARGEST_FACTORIAL:
        return factorial(parts[0])
    raise NotRationalError


def _bounded(number: int) -> int:
    return number if number.bit_length() <= _LONGEST_EXPONENT else _too_long()


def _too_long() -> int:
    raise NotRationalError
