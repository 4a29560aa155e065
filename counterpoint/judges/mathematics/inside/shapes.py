# mypy: disable-error-code="import-untyped,no-untyped-call"
"""Equality of what was read: numbers, lists, sets, intervals, matrices, equations and inequalities, made of scalars.

Equations follow the key: where the key is a value, `x = 3` counts as 3; where the key is `x = 3`, 3 does. A set and a
relation with one unknown are the same if the relation's solutions are the set.
"""

from collections.abc import Iterable
from typing import Any, Final

import sympy
from sympy import Eq, Expr, FiniteSet, Interval, MatrixBase, MatrixExpr, Ne, S, Set, Symbol, Tuple, Union
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational

from . import real_sets, scalars
from .evaluated import TooLargeError, evaluated
from .patience import OutOfTime, within
from .reading import AllOf, AnyOf
from .scalars import Allowed, Verdict

_TURNED: Final = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
_SOLVING: Final = 1.0


def same(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    """The verdict on an answer: True if it is the key, False if it is not, None if neither is shown."""
    key, answer = _sides(key, answer)
    if answer is None:
        return False
    if isinstance(key, MatrixBase | MatrixExpr) or isinstance(answer, MatrixBase | MatrixExpr):
        return _matrices(key, answer, allowed)
    if isinstance(key, AnyOf | AllOf) or isinstance(answer, AnyOf | AllOf):
        return _joined(key, answer, allowed)
    if _is_relation(key) and _is_relation(answer):
        return _relations(key, answer, allowed)
    if _is_relation(key) or _is_relation(answer) or _is_set(key) or _is_set(answer):
        return _sets(key, answer, allowed)
    if isinstance(key, Tuple | FiniteSet) or isinstance(answer, Tuple | FiniteSet):
        return _lists(key, answer, allowed)
    if not isinstance(key, Expr) or not isinstance(answer, Expr):
        return bool(key == answer)
    if isinstance(key, Symbol) or isinstance(answer, Symbol):
        word = _word(key, answer)
        if word is not None:
            return word
    return scalars.same(key, answer, allowed)


def every(verdicts: Iterable[Verdict]) -> Verdict:
    """False if any is, True if all are."""
    unknown = False
    for verdict in verdicts:
        if verdict is False:
            return False
        unknown = unknown or verdict is None
    return None if unknown else True


def _sides(key: Any, answer: Any) -> tuple[Any, Any]:
    """The sides to compare of two equations, or of an equation and a value; no answer if that contradicts itself."""
    if _is_equation(answer) and not _is_equation(key):
        sides = _chain(answer)
        constants = [
            side
            for side in sides[:-1]
            if isinstance(side, Expr) and not side.free_symbols and not side.has(AppliedUndef)
        ]
        if any(same(sides[-1], side, scalars.EXACT) is not True for side in constants):
            return key, None
        return key, sides[-1]
    if _assigns(key) and not _is_equation(answer):
        return _chain(key)[-1], answer
    return _shortened(key), _shortened(answer)


def _shortened(one: Any) -> Any:
    """The equation y = b of a chain y = a = b; anything else as it is."""
    return Eq(_chain(one)[0], _chain(one)[-1], evaluate=False) if _assigns(one) else one


def _chain(equation: Any) -> list[Any]:
    """The sides of a = b = c."""
    parts = _parts(equation)
    return [parts[0].lhs, *(part.rhs for part in parts)]


def _parts(relation: Any) -> list[Any]:
    return [*getattr(relation, "_unsorted_args", relation.args)] if isinstance(relation, sympy.And) else [relation]


def _is_relation(one: Any) -> bool:
    return isinstance(one, Relational) or (
        isinstance(one, sympy.And) and all(isinstance(part, Relational) for part in one.args)
    )


def _is_equation(one: Any) -> bool:
    return _is_relation(one) and all(isinstance(part, Eq) for part in _parts(one))


def _assigns(one: Any) -> bool:
    if not _is_equation(one):
        return False
    name = _parts(one)[0].lhs
    return isinstance(name, Symbol) or (
        isinstance(name, AppliedUndef) and all(arg.is_Symbol or arg.is_number for arg in name.args)
    )


def _is_set(one: Any) -> bool:
    return isinstance(one, Set) and not isinstance(one, FiniteSet)


def _word(key: Any, answer: Any) -> Verdict:
    r"""The verdict on words: `\text{abc}` is read as one unknown, abc as a product of three; None if none is a word."""
    names = [_letters(one) for one in (key, answer)]
    if None in names or max(isinstance(one, Symbol) and len(one.name) for one in (key, answer)) < 2:
        return None
    if any(isinstance(one, Symbol) and "_" in one.name for one in (key, answer)):
        return None
    return str(names[0]).casefold() == str(names[1]).casefold()


def _letters(one: Any) -> str | None:
    parts = one.args if isinstance(one, sympy.Mul) else [one]
    letters = ["e" if part is S.Exp1 else getattr(part, "name", None) for part in parts]
    return None if None in letters else "".join(map(str, letters))


def _matrices(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    one, other = (part.doit() if isinstance(part, MatrixExpr) else part for part in (key, answer))
    if not isinstance(one, MatrixBase) or not isinstance(other, MatrixBase):
        return bool(one == other)
    if one.shape != other.shape:
        return False
    return every(same(left, right, allowed) for left, right in zip(one.flat(), other.flat(), strict=True))


def _lists(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    """Lists in brackets have an order; others have none, unless what they are compared with has one."""
    if isinstance(key, FiniteSet) and isinstance(answer, FiniteSet):
        return _unordered(_members(key), _members(answer), allowed)
    if not isinstance(key, Tuple | FiniteSet):
        key = FiniteSet(key)
    if not isinstance(answer, Tuple | FiniteSet):
        answer = FiniteSet(answer)
    one, other = _members(key), _members(answer)
    if len(one) != len(other):
        return False
    return every(same(left, right, allowed) for left, right in zip(one, other, strict=True))


def _members(found: Any) -> list[Any]:
    return [*getattr(found, "_unsorted_args", found.args)]


def _unordered(one: list[Any], other: list[Any], allowed: Allowed) -> Verdict:
    """The verdict on two sets: every member of each is in the other."""
    key, answer = [part for part in one if part not in other], [part for part in other if part not in one]
    found = every(scalars.any_of(same(left, right, allowed) for left in one) for right in answer)
    return found and every(scalars.any_of(same(left, right, allowed) for right in other) for left in key)


def _sets(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    if key == answer:
        return True
    if isinstance(key, Interval) and isinstance(answer, Interval):
        return _intervals(key, answer, allowed)
    for one, other, turned in ((key, answer, False), (answer, key, True)):
        if isinstance(one, Interval) and isinstance(other, Tuple | FiniteSet) and len(other.args) == 2:
            pair = Tuple(one.start, one.end) if one.left_open and one.right_open else None
            if pair is not None:
                return _lists(other, pair, allowed) if turned else _lists(pair, other, allowed)
    try:
        return real_sets.same_places(_places(key), _places(answer), lambda one, other: same(one, other, allowed))
    except real_sets.NotRealError:
        return _by_parts(key, answer, allowed)


def _joined(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    """The verdict on conditions joined by words: by their solutions, or each to each where there are several unknowns.

    A list of conditions without a word is joined by either.
    """
    if _unknowns(key) != _unknowns(answer) and _unknowns(key) and _unknowns(answer):
        return False
    try:
        return real_sets.same_places(_places(key), _places(answer), lambda one, other: same(one, other, allowed))
    except real_sets.NotRealError:
        listed = all(isinstance(one, AnyOf | AllOf | FiniteSet) for one in (key, answer))
        if not listed or {type(key), type(answer)} == {AnyOf, AllOf}:
            return False
        return _unordered(_members(key), _members(answer), allowed)


def _unknowns(one: Any) -> set[str]:
    return {symbol.name for symbol in one.free_symbols}


def _intervals(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    if (key.left_open, key.right_open) != (answer.left_open, answer.right_open):
        return False
    return every((same(key.start, answer.start, allowed), same(key.end, answer.end, allowed)))


def _places(found: Any) -> list[real_sets.Place]:
    if isinstance(found, AnyOf | AllOf):
        if len(_unknowns(found)) > 1:
            raise real_sets.NotRealError
        return real_sets.merged([_places(part) for part in found.args], any if isinstance(found, AnyOf) else all)
    if isinstance(found, Eq) and isinstance(found.rhs, Set):
        return _places(found.rhs)
    if _is_relation(found):
        return real_sets.solutions(found)
    return real_sets.places(found if isinstance(found, Set) else FiniteSet(found))


def _by_parts(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    """Unions whose ends have no known order: the same parts, in any order."""
    if isinstance(key, Union) and isinstance(answer, Union):
        return _unordered([*key.args], [*answer.args], allowed)
    return False


def _relations(key: Any, answer: Any, allowed: Allowed) -> Verdict:
    one, other = _parts(key), _parts(answer)
    matched = _unordered_relations(one, other)
    if matched or _is_equation(key) != _is_equation(answer):
        return matched
    if not _is_equation(key):
        if _unknowns(key) != _unknowns(answer):
            return False
        try:
            return real_sets.same_places(_places(key), _places(answer), lambda left, right: same(left, right, allowed))
        except real_sets.NotRealError:
            return matched
    if len(one) == len(other) == 1:
        return _solved(one[0], other[0])
    return matched


def _unordered_relations(one: list[Any], other: list[Any]) -> Verdict:
    found = every(scalars.any_of(_relation(left, right) for left in one) for right in other)
    return found and every(scalars.any_of(_relation(left, right) for right in other) for left in one)


def _relation(key: Any, answer: Any) -> Verdict:
    """The verdict on two relations, equal if one is the other times a number that keeps its sign."""
    try:
        return _same_relation(key, answer)
    except TooLargeError:
        return False


def _same_relation(key: Any, answer: Any) -> Verdict:
    if isinstance(key.rhs, Set | Tuple | MatrixBase) or isinstance(answer.rhs, Set | Tuple | MatrixBase):
        alike = key.rel_op == answer.rel_op and key.lhs == answer.lhs
        return same(key.rhs, answer.rhs, scalars.EXACT) if alike else False
    if answer.rel_op != key.rel_op:
        if _TURNED[answer.rel_op] != key.rel_op:
            return False
        answer = answer.reversed
    if key.free_symbols != answer.free_symbols:
        return False
    left, right = (_difference(one) for one in (key, answer))
    return _proportional(left, right, positive=not isinstance(key, Eq | Ne))


def _difference(relation: Any) -> Any:
    return evaluated(sympy.Add(relation.lhs, sympy.Mul(-1, relation.rhs, evaluate=False), evaluate=False))


def _proportional(key: Any, answer: Any, *, positive: bool = False) -> Verdict:
    """True if the answer is the key times a number other than 0."""
    for point in scalars.points(key, answer):
        one, other = (evaluated(part.subs(point)) for part in (key, answer))
        signs = [scalars.order(value, S.Zero) for value in (one, other)]
        if None in signs or signs == [0, 0]:
            continue
        if 0 in signs or (positive and signs[0] != signs[1]):
            return False
        return scalars.same(sympy.Mul(key, other), sympy.Mul(answer, one), scalars.EXACT)
    return False


def _solved(key: Any, answer: Any) -> Verdict:
    """The verdict on two equations by what they say of one of their unknowns; different if that cannot be found."""
    try:
        with within(_SOLVING):
            left, right = (_polynomial(_difference(one)) for one in (key, answer))
            if left is not None and right is not None:
                return _proportional(left, right)
            solved = [
                [sympy.solve(equation, unknown) for equation in (key, answer)]
                for unknown in sorted(key.free_symbols & answer.free_symbols, key=str)
            ]
            found = [_unordered(one, other, scalars.EXACT) for one, other in solved if one or other]
            return every(found) if found else False
    except (MemoryError, RecursionError):
        raise
    except (OutOfTime, Exception):  # whatever sympy raises, it has not found it
        return False


def _polynomial(difference: Any) -> Any:
    """The polynomial without double factors that is zero where the difference is; None if there is none."""
    top, _ = sympy.together(difference).as_numer_denom()
    return sympy.sqf_part(top) if top.free_symbols and top.is_polynomial() else None
