"""From the tests of a data set to a suite, or to the reason why there is none."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar

from counterpoint.errors import TaskError
from counterpoint.judges.programs.compare import same_output, same_value
from counterpoint.judges.programs.suite import CallSuite, Comparison, StdinSuite, is_name
from counterpoint.sandboxes.base import MEBIBYTE, STANDARD, Allowance
from counterpoint.sandboxes.inside.codec import CodecError, Value, encode
from counterpoint.tasks._packed_tests import parsed
from counterpoint.tasks.programs.heads import arguments_for, head_of, in_lists_of_one

MAX_TEXT: Final = 16 * 2**20
"""Characters of one input or output: a program's own output is cut there, too."""
MAX_SUITE: Final = 64 * 2**20
"""Characters of all tests of a problem together."""

Kind = Literal["stdin", "call"]
_KINDS: Final[dict[str, Kind]] = {
    "stdin": "stdin",
    "stdin_stdout": "stdin",
    "functional": "call",
    "function_call": "call",
}
_Test = TypeVar("_Test")
_Given = TypeVar("_Given", str, bytes)
_Right = TypeVar("_Right")
_LONGEST_SHOWN: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The recipe's settings for reading problems."""

    comparison: Comparison | None = None
    """The comparison of outputs, instead of that of the data's own judge."""
    cpu: float | None = None
    """Seconds, instead of what the data says."""
    memory: int | None = None
    """MiB, instead of what the data says."""
    longest: int | None = None
    """Tests kept of each problem."""
    show_tests: int = 0
    """Public tests shown in a problem's text."""

    def allowance(self, cpu: Callable[[], float | None], memory: Callable[[], int | None]) -> Allowance:
        """The limits of a program: what the recipe says, else what the data says, else the standard.

        `cpu` and `memory` read the data; they are not called, and so cannot fail, where the recipe sets the limit.
        """
        seconds = self.cpu if self.cpu is not None else cpu()
        mebibytes = self.memory if self.memory is not None else memory()
        return replace(
            STANDARD,
            cpu=STANDARD.cpu if seconds is None else seconds,
            memory=STANDARD.memory if mebibytes is None else mebibytes,
        )

    @property
    def usual(self) -> Allowance:
        """The limits of a program where the data says nothing."""
        return self.allowance(lambda: None, lambda: None)


def from_cases(cases: object, reading: Reading, function: str = "", starter: str = "") -> StdinSuite | CallSuite:
    """The suite of a list of `{input, output}`, each with `type` or `testtype` and perhaps `fn_name`.

    `function` is the name that the problem gives, for tests that give none, and `starter` has its head. Raises
    TaskError if there are none, they are of several kinds or functions, or one cannot be used.
    """
    tests = _tables(cases)
    kinds = {_kind(test) for test in tests}
    if len(kinds) > 1:
        raise TaskError("some of its tests are for programs and some for functions")
    inputs, outputs = _column(tests, "input"), _column(tests, "output")
    if kinds == {"stdin"}:
        return stdin_suite(inputs, outputs, reading)
    names = {str(test["fn_name"]) for test in tests if test.get("fn_name")} or {function}
    if len(names) > 1:
        raise TaskError(f"its tests call several functions: {', '.join(sorted(names))}")
    return call_suite(names.pop(), inputs, outputs, reading, starter=starter)


def from_columns(table: object, reading: Reading, allowance: Allowance, starter: str = "") -> StdinSuite | CallSuite:
    """The suite of `{inputs, outputs}`, of a function where there is `fn_name`, as APPS and TACO write it.

    Functions take lists of arguments, or text with one JSON argument per line, where outputs are text of JSON too, or
    values. JSON has only text for keys, so a dict among the arguments whose keys are all integers gets integers for
    keys, as in the reference grader. Raises TaskError as `from_cases` does.
    """
    if not isinstance(table, dict):
        raise TaskError("its tests are not a table of inputs and outputs")
    inputs, outputs, name = _listed(table.get("inputs")), _listed(table.get("outputs")), table.get("fn_name")
    if not name:
        return stdin_suite(inputs, outputs, reading, allowance)
    calls = [_arguments(given, right) for given, right in paired(inputs, outputs)]
    restored = [[_with_whole_keys(one) for one in given] for given, _ in calls]
    return call_suite(str(name), restored, [right for _, right in calls], reading, allowance, starter)


