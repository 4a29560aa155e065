# mypy: disable-error-code="import-untyped,no-untyped-call"
"""The numbers that expressions are, to any precision.

A value is computed in binary floating point of `bits` bits. What has a jump (a floor, the branch of a logarithm) is
decided by `nearly_whole` and `nearly_real`: what is within 2^(-bits/2) of the jump, relative to its size, is on it.
Whoever calls chooses so many bits that no number that occurs is nearer without being equal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sympy
from mpmath import mp, mpc, mpf

from .reading import OddRoot


class NoValueError(Exception):
    """The expression has no finite value there, or none that can be computed."""


_CONSTANTS: Final[dict[Any, Callable[[], Any]]] = {
    sympy.pi: lambda: +mp.pi,
    sympy.E: lambda: +mp.e,
    sympy.I: lambda: mpc(0, 1),
    sympy.EulerGamma: lambda: +mp.euler,
    sympy.GoldenRatio: lambda: +mp.phi,
    sympy.Catalan: lambda: +mp.catalan,
}
_ANALYTIC: Final = (
    sympy.exp, sympy.sin, sympy.cos, sympy.tan, sympy.cot, sympy.sec, sympy.csc, sympy.asin, sympy.acos, sympy.atan,
    sympy.acot, sympy.asec, sympy.acsc, sympy.asinh, sympy.acosh, sympy.atanh, sympy.acoth, sympy.gamma,
    sympy.factorial, sympy.binomial,
)  # fmt: skip
_SPECIAL: Final = (
    sympy.erf, sympy.erfc, sympy.erfi, sympy.zeta, sympy.loggamma, sympy.beta, sympy.LambertW, sympy.Si, sympy.Ci,
    sympy.conjugate, sympy.re, sympy.im, sympy.arg,
)  # fmt: skip
_BY_NAME: Final[dict[Any, str]] = {kind: kind.__name__.lower() for kind in (*_ANALYTIC, *_SPECIAL)}
ELEMENTARY: Final = frozenset(
    {*_ANALYTIC, sympy.Add, sympy.Mul, sympy.Pow, sympy.log, sympy.Abs, sympy.Max, sympy.Min, sympy.sign, OddRoot}
)
"""Functions that are analytic, except for a few places, and that come near to a value only where they say so."""


@dataclass(slots=True)
class Values:
    """The values of the parts of expressions at one point, computed with `bits` bits."""

    bits: int
    point: Mapping[str, sympy.Rational] = field(default_factory=dict)
    """The values of the unknowns."""
    real_roots: bool = True
    """A power with an odd denominator of a negative number is the real one, else the principal one."""
    known: dict[Any, Any] = field(default_factory=dict)

    def of(self, expression: Any) -> Any:
        """A finite mpf or mpc. Raises NoValueError."""
        if expression not in self.known:
            with mp.workprec(self.bits):
                try:
                    value = self._computed(expression)
                except (ZeroDivisionError, ValueError, OverflowError, TypeError, AttributeError) as error:
                    raise NoValueError(str(expression)[:100]) from error
                if not mp.isfinite(value):
                    raise NoValueError(str(expression)[:100])
                self.known[expression] = value
        return self.known[expression]

    def _computed(self, expression: Any) -> Any:
        if expression in _CONSTANTS:
            return _CONSTANTS[expression]()
        if expression.is_Symbol and expression.name in self.point:
            expression = self.point[expression.name]
        if expression.is_Rational:
            return mpf(int(expression.p)) / int(expression.q)
        kind = expression.func
        if kind is sympy.Pow:
            return self._power(*expression.args)
        if kind not in _BY_NAME and kind not in _PARTS:
            return self._by_sympy(expression)
        parts = [self.of(part) for part in expression.args]
        return _PARTS[kind](self, *parts) if kind in _PARTS else getattr(mp, _BY_NAME[kind])(*parts)

    def _power(self, base: Any, exponent: Any) -> Any:
        if base is sympy.E:
            return mp.exp(self.of(exponent))
        value = self.real(self.of(base))
        if exponent.is_Integer:
            return value ** int(exponent)
        if self.real_roots and exponent.is_Rational and exponent.q % 2 and isinstance(value, mpf) and value < 0:
            size = mp.power(-value, self.of(exponent))
            return -size if exponent.p % 2 else size
        if value == 0:
            return mpf(0) if self.of(exponent).real > 0 else value**-1
        return mp.power(value, self.of(exponent))

    def _by_sympy(self, expression: Any) -> Any:
        """The value of a part that has no rule here, such as an integral, if sympy can tell it."""
        names = {symbol: self.point[symbol.name] for symbol in expression.free_symbols if symbol.name in self.point}
        value = sympy.N(expression.subs(names), int(self.bits * 0.30103) + 2)
        if not value.is_number or not value.is_finite or value.atoms(sympy.Function):
            raise NoValueError(str(expression)[:100])
        return self.real(value._to_mpmath(self.bits))

    def real(self, value: Any) -> Any:
        """Without an imaginary part that is nothing but rounding."""
        value = mp.mpmathify(value)
        if isinstance(value, mpc) and abs(value.imag) <= mp.ldexp(abs(value.real), -self.bits // 2):
            return value.real
        return value

    def whole(self, value: Any) -> Any:
        """The nearest whole number if that is as near as rounding, else the value."""
        near = mp.nint(value.real)
        slack = mp.ldexp(max(abs(value), mpf(1)), -self.bits // 2)
        return near if abs(value - near) <= slack else value


def largest(at: Values) -> int:
    """The largest binary exponent among the values computed."""
    return max((int(mp.mag(value)) for value in at.known.values() if value), default=0)


def sizes(coarse: Values, fine: Values) -> int:
    """The sum of the absolute binary exponents of the values that are the same at two precisions, and no rounding."""
    both = [(coarse.known[part], value) for part, value in fine.known.items() if part in coarse.known]
    exponents = [(int(mp.mag(one)), int(mp.mag(other))) for one, other in both if one and other]
    return sum(abs(other) for one, other in exponents if abs(one - other) <= 1)


def _log(at: Values, *parts: Any) -> Any:
    logs = [mp.log(at.real(part)) for part in parts]
    return logs[0] if len(logs) == 1 else logs[0] / logs[1]


def _odd_root(at: Values, value: Any, degree: Any) -> Any:
    value = at.real(value)
    if isinstance(value, mpc):
        raise ValueError("no real number")
    return mp.sign(value) * mp.root(abs(value), int(degree))


def _floor(at: Values, value: Any) -> Any:
    return mp.floor(at.whole(at.real(value)))


def _sign(at: Values, value: Any) -> Any:
    value = at.real(value)
    return mpf(0) if abs(value) <= mp.ldexp(mpf(1), -at.bits // 2) else mp.sign(value)


_PARTS: Final[dict[Any, Callable[..., Any]]] = {
    sympy.Add: lambda at, *parts: mp.fsum(parts),
    sympy.Mul: lambda at, *parts: mp.fprod(parts),
    sympy.Abs: lambda at, value: abs(value),
    sympy.log: _log,
    OddRoot: _odd_root,
    sympy.floor: _floor,
    sympy.ceiling: lambda at, value: -_floor(at, -value),
    sympy.sign: _sign,
    sympy.Max: lambda at, *parts: max(at.real(part) for part in parts),
    sympy.Min: lambda at, *parts: min(at.real(part) for part in parts),
    sympy.Mod: lambda at, value, by: value - by * _floor(at, value / by),
    sympy.UnevaluatedExpr: lambda at, value: value,
}
