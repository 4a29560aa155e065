"""Python objects compared by what they do, as far as can be told without calling them."""

from functools import partial
from types import FunctionType
from typing import Any, Final

_PLAIN: Final = (bool, int, float, complex, str, bytes, type(None))
_DEEPEST: Final = 8


def is_same(one: Any, other: Any, deepest: int = _DEEPEST) -> bool:
    """True if the objects are one, or equal down to plain values and to the code of functions.

    So a lambda in a loop is the same in every round unless what it closes over differs. False where it cannot be told.
    """
    if one is other:
        return True
    if type(one) is not type(other) or not deepest:
        return False
    if type(one) in _PLAIN:
        return repr(one) == repr(other)
    if type(one) in (list, tuple):
        return len(one) == len(other) and all(map(is_same, one, other, [deepest - 1] * len(one)))
    if isinstance(one, FunctionType) and (one.__code__ != other.__code__ or one.__globals__ is not other.__globals__):
        return False
    inside, beside = _inside(one), _inside(other)
    return inside is not None and beside is not None and is_same(inside, beside, deepest - 1)


def _inside(whole: Any) -> list[Any] | None:
    """The parts of an object; None if they cannot be seen, as in one that is not written in Python."""
    if type(whole) is dict:
        return [*whole, *whole.values()]
    if isinstance(whole, FunctionType):
        return _of_function(whole)
    if type(whole) is partial:
        return [whole.func, whole.args, whole.keywords]
    kind: Any = type(whole)
    if kind.__new__ is not object.__new__:
        return None
    slots = [vars(one).get("__slots__", ()) for one in kind.__mro__]
    names = [name for some in slots for name in ([some] if isinstance(some, str) else some)]
    state = {name: getattr(whole, name) for name in names if not name.startswith("__") and hasattr(whole, name)}
    return [state, getattr(whole, "__dict__", {})]


def _of_function(whole: FunctionType) -> list[Any] | None:
    """All that a function does depends on, but its code and its globals; None if a closure is not filled yet."""
    try:
        closed = [cell.cell_contents for cell in whole.__closure__ or ()]
    except ValueError:
        return None
    return [whole.__defaults__, whole.__kwdefaults__, closed, vars(whole)]
