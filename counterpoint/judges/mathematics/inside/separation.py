# mypy: disable-error-code="import-untyped,no-untyped-call"
"""A lower bound of the absolute values of algebraic numbers that are not zero.

The bound of Burnikel, Funke, Mehlhorn, Schirra and Schmitt (A separation bound for real algebraic expressions, 2009): a
number is kept as a quotient of two algebraic integers all of whose conjugates are at most u and l in absolute value. It
is of degree at most d, the product of the degrees of its different roots, and is 0 or at least 1/(u^(d-1) l). Sines and
cosines of rational multiples of pi are sums of roots of unity: their conjugates are at most 2, and together they are of
degree phi(n), where n is the least order that has them all.
"""

from math import ceil, lcm, log2
from typing import Any

import sympy

from .reading import OddRoot

_LARGEST_ORDER = 100_000


class NotAlgebraicError(Exception):
    """The expression is no algebraic number that has a bound here."""


def separation_bits(expression: Any) -> int | None:
    """The b for which the expression is 0 or at least 2^(-b); None if it is not seen to be algebraic."""
    bounds = _Bounds()
    try:
        upper, lower = bounds.of(expression)
    except NotAlgebraicError:
        return None
    degree = bounds.degree * int(sympy.totient(bounds.order))
    return ceil((degree - 1) * upper + lower) + 1


class _Bounds:
    """Binary logarithms of u and l for each part, and what the degree is made of."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[float, float]] = {}
        self._roots: set[tuple[Any, int]] = set()
        self.degree = 1
        self.order = 1

    def of(self, expression: Any) -> tuple[float, float]:
        if expression not in self._known:
            self._known[expression] = self._computed(expression)
        return self._known[expression]

    def _computed(self, expression: Any) -> tuple[float, float]:
        if expression.is_Rational:
            return _log2(abs(int(expression.p))), _log2(int(expression.q))
        if expression is sympy.I:
            return self._unity(4, 0.0, 0.0)
        kind = expression.func
        if kind is sympy.Add:
            return _sum([self.of(part) for part in expression.args])
        if kind is sympy.Mul:
            parts = [self.of(part) for part in expression.args]
            return sum(upper for upper, _ in parts), sum(lower for _, lower in parts)
        if kind is sympy.Pow and expression.exp.is_Rational:
            return self._power(expression.base, int(expression.exp.p), int(expression.exp.q))
        if kind is OddRoot:
            return self._power(expression.args[0], 1, int(expression.args[1]))
        if kind in (sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc):
            return self._angle(expression.args[0] / sympy.pi)
        raise NotAlgebraicError

    def _power(self, base: Any, top: int, bottom: int) -> tuple[float, float]:
        upper, lower = self.of(base)
        if bottom > 1:
            if (base, bottom) not in self._roots:
                self._roots.add((base, bottom))
                self.degree *= bottom
            if upper >= lower:
                upper = (upper + (bottom - 1) * lower) / bottom
            else:
                lower = ((bottom - 1) * upper + lower) / bottom
        return (abs(top) * upper, abs(top) * lower) if top >= 0 else (abs(top) * lower, abs(top) * upper)

    def _unity(self, order: int, upper: float, lower: float) -> tuple[float, float]:
        self.order = lcm(self.order, order)
        if self.order > _LARGEST_ORDER:
            raise NotAlgebraicError
        return upper, lower

    def _angle(self, turns: Any) -> tuple[float, float]:
        """Twice a cosine, and 2i times a sine, are sums of two roots of unity; the others are quotients of these."""
        if not turns.is_Rational:
            raise NotAlgebraicError
        return self._unity(4 * int(turns.q), 1.0, 1.0)


def _sum(parts: list[tuple[float, float]]) -> tuple[float, float]:
    upper, lower = parts[0]
    for other_upper, other_lower in parts[1:]:
        first, second = upper + other_lower, other_upper + lower
        upper, lower = max(first, second) + 1.0, lower + other_lower
    return upper, lower


def _log2(number: int) -> float:
    return log2(number) if number > 1 else 0.0
