# mypy: disable-error-code="import-untyped,no-untyped-call,misc"
r"""Reads LaTeX into sympy's expressions, exactly and without evaluating anything.

The grammar is that of latex2sympy2_extended. What it reads otherwise than a mathematician does is read here: a decimal
is a rational number, a number beside brackets is a factor (`2(3)` is 6; only `2\frac{1}{3}` is mixed), an odd root of a
negative number is real, and the ends of an interval stay as they are written.
"""

import re
from typing import Any, Final

from latex2sympy2_extended import NormalizationConfig
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy, normalize_latex
from sympy import (
    Basic,
    Expr,
    Function,
    I,
    Integer,
    Interval,
    MatrixBase,
    Pow,
    Rational,
    Set,
    Symbol,
    SympifyError,
    sympify,
)
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean
from sympy.parsing import sympy_parser

_NUMBER: Final = re.compile(r"[0-9]+|[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]{1,3})?|[0-9]+\.|-?[0-9]+/[0-9]+")
_LONGEST_NUMBER: Final = 1000
_MIXED: Final = re.compile(r"\\frac\{\d+\}\{\d+\}|\\frac\d\d|\d+/\d+")
_ARGUMENT: Final = r"\s*(\{[^{}]*\}|\\[a-zA-Z]+\s*|[0-9a-zA-Z])"
_BARE: Final = r"(?:\\(?!sqrt|frac)[a-zA-Z]|[0-9a-zA-Z])"
_FRACTION: Final = re.compile(rf"\\frac(?=\s*(?:{_BARE}|\{{[^{{}}]*\}}\s*{_BARE})){_ARGUMENT}{_ARGUMENT}")
_ROOT: Final = re.compile(r"(\\sqrt\s*\[[^\[\]]*\])\s*(\\(?!sqrt|frac)[a-zA-Z]+|[0-9a-zA-Z])")
_TIMES_FUNCTION: Final = re.compile(
    r"(?:\\cdot|\\times|\*)\s*(?=\\(?:(?:arc)?(?:sin|cos|tan)h?|cot|sec|csc|ln|log|lg|exp)(?![a-zA-Z]))"
)
_SUM_OVER_I: Final = re.compile(r"_\s*\{?\s*i\s*(?:=|\\in)")
_LETTER_I: Final = Symbol("i", real=True)
_SPELLING: Final = NormalizationConfig(units=False, malformed_operators=True, nits=False, boxed="none", equations=False)
_LETTERS: Final = ConversionConfig(lowercase_symbols=False)


_JOINT: Final = re.compile(
    r"\\text\s*\{\s*(or|and)\s*\}|(?<![a-zA-Z\\{])(or|and)(?![a-zA-Z])|(\\lor|\\vee|\\land|\\wedge)(?![a-zA-Z])"
)
_INEQUALITY: Final = re.compile(r"[<>]|\\(?:le|ge|lt|gt|ne|in)(?![a-zA-Z])")
_DERIVATIVE: Final = re.compile(r"\\frac\s*\{\s*d\s*([a-zA-Z])\s*\}\s*\{\s*d\s*([a-zA-Z])\s*\}")
_PRIMED: Final = re.compile(r"([a-zA-Z])\s*('+)")


class AnyOf(Basic):
    """Conditions of which one has to hold: relations, or sets in which the unknown is."""


class AllOf(Basic):
    """Conditions that have to hold together."""


class OddRoot(Function):
    """The real root of odd degree n of a real number: `OddRoot(x, n)`, with the sign of x."""

    nargs = 2
    is_real = True


class UnreadableError(Exception):
    """The text cannot be read as mathematics."""


def number_of(text: Any, *_: Any, **__: Any) -> Any:
    """In place of sympy's parse_expr: a number in digits, or a name. Raises SympifyError for any other text.

    Fractions in digits are sympy's own: its tables of sums have them.
    """
    if isinstance(text, str) and re.fullmatch("[A-Za-z]+", text):
        return Symbol(text)
    if not isinstance(text, str) or not _NUMBER.fullmatch(text) or len(text) > _LONGEST_NUMBER:
        raise SympifyError(text)
    return Integer(text) if text.isdigit() else Rational(text)


def refuse_to_evaluate() -> None:
    """After this, sympy makes a number or a name of a text, and evaluates none."""
    sympy_parser.parse_expr = number_of


