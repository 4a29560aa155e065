# mypy: disable-error-code="import-untyped,no-untyped-call"
"""Expressions evaluated by sympy as far as that is exact and small."""

from math import log2
from typing import Any, Final

import sympy
from sympy.core.function import AppliedUndef

_LONGEST: Final = 2**18
_LARGEST_ARGUMENT: Final = 20_000
_HYPERBOLIC: Final = (sympy.sinh, sympy.cosh, sympy.tanh, sympy.coth, sympy.sech, sympy.csch)
_DONE: Final = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Derivative)


class TooLargeError(Exception):
    """A value has too many digits."""


def evaluated(expression: Any) -> Any:
    """The same, with numbers computed and sums, integrals and limits found. Functions that nobody defined are unknowns.

    Raises TooLargeError.
    """
    return _evaluated(expression, {})


def _evaluated(expression: Any, known: dict[Any, Any]) -> Any:
    if not expression.args:
        return expression
    if expression not in known:
        known[expression] = _rebuilt(expression, [_evaluated(part, known) for part in expression.args])
    return known[expression]


def _rebuilt(expression: Any, parts: list[Any]) -> Any:
    kind = expression.func
    if isinstance(expression, AppliedUndef):
        return sympy.Symbol(str(kind(*parts)), real=True)
    if kind is sympy.UnevaluatedExpr:
        return parts[0]
    if kind is sympy.Pow:
        _check_power(*parts)
    if kind in (sympy.factorial, sympy.binomial, sympy.gamma) and any(
        part.is_number and abs(part) > _LARGEST_ARGUMENT for part in parts
    ):
        raise TooLargeError
    if kind in _HYPERBOLIC:
        return kind(*parts).rewrite(sympy.exp)
    found = kind(*parts)
    return _done(found) if isinstance(found, _DONE) else found


def _done(found: Any) -> Any:
    """A sum, an integral, a limit or a derivative carried out, if sympy can."""
    try:
        return found.doit()
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever sympy raises, it has not found it
        return found


def _check_power(base: Any, exponent: Any) -> None:
    if not base.is_number or not exponent.is_Rational:
        return
    sizes = [abs(int(part)) for one in base.atoms(sympy.Rational) for part in (one.p, one.q)]
    if abs(exponent) * sum(log2(size) for size in sizes if size > 1) > _LONGEST:
        raise TooLargeError
