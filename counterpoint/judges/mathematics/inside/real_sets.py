# mypy: disable-error-code="import-untyped,no-untyped-call"
"""Sets of real numbers, as the places where membership changes, so that two sets are equal if their places are.

A place is a number and a side: False is just before the number, True just after it. The interval (a, b] lies between
(a, True) and (b, True), the set {a} between (a, False) and (a, True).
"""

from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

import sympy
from sympy import Complement, FiniteSet, Intersection, Interval, Rel, S, Union

from .scalars import Verdict, order

Place = tuple[Any, bool]
_BEFORE_ALL: Place = (S.NegativeInfinity, True)
_AFTER_ALL: Place = (S.Infinity, False)


class NotRealError(Exception):
    """It is no set of real numbers whose ends can be put in order."""


def same_places(one: list[Place], other: list[Place], same: Callable[[Any, Any], Verdict]) -> Verdict:
    """The verdict on two sets; the numbers are compared by `same`."""
    if [side for _, side in one] != [side for _, side in other]:
        return False
    verdicts = [same(left, right) for (left, _), (right, _) in zip(one, other, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def places(found: Any) -> list[Place]:
    """The places of a set, in order. Raises NotRealError."""
    if found is S.Reals:
        return [_BEFORE_ALL, _AFTER_ALL]
    if found is S.EmptySet:
        return []
    if isinstance(found, Interval):
        start, end = (found.start, bool(found.left_open)), (found.end, not found.right_open)
        return [start, end] if _compared(start, end) < 0 else []
    if isinstance(found, FiniteSet) and all(isinstance(one, sympy.Expr) for one in found.args):
        return merged([[(one, False), (one, True)] for one in found.args], lambda inside: any(inside))
    if isinstance(found, Union):
        return merged([places(part) for part in found.args], lambda inside: any(inside))
    if isinstance(found, Intersection):
        return merged([places(part) for part in found.args], lambda inside: all(inside))
    if isinstance(found, Complement):
        return merged([places(part) for part in found.args], lambda inside: inside[0] and not inside[1])
    raise NotRealError


def solutions(relation: Any) -> list[Place]:
    """The places of the solutions of an inequality with one unknown. Raises NotRealError."""
    if isinstance(relation, sympy.And):
        return merged([solutions(part) for part in relation.args], lambda inside: all(inside))
    if not isinstance(relation, Rel) or len(relation.free_symbols) != 1:
        raise NotRealError
    (unknown,) = relation.free_symbols
    if relation.lhs == unknown and not relation.rhs.free_symbols:
        return _beyond(relation.rel_op, relation.rhs)
    if relation.rhs == unknown and not relation.lhs.free_symbols:
        return _beyond(relation.reversed.rel_op, relation.lhs)
    try:
        return places(relation.doit().as_set())
    except (NotImplementedError, AttributeError, TypeError, ValueError) as error:
        raise NotRealError from error


def _beyond(sign: str, number: Any) -> list[Place]:
    before, after = (number, False), (number, True)
    return {
        "<": [_BEFORE_ALL, before],
        "<=": [_BEFORE_ALL, after],
        ">": [after, _AFTER_ALL],
        ">=": [before, _AFTER_ALL],
        "==": [before, after],
        "!=": [_BEFORE_ALL, before, after, _AFTER_ALL],
    }[sign]


def merged(parts: list[list[Place]], belongs: Callable[[list[bool]], bool]) -> list[Place]:
    """The places at which it changes whether a number belongs, given in which of the parts it is."""
    inside = [False] * len(parts)
    found: list[Place] = []
    events = sorted(
        ((place, which) for which, part in enumerate(parts) for place in part),
        key=cmp_to_key(_compared_events),
    )
    for at, (place, which) in enumerate(events):
        inside[which] = not inside[which]
        last = at + 1 == len(events) or _compared(place, events[at + 1][0]) != 0
        if last and belongs(inside) != bool(len(found) % 2):
            found.append(place)
    return found


def _compared_events(one: tuple[Place, int], other: tuple[Place, int]) -> int:
    return _compared(one[0], other[0])


def _compared(one: Place, other: Place) -> int:
    """-1, 0 or 1. Raises NotRealError if it is not known which of two numbers is the larger."""
    if one[0] in (S.Infinity, S.NegativeInfinity) or other[0] in (S.Infinity, S.NegativeInfinity):
        below = one[0] is S.NegativeInfinity or other[0] is S.Infinity
        return 0 if one[0] == other[0] else -1 if below else 1
    way = order(one[0], other[0])
    if way is None:
        raise NotRealError
    return way or (one[1] > other[1]) - (one[1] < other[1])