def read(text: str) -> Any:
    """The expression that the text is as LaTeX, read without evaluating anything; None if it cannot be read.

    It is read whole or not at all: math-verify's own `parse` goes on to look for a fraction somewhere in the text.
    """
    joints = {one[1] or one[2] or one[3] for one in _JOINT.finditer(text)}
    if joints and _INEQUALITY.search(text):
        return _joined(joints, text)
    try:
        found = _Reader(text).parse(normalize_latex(_spelled(text), _SPELLING))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever the library raises, it could not read it
        return None
    return found if isinstance(found, Basic | MatrixBase) else None


def _joined(joints: set[str], text: str) -> Any:
    """Conditions that are joined by or, or by and; None if they are joined by both, or one of them cannot be read."""
    kinds = {AnyOf if joint in ("or", r"\lor", r"\vee") else AllOf for joint in joints}
    parts = [read(part.strip(" ,")) for part in _JOINT.sub("\n", text).split("\n")]
    if len(kinds) > 1 or not all(isinstance(part, Relational | Boolean | Set) for part in parts):
        return None
    return kinds.pop()(*parts)


def _spelled(text: str) -> str:
    r"""With braces around arguments that are one sign, `\frac{\pi}{3}` for `\frac\pi3`, and `\sin x\cos x` without dot.

    The grammar takes `\sin x\cdot\cos x` for the sine of a product.
    """
    text = _DERIVATIVE.sub(r"D_{\1\2}", text)
    if "'" in text and r"\text" not in text:
        text = _PRIMED.sub(lambda one: f"{one[1]}_{{{'q' * len(one[2])}}}", text)
    text = _ROOT.sub(r"\1{\2}", _TIMES_FUNCTION.sub(" ", text))
    return _FRACTION.sub(lambda one: r"\frac" + _braced(one[1]) + _braced(one[2]), text)


def _braced(argument: str) -> str:
    return argument if argument.startswith("{") else f"{{{argument.strip()}}}"


class _Reader(_Latex2Sympy):
    def __init__(self, text: str) -> None:
        super().__init__(is_real=True, config=_LETTERS)
        self._counts_with_i = _SUM_OVER_I.search(text) is not None

    def create_symbol(self, text: str, enforce_case: bool = False) -> Any:
        return Symbol(text, real=True)

    def convert_atom_expr(self, atom_expr: Any) -> Any:
        found = super().convert_atom_expr(atom_expr)
        if self._counts_with_i:
            return found
        if isinstance(found, Pow) and found.base == _LETTER_I:
            return Pow(I, found.exp, evaluate=False)
        return I if found == _LETTER_I else found

    def parse_number(self, text: str) -> Any:
        return number_of(text.replace(",", ""))

    def convert_postfix_list(self, arr: list[Any], i: int = 0) -> Any:
        first, rest = self.convert_postfix(arr[i]), arr[i + 1 :]
        if not rest or isinstance(first, list):  # a list is a derivative's unknown
            return super().convert_postfix_list(arr, i)
        left, right = arr[i].getText(), rest[0].getText()
        if left.replace(".", "").isdigit() and right[0].isdigit():
            raise UnreadableError("two numbers side by side")
        if left.isdigit() and _MIXED.fullmatch(right):
            first, rest = first + self.convert_postfix(rest[0]), rest[1:]
        return first if not rest else self._times(first, self.convert_postfix_list(rest))

    def _times(self, left: Any, right: Any) -> Any:
        if getattr(left, "is_Matrix", False) or getattr(right, "is_Matrix", False):
            return self.mat_mul_flat(left, right)
        return self.mul_flat(left, right)

    def convert_func(self, func: Any) -> Any:
        if func.FUNC_SQRT() and func.root:
            degree = self.convert_expr(func.root)
            if isinstance(degree, Integer) and degree > 1 and degree % 2:
                return OddRoot(self.convert_expr(func.base), degree, evaluate=False)
        return super().convert_func(func)

    def convert_interval(self, expr: Any) -> Any:
        round_left = expr.L_PAREN() or expr.L_GROUP() or expr.L_PAREN_VISUAL()
        round_right = expr.R_PAREN() or expr.R_GROUP() or expr.R_PAREN_VISUAL()
        start, end = (self.convert_expr(end) for end in expr.expr())
        return as_interval(start, end, bool(round_left), bool(round_right))


def as_interval(start: Any, end: Any, left_open: bool, right_open: bool) -> Any:
    """An interval whose ends are not compared: sympy's own constructor does, and not exactly."""
    if not isinstance(start, Expr) or not isinstance(end, Expr):
        raise UnreadableError("the ends of an interval are numbers")
    return Basic.__new__(Interval, start, end, sympify(left_open), sympify(right_open))
