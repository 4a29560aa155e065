"""Test suites: the hidden tests of a programming task, which are its key."""

import json
import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

from counterpoint.errors import TaskError
from counterpoint.sandboxes.base import STANDARD, Allowance
from counterpoint.sandboxes.inside.codec import CodecError, Value, packed, unpacked

Comparison = Literal["lines", "lcb_strict", "tokens", "tokens_any_case", "exact"]
"""The ways to compare an output with the right one; see `compare.same_output`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StdinSuite:
    """Programs that read standard input and write standard output."""

    tests: tuple[tuple[str, str], ...]
    """(input, output), in the order in which they are run."""
    comparison: Comparison = "lines"
    checker: str = field(default="", repr=False)
    """Python text that decides instead of a comparison: it opens the files named by `sys.argv[1:4]` (input, right
    output, the program's output) and prints 1 or 0."""
    allowance: Allowance = STANDARD


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSuite:
    """Functions, or methods of a class `Solution`, that are called."""

    function: str
    tests: tuple[tuple[tuple[Value, ...], Value], ...]
    """(arguments, value), in the order in which they are run."""
    json_born: bool = True
    """The values were JSON: a tuple is as good as a list, and a key may be text for a number."""
    tolerance: float = 1e-6
    """Absolute or relative, whichever allows more, between two floats; an integer and a float must be equal."""
    perhaps_in_lists: bool = field(default=False, compare=False)
    """The data wrote each value in a list of one, and does not say whether it belongs to the value: both are right."""
    allowance: Allowance = STANDARD


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertSuite:
    """Functions that have to pass an exam: a text of asserts, run in another process than the program."""

    function: str
    exams: tuple[str, ...]
    """One whole text per exam, in the order in which they are run."""
    allowance: Allowance = STANDARD


Suite = StdinSuite | CallSuite | AssertSuite


def check(suite: Suite) -> None:
    """Raises TaskError if the suite cannot judge a program: it has no tests, or its function has no proper name."""
    if not (suite.exams if isinstance(suite, AssertSuite) else suite.tests):
        raise TaskError("it has no tests")
    if not isinstance(suite, StdinSuite) and not is_name(suite.function):
        raise TaskError(f"its function has no proper name: {suite.function!r}")


def is_name(function: str) -> bool:
    """True for a name that a program can give to its function: no keyword, and none that every object has."""
    return function.isidentifier() and not keyword.iskeyword(function) and not hasattr(object, function)


def to_key(suite: Suite) -> str:
    """The suite as the key of a task. Raises TaskError if it cannot judge."""
    check(suite)
    allowance = {} if suite.allowance == STANDARD else {"allowance": _fields(suite.allowance)}
    match suite:
        case StdinSuite():
            return json.dumps({"kind": "stdin", **_fields(suite), **allowance})
        case AssertSuite():
            return json.dumps({"kind": "assert", **_fields(suite), **allowance})
        case CallSuite():
            tests = [
                {"arguments": [_packed(one) for one in given], "value": _packed(value)} for given, value in suite.tests
            ]
            fields = dict(_fields(suite))
            if not fields["perhaps_in_lists"]:
                del fields["perhaps_in_lists"]
            return json.dumps({"kind": "call", **fields, "tests": tests, **allowance})


@lru_cache(maxsize=4096)
def from_key(key: str) -> Suite:
    """The suite that a key encodes. Raises TaskError if it encodes none or one that cannot judge."""
    try:
        table = json.loads(key)
        suite = _KINDS[table.pop("kind")](table)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, CodecError) as error:
        raise TaskError(f"it is not a set of tests: {type(error).__name__}: {error}") from None
    check(suite)
    return suite


def _stdin(table: dict[str, Any]) -> Suite:
    tests = tuple((str(given), str(output)) for given, output in table.pop("tests"))
    if table.get("comparison", "lines") not in get_args(Comparison):
        raise ValueError(f"comparison {table['comparison']!r}")
    return StdinSuite(tests=tests, **_with_allowance(table))


def _call(table: dict[str, Any]) -> Suite:
    tests = tuple(
        (tuple(unpacked(one) for one in test["arguments"]), unpacked(test["value"])) for test in table.pop("tests")
    )
    return CallSuite(tests=tests, **_with_allowance(table))


def _assert(table: dict[str, Any]) -> Suite:
    return AssertSuite(exams=tuple(map(str, table.pop("exams"))), **_with_allowance(table))


_KINDS = {"stdin": _stdin, "call": _call, "assert": _assert}


def _with_allowance(table: dict[str, Any]) -> dict[str, Any]:
    return {**table, "allowance": Allowance(**table.get("allowance", {}))}


def _fields(record: object) -> Mapping[str, Any]:
    """The fields of a record except its allowance."""
    names = [name for name in type(record).__dataclass_fields__ if name != "allowance"]  # type: ignore[attr-defined]
    return {name: getattr(record, name) for name in names}


def _packed(value: Value) -> object:
    try:
        return packed(value)
    except CodecError as error:
        raise TaskError(f"a value of its tests cannot be used: {error}") from None
