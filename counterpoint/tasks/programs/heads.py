"""The head of the function of a problem, which says what the lists of its tests mean."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from counterpoint.errors import TaskError
from counterpoint.sandboxes.inside.codec import Value

_SCALARS = frozenset(("int", "float", "str", "bool"))
_LISTS = frozenset(("List", "list", "Sequence", "Tuple", "tuple"))
_MOST = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The numbers of arguments that a function takes, and how many lists are in each other in its value."""

    name: str
    least: int
    most: int
    depth: int | None
    """None where its annotation does not say it."""

    def takes(self, arguments: Sequence[Value]) -> bool:
        """True if the function can be called with these."""
        return self.least <= len(arguments) <= self.most


def head_of(function: str, starter: str) -> Head | None:
    """The head of a function, or of a method of that name, in the code that a problem begins with; None without one."""
    found = re.search(rf"^([ \t]*)def[ \t]+{re.escape(function)}[ \t]*\(", starter, re.MULTILINE)
    if found is None:
        return None
    definition = _definition(starter[found.start() :].lstrip())
    if definition is None:
        return None
    given = definition.args
    names = [one.arg for one in (*given.posonlyargs, *given.args)]
    own = 1 if names[:1] == ["self"] or (found[1] and names[:1] == ["cls"]) else 0
    return Head(
        name=function,
        least=len(names) - own - len(given.defaults),
        most=_MOST if given.vararg else len(names) - own,
        depth=None if definition.returns is None else _depth_of_type(definition.returns),
    )


def arguments_for(head: Head | None, calls: Sequence[tuple[Value, ...]]) -> list[tuple[Value, ...]]:
    """The arguments of each call. Where they do not fit the head, they may all be in one list more, or in one less.

    Raises TaskError if they do not fit the head then either: no such function can be called with them.
    """
    if head is None or all(map(head.takes, calls)):
        return list(calls)
    inside: list[Any] = [call[0] if len(call) == 1 else None for call in calls]
    if all(isinstance(one, list) and head.takes(one) for one in inside):
        return [tuple(one) for one in inside]
    if head.least <= 1 == head.most:
        return [(list(call),) for call in calls]
    count = next(len(call) for call in calls if not head.takes(call))
    raise TaskError(f"its tests call {head.name} with {count} arguments, and it takes {_counted(head)}")


def in_lists_of_one(values: Sequence[Value], head: Head | None) -> bool | None:
    """True if each list among the values is one around the value; None where it may or may not belong to the value."""
    lists = [value for value in values if isinstance(value, list)]
    if not lists or any(len(value) != 1 for value in lists):
        return False
    if head is None or head.depth is None:
        return None
    return max(map(_depth, lists)) > head.depth


def _definition(text: str) -> ast.FunctionDef | None:
    """The function at the beginning of a text, whose body need not be there."""
    lines = text.splitlines()
    for count in range(1, min(len(lines), 20) + 1):
        head = "\n".join(lines[:count]).rstrip()
        for ending in ("", " pass", "\n    pass"):
            try:
                (node,) = ast.parse(head + ending).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            return node if isinstance(node, ast.FunctionDef) else None
    return None


def _depth_of_type(annotation: ast.expr) -> int | None:
    match annotation:
        case ast.Name(id=name) if name in _SCALARS:
            return 0
        case ast.Constant(value=str(text)):
            try:
                return _depth_of_type(ast.parse(text, mode="eval").body)
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return None
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=[first, *_])) if name in _LISTS:
            inner = _depth_of_type(first)
        case ast.Subscript(value=ast.Name(id=name), slice=first) if name in _LISTS:
            inner = _depth_of_type(first)
        case _:
            return None
    return None if inner is None else inner + 1


def _depth(value: Value) -> int:
    deepest, left = 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        if isinstance(one, list):
            deepest = max(deepest, depth)
            left.extend((part, depth + 1) for part in one)
    return deepest


def _counted(head: Head) -> str:
    if head.most == _MOST:
        return f"at least {head.least}"
    return str(head.least) if head.least == head.most else f"{head.least} to {head.most}"