def stdin_suite(
    inputs: object,
    outputs: object,
    reading: Reading,
    allowance: Allowance | None = None,
    checker: str = "",
    usual: Comparison = "lines",
) -> StdinSuite:
    """The suite of a program, compared as the recipe says, else as is `usual`.

    Inputs and outputs may be lists of lines. Raises TaskError if it makes no suite, or one that no program can pass.
    """
    tests = [(_text(given), _text(right)) for given, right in paired(inputs, outputs)]
    if not checker and not any(right.strip() for _, right in tests):
        raise TaskError("a program that prints nothing would pass its tests")
    kept = longest(tests, reading.longest, lambda test: len(test[0]))
    _bounded(sum(len(given) + len(right) for given, right in kept))
    comparison, allowed = reading.comparison or usual, allowance or reading.usual
    if not checker:
        _printable(kept, allowed)
        _consistent(kept, lambda one, other: same_output(one.encode(), other, comparison))
    return StdinSuite(tests=tuple(kept), comparison=comparison, checker=checker, allowance=allowed)


def call_suite(
    function: str,
    inputs: object,
    outputs: object,
    reading: Reading,
    allowance: Allowance | None = None,
    starter: str = "",
) -> CallSuite:
    """The suite of a function. Raises TaskError if it cannot be one, or no function can pass it.

    Input and output are a list of arguments and a value, or texts: one JSON argument per line, and a JSON value. The
    head of the function, where `starter` has it, says how many arguments and which value a list stands for; see
    `heads.arguments_for` and `heads.in_lists_of_one`. Without it, values that are all in lists of one element, as APPS
    writes them, are right with their list and without it, as in the reference grader.
    """
    if not function:
        raise TaskError("its tests call a function without a name")
    if not is_name(function):
        raise TaskError(f"its function has no proper name: {function[:80]!r}")
    calls = [_call(given, right) for given, right in paired(inputs, outputs)]
    head = head_of(function, starter)
    values = [value for _, value, _ in calls]
    wrapped = in_lists_of_one(values, head) if all(whole for _, _, whole in calls) else False
    if wrapped is not False:
        values = [value[0] if isinstance(value, list) else value for value in values]
    arguments = arguments_for(head, [given for given, _, _ in calls])
    tests = [(given, value, _size(given, value)) for given, value in zip(arguments, values, strict=True)]
    kept = longest(tests, reading.longest, lambda test: test[2][0])
    _bounded(sum(sum(size) for _, _, size in kept))
    suite = CallSuite(
        function=function,
        tests=tuple((given, value) for given, value, _ in kept),
        perhaps_in_lists=wrapped is None,
        allowance=allowance or reading.usual,
    )
    _consistent(
        [(encode(given), value) for given, value in suite.tests],
        lambda one, other: same_value(one, other, json_born=True, tolerance=suite.tolerance),
    )
    return suite


def paired(inputs: object, outputs: object) -> list[tuple[Any, Any]]:
    """Each input with its output. Raises TaskError if there are none, or more of one than of the other."""
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise TaskError("its inputs and outputs are not lists")
    if len(inputs) != len(outputs):
        raise TaskError("it has not as many outputs as inputs")
    if not inputs:
        raise TaskError("it has no tests")
    return list(zip(inputs, outputs, strict=True))


def longest(tests: Sequence[_Test], count: int | None, size: Callable[[_Test], int]) -> list[_Test]:
    """The `count` longest tests, of equal ones the earlier, in the order in which they came; all if it is None."""
    order = sorted(range(len(tests)), key=lambda index: -size(tests[index]))
    return [tests[index] for index in sorted(order[:count])]


def loaded(value: object) -> object:
    """A value that may be text of JSON, or of JSON of such text. Raises TaskError if it is other text."""
    value = parsed(value) if isinstance(value, str) else value
    return _listed(value)


def _listed(value: object) -> object:
    """A list or table that may be text of JSON; anything else unchanged."""
    return parsed(value) if isinstance(value, str) and value.lstrip()[:1] in ("[", "{") else value


