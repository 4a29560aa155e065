"""Small functions of numbers, lists and strings: operations, their compositions, and which of them do the same."""

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import product
from typing import Any, Literal

FamilyName = Literal["numbers", "lists", "strings"]
Value = int | str | tuple[int, ...]
"""Arguments and results of functions; a tuple represents a list, so that it can be hashed."""
_LETTERS = "abcd"
_LENGTHS = (3, 4, 4, 5)
_INPUTS = 400
"""So many are drawn for a family of lists or strings; a few are drawn twice."""
_BARE = re.compile(r"\S+ (?:\+|\*|//|%) \S+")


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a function."""

    name: str
    apply: Callable[[Any], Value] = field(repr=False, compare=False)
    source: str = field(repr=False)
    """A Python expression, `{x}` where its argument stands."""

    @property
    def binds_loosely(self) -> bool:
        """True if the expression needs parentheses before an index, a method or another operator."""
        return _BARE.fullmatch(self.source) is not None

    def around(self, argument: str, loose: bool) -> str:
        """The expression with `argument` in its place, in parentheses where a loose one needs them."""
        enclosed = "({x}" in self.source or "in {x}" in self.source
        return self.source.replace("{x}", f"({argument})" if loose and not enclosed else argument)


@dataclass(frozen=True, slots=True)
class Family:
    """Operations on values of one kind, and the inputs that problems draw from."""

    name: FamilyName
    parameter: str
    inputs: tuple[Value, ...] = field(repr=False, compare=False)
    operations: tuple[Operation, ...] = field(repr=False, compare=False)
    endings: tuple[Operation, ...] = field(repr=False, compare=False)
    """Operations whose result is of another kind, so that nothing can follow them."""

    def compositions(self, steps: int) -> list[tuple[Operation, ...]]:
        """Every sequence of `steps` operations, an ending only at its end."""
        last = (*self.operations, *self.endings)
        return list(product(*[self.operations] * (steps - 1), last))


@dataclass(frozen=True, slots=True)
class Function:
    """Operations one after the other."""

    family: Family
    operations: tuple[Operation, ...]

    @property
    def plan(self) -> str:
        """The names of the operations: `sort, take 2`."""
        return ", ".join(operation.name for operation in self.operations)

    def __call__(self, value: Value) -> Value:
        """Raises ValueError or IndexError where an operation has no result, such as the largest of nothing."""
        for operation in self.operations:
            value = operation.apply(value)
        return value

    def expression(self) -> str:
        """Python source with one nested expression."""
        text, loose = self.family.parameter, False
        for operation in self.operations:
            text, loose = operation.around(text, loose), operation.binds_loosely
        return f"def f({self.family.parameter}):\n    return {text}"

    def lines(self) -> str:
        """Python source with a line for each operation."""
        name = self.family.parameter
        body = [f"    {name} = {operation.around(name, loose=False)}" for operation in self.operations]
        return "\n".join([f"def f({name}):", *body, f"    return {name}"])


@dataclass(frozen=True, slots=True)
class Table:
    """All functions of a family of one or two operations, one for each behaviour: the shortest, then the first."""

    family: Family
    functions: dict[tuple[Value, ...], Function]
    """By their results on all inputs of the family."""
    fitting: tuple[dict[Value, int], ...]
    """For each input, by result: the functions that give it, a bit each, in the order of `functions`."""

    def alternatives(self, places: Sequence[int], results: Sequence[Value]) -> int:
        """The number of functions in the table that give all the results on the inputs at these indices."""
        fits = -1
        for place, result in zip(places, results, strict=True):
            fits &= self.fitting[place].get(result, 0)
        return fits.bit_count()


TABLED = 2
"""Compositions of up to so many operations are all tabled; there are too many longer ones."""


@lru_cache(maxsize=8)
def table(name: FamilyName) -> Table:
    """The table of a family; made once."""
    family = FAMILIES[name]
    functions: dict[tuple[Value, ...], Function] = {family.inputs: Function(family, ())}
    for steps in range(1, TABLED + 1):
        for operations in family.compositions(steps):
            found = behaviour(Function(family, operations))
            if found is not None:
                functions.setdefault(found, Function(family, operations))
    del functions[family.inputs]
    return Table(family, functions, _fitting(family, list(functions)))


def behaviour(function: Function, inputs: Sequence[Value] | None = None) -> tuple[Value, ...] | None:
    """The results on all inputs of the family, or on others; None if one has no result."""
    try:
        return tuple(function(value) for value in (function.family.inputs if inputs is None else inputs))
    except (ValueError, IndexError):
        return None


def literal(value: Value) -> str:
    """A value as Python writes it."""
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def _fitting(family: Family, behaviours: Sequence[tuple[Value, ...]]) -> tuple[dict[Value, int], ...]:
    found: tuple[dict[Value, int], ...] = tuple({} for _ in family.inputs)
    for number, results in enumerate(behaviours):
        bit = 1 << number
        for place, result in enumerate(results):
            found[place][result] = found[place].get(result, 0) | bit
    return found


def _each(name: str, source: str, apply: Callable[[Any, Any], Value], constants: Iterable[object]) -> list[Operation]:
    """An operation for each constant, which stands for `{k}` in the name and in the source."""
    return [
        Operation(name.replace("{k}", str(k)), partial(_swapped, apply, k), source.replace("{k}", str(k)))
        for k in constants
    ]


def _swapped(apply: Callable[[Any, Any], Value], k: object, x: object) -> Value:
    return apply(x, k)


def _numbers() -> Family:
    operations = [
        *_each("add {k}", "{x} + {k}", lambda n, k: n + k, range(1, 6)),
        *_each("times {k}", "{x} * {k}", lambda n, k: n * k, (2, 3)),
        *_each("rest {k}", "{x} % {k}", lambda n, k: n % k, (3, 10)),
        *_each("at least {k}", "max({x}, {k})", max, (5, 10)),
        *_each("at most {k}", "min({x}, {k})", min, (5, 10)),
        Operation("half", lambda n: n // 2, "{x} // 2"),
    ]
    return Family("numbers", "n", tuple(range(21)), tuple(operations), ())


def _lists() -> Family:
    operations = [
        Operation("sort", lambda xs: tuple(sorted(xs)), "sorted({x})"),
        Operation("reverse", lambda xs: xs[::-1], "{x}[::-1]"),
        *_each("take {k}", "{x}[:{k}]", lambda xs, k: xs[:k], (2, 3)),
        Operation("drop first", lambda xs: xs[1:], "{x}[1:]"),
        Operation("drop last", lambda xs: xs[:-1], "{x}[:-1]"),
        *_each("add {k}", "[x + {k} for x in {x}]", lambda xs, k: tuple(x + k for x in xs), (1, 2, 3)),
        *_each("times {k}", "[x * {k} for x in {x}]", lambda xs, k: tuple(x * k for x in xs), (2,)),
        *_each("keep above {k}", "[x for x in {x} if x > {k}]", lambda xs, k: tuple(x for x in xs if x > k), (2, 4)),
        *_each("keep below {k}", "[x for x in {x} if x < {k}]", lambda xs, k: tuple(x for x in xs if x < k), (5, 7)),
        Operation("keep even", lambda xs: tuple(x for x in xs if x % 2 == 0), "[x for x in {x} if x % 2 == 0]"),
        Operation("keep odd", lambda xs: tuple(x for x in xs if x % 2 == 1), "[x for x in {x} if x % 2 == 1]"),
    ]
    endings = (
        Operation("sum", sum, "sum({x})"),
        Operation("length", len, "len({x})"),
        Operation("largest", max, "max({x})"),
        Operation("smallest", min, "min({x})"),
        Operation("first", lambda xs: xs[0], "{x}[0]"),
        Operation("last", lambda xs: xs[-1], "{x}[-1]"),
    )
    source = random.Random("lists")
    inputs = {tuple(source.choices(range(10), k=source.choice(_LENGTHS))) for _ in range(_INPUTS)}
    return Family("lists", "xs", tuple(sorted(inputs)), tuple(operations), endings)


def _strings() -> Family:
    operations = [
        Operation("upper", lambda s: s.upper(), "{x}.upper()"),
        Operation("sort", lambda s: "".join(sorted(s)), "''.join(sorted({x}))"),
        Operation("reverse", lambda s: s[::-1], "{x}[::-1]"),
        Operation("twice", lambda s: s * 2, "{x} * 2"),
        *_each("take {k}", "{x}[:{k}]", lambda s, k: s[:k], (2, 3)),
        Operation("drop first", lambda s: s[1:], "{x}[1:]"),
        Operation("drop last", lambda s: s[:-1], "{x}[:-1]"),
        *_each("remove {k}", "{x}.replace('{k}', '')", lambda s, k: s.replace(k, ""), "ab"),
        Operation("turn a to c", lambda s: s.replace("a", "c"), "{x}.replace('a', 'c')"),
        Operation("turn b to d", lambda s: s.replace("b", "d"), "{x}.replace('b', 'd')"),
        *_each("begin with {k}", "'{k}' + {x}", lambda s, k: k + s, _LETTERS),
        *_each("end with {k}", "{x} + '{k}'", lambda s, k: s + k, _LETTERS),
    ]
    endings = (Operation("length", len, "len({x})"),)
    source = random.Random("strings")
    inputs = {"".join(source.choices(_LETTERS, k=source.choice(_LENGTHS))) for _ in range(_INPUTS)}
    return Family("strings", "s", tuple(sorted(inputs)), tuple(operations), endings)


FAMILIES: dict[FamilyName, Family] = {"numbers": _numbers(), "lists": _lists(), "strings": _strings()}