def _arguments(given: object, right: object) -> tuple[list[Value], object]:
    """Arguments and value of a call. Raises TaskError if the arguments are neither a list nor lines of JSON."""
    if isinstance(given, list):
        return given, right
    if not isinstance(given, str):
        raise TaskError("the arguments of its function are not lists")
    try:
        return [parsed(line) for line in given.strip().splitlines()], parsed(right) if isinstance(right, str) else right
    except TaskError as error:
        raise TaskError(f"the arguments of its function are not lists, and its text is {error}") from error


def _printable(tests: Sequence[tuple[str, str]], allowance: Allowance) -> None:
    """Raises TaskError if an output is as long as that of a program may be."""
    if any(len(right.encode()) >= allowance.output * MEBIBYTE for _, right in tests):
        raise TaskError(f"no program can print one of its outputs, which has {allowance.output} MiB or more")


def _consistent(tests: Iterable[tuple[_Given, _Right]], same: Callable[[_Right, _Right], bool]) -> None:
    """Raises TaskError if the same input must have outputs that are not the same."""
    first: dict[_Given, _Right] = {}
    for given, right in tests:
        before = first.setdefault(given, right)
        if before is not right and not (same(before, right) and same(right, before)):
            raise TaskError(f"its tests contradict each other: two outputs of the input {_shown(given)}")


def _shown(given: object) -> str:
    text = given.decode() if isinstance(given, bytes) else str(given)
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def _tables(cases: object) -> list[Mapping[str, Any]]:
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise TaskError("its tests are not a list of tables")
    if not cases:
        raise TaskError("it has no tests")
    return cases


def _kind(test: Mapping[str, Any]) -> Kind:
    """The kind of a test: it may say so in either column, in both, or in none if it is for programs."""
    said = {str(test[column]) for column in ("type", "testtype") if test.get(column)}
    strange = said - _KINDS.keys()
    if strange:
        raise TaskError(f"its tests are of an unknown kind: {min(strange)[:40]!r}")
    kinds = {_KINDS[name] for name in said}
    if len(kinds) > 1 or (not kinds and test.get("fn_name")):
        raise TaskError("a test does not say whether it is for a program or a function")
    return kinds.pop() if kinds else "stdin"


def _column(tests: Sequence[Mapping[str, Any]], name: str) -> list[object]:
    if not all(name in test for test in tests):
        raise TaskError(f"a test has no {name}")
    return [test[name] for test in tests]


def _text(lines: object) -> str:
    if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
        lines = "\n".join(lines)
    if not isinstance(lines, str):
        raise TaskError("an input or output of its program is not text")
    if len(lines) > MAX_TEXT:
        raise TaskError(f"an input or output has more than {MAX_TEXT} characters")
    return unicode(lines)


def unicode(text: str) -> str:
    """The text. Raises TaskError if it cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TaskError("some of its text is not Unicode") from None
    return text


def _call(given: object, right: object) -> tuple[tuple[Value, ...], Any, bool]:
    """Arguments, value, and whether they came as they are, not as text."""
    if isinstance(given, list):
        return tuple(given), right, True
    if not isinstance(given, str) or not isinstance(right, str):
        raise TaskError("a call of its function is neither a list of arguments nor text of JSON")
    lines = given.strip().split("\n") if given.strip() else []
    return tuple(parsed(line) for line in lines), parsed(right), False


def _size(given: tuple[Value, ...], value: Value) -> tuple[int, int]:
    try:
        return len(encode(given)), len(encode(value))
    except CodecError as error:
        raise TaskError(f"a value of its tests cannot be used: {error}") from None


def _with_whole_keys(value: Value) -> Value:
    if not isinstance(value, dict) or not value or not all(_is_whole(key) for key in value):
        return value
    return {int(key): content for key, content in value.items()}


def _is_whole(key: object) -> bool:
    return isinstance(key, str) and len(key) < 20 and key.isascii() and key.removeprefix("-").isdigit()


def _bounded(characters: int) -> None:
    if characters > MAX_SUITE:
        raise TaskError(f"its tests have more than {MAX_SUITE} characters; keep fewer with task.longest")
