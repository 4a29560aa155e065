"""The shapes in which data sets hold programming problems, one reader each."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal

from counterpoint.errors import TaskError
from counterpoint.judges.programs.suite import Comparison
from counterpoint.sandboxes.base import MEBIBYTE
from counterpoint.tasks._packed_tests import parsed, parsed_or_literal, unpacked
from counterpoint.tasks.programs.exams import evalplus, humaneval, mbpp
from counterpoint.tasks.programs.rows import Exercise, example, text_in
from counterpoint.tasks.programs.unit_tests import Reading, from_cases, from_columns, loaded, stdin_suite

Row = Mapping[str, Any]
Layout = Literal[
    "deepcoder",
    "primeintellect",
    "livecodebench",
    "apps",
    "codecontests",
    "codeforces",
    "humaneval",
    "evalplus",
    "mbpp",
]
_MAX_SECONDS: Final = 600.0
_SECONDS: Final = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "millisecond": 1e-3}
_BYTES: Final = {"byte": 1, "b": 1, "kb": 2**10, "kilobyte": 2**10, "mb": 2**20, "megabyte": 2**20, "gb": 2**30}
_MEASURE: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*([a-z]+)\s*", re.IGNORECASE | re.ASCII)

_ANY_CASE: Final = re.compile(
    r"\b(?:print|output|answer|write|display)\w*\b[^.!?\n]{0,120}?"
    r"(?:\bin (?:any|arbitrary|either) (?:letter )?(?:case|register)\b(?!,)|\bcase[- ]insensitive)"
    r"|\bany (?:letter )?case \((?:upper|lower)"
    r"|\bchoose the case\b[^.!?\n]{0,60}\barbitrarily"
    r"|\b(?:can|may|could) (?:be )?(?:print|output|write|display)\w*\b[^.!?\n]{0,80}"
    r"(?:\beither (?:in )?(?:upper|lower)[- ]*(?:case)? or (?:in )?(?:upper|lower)[- ]?case|\buse any case\b)"
    r"|\b(?:output|answer|checker|judge)\w* (?:is|are) not case[- ]sensitive"
    r"|\b(?:checker|judge) (?:is|will be) case[- ]insensitive",
    re.IGNORECASE,
)
"""The words of a statement whose judge takes `yes` for `YES`."""


def layout_of(columns: Collection[str]) -> Layout:
    """The layout that has these columns. Raises TaskError if none has, or several."""
    found = [name for name, needed in _COLUMNS.items() if needed <= set(columns)]
    if len(found) == 1:
        return found[0]
    why = f"the layouts {' and '.join(found)} fit" if found else "no layout fits"
    raise TaskError(
        f"{why} the columns {', '.join(sorted(columns))}; say which with task.layout: {', '.join(sorted(_COLUMNS))}"
    )


def read(layout: Layout, row: Row, reading: Reading) -> Exercise:
    """The exercise of a row. Raises TaskError with the reason why it cannot be used."""
    return _READERS[layout](row, reading)


def _deepcoder(row: Row, reading: Reading) -> Exercise:
    """DeepCoder-Preview, all parts: tests are a list of cases, or inputs and outputs in the part taken from TACO."""
    tests, starter = loaded(row.get("tests")), _starter(row)
    name = str(_table(row.get("metadata")).get("func_name") or "")
    if isinstance(tests, dict):
        suite = from_columns(tests, reading, reading.usual, starter)
    else:
        suite = from_cases(tests, reading, name, starter)
    return Exercise(statement=text_in(row, "problem"), starter=starter, suite=suite)


def _primeintellect(row: Row, reading: Reading) -> Exercise:
    """PrimeIntellect's verifiable-coding-problems: a table in JSON or as a literal of Python."""
    info = row.get("verification_info")
    info = parsed_or_literal(info) if isinstance(info, str) else info
    if not isinstance(info, dict):
        raise TaskError("column 'verification_info' is not a table")
    language = str(info.get("language") or "python")
    if language.lower() not in ("python", "python3"):
        raise TaskError(f"its programs are in {language[:40]}, not Python")
    return Exercise(statement=text_in(row, "prompt"), suite=from_cases(info.get("test_cases"), reading))


def _livecodebench(row: Row, reading: Reading) -> Exercise:
    """LiveCodeBench: public tests in JSON, private ones too or packed; both are run, the public ones first."""
    public, private = (unpacked(text_in(row, f"{which}_test_cases")) for which in ("public", "private"))
    if not isinstance(public, list) or not isinstance(private, list):
        raise TaskError("its tests are not lists")
    name = str(_table(row.get("metadata")).get("func_name") or "")
    return Exercise(
        statement=text_in(row, "question_content"),
        starter=_starter(row),
        examples=tuple(example(str(case["input"]), str(case["output"])) for case in public if _is_case(case)),
        suite=from_cases(public + private, reading, name, _starter(row)),
    )


def _apps(row: Row, reading: Reading) -> Exercise:
    """APPS and TACO. TACO's limits are free text: one that cannot be understood is refused, or overridden."""
    tests = row.get("input_output")
    if not tests:
        raise TaskError("it has no tests")
    allowance = reading.allowance(
        lambda: _measured(row, "time_limit", _SECONDS, 1.0),
        lambda: _whole_mebibytes(_measured(row, "memory_limit", _BYTES, MEBIBYTE)),
    )
    suite = from_columns(loaded(tests), reading, allowance, _starter(row))
    return Exercise(statement=text_in(row, "question"), starter=_starter(row), suite=suite)


def _codecontests(row: Row, reading: Reading) -> Exercise:
    """CodeContests: public, private and generated tests, run in this order, and compared by tokens."""
    if row.get("input_file") or row.get("output_file"):
        raise TaskError("its programs read or write files")
    groups = [_columns(row.get(f"{which}_tests")) for which in ("public", "private", "generated")]
    inputs, outputs = ([one for group in groups for one in group[place]] for place in (0, 1))
    allowance = reading.allowance(
        lambda: _duration(row.get("time_limit")), lambda: _whole_mebibytes(row.get("memory_limit_bytes"), MEBIBYTE)
    )
    return Exercise(
        statement=text_in(row, "description"),
        examples=tuple(example(str(given), str(right)) for given, right in zip(*groups[0], strict=True)),
        suite=stdin_suite(inputs, outputs, reading, allowance, usual=_by_tokens(text_in(row, "description"))),
    )


def _codeforces(row: Row, reading: Reading) -> Exercise:
    """open-r1/codeforces: official tests, limits in seconds and MiB, and a checker where answers are not unique.

    Without a checker outputs are compared by tokens, as Codeforces does.
    """
    if row.get("interaction_format"):
        raise TaskError("it is interactive")
    if (row.get("input_mode") or "stdin") != "stdin":
        raise TaskError("its programs read or write files")
    if str(row.get("language") or "python") != "python":
        raise TaskError("its prompt is not for Python")
    if row.get("executable") is False:
        raise TaskError("its tests are known not to work")
    inputs, outputs = _columns(row.get("official_tests"))
    shown = _columns(row.get("examples"))
    allowance = reading.allowance(
        lambda: _duration(row.get("time_limit")), lambda: _whole_mebibytes(row.get("memory_limit"))
    )
    checker = text_in(row, "generated_checker") if row.get("generated_checker") else ""
    return Exercise(
        statement=_sections(row),
        examples=tuple(example(str(given), str(right)) for given, right in zip(*shown, strict=True)),
        suite=stdin_suite(inputs, outputs, reading, allowance, checker, _by_tokens(_sections(row))),
    )


def _by_tokens(statement: str) -> Comparison:
    """By tokens, as the judges of contests do; in any case of letters where the statement allows that."""
    return "tokens_any_case" if _ANY_CASE.search(statement) else "tokens"


def _sections(row: Row) -> str:
    parts = [text_in(row, "description")]
    for title, column in (("Input", "input_format"), ("Output", "output_format"), ("Note", "note")):
        if row.get(column):
            parts.append(f"{title}\n{text_in(row, column)}")
    return "\n\n".join(parts)


def _starter(row: Row) -> str:
    return text_in(row, "starter_code") if str(row.get("starter_code") or "").strip() else ""


def _table(value: object) -> Mapping[str, Any]:
    """A table that may be in JSON, or missing."""
    table = parsed(value) if isinstance(value, str) and value.strip() else value
    if not table:
        return {}
    if not isinstance(table, dict):
        raise TaskError("column 'metadata' is not a table")
    return table


def _is_case(case: object) -> bool:
    return isinstance(case, dict) and {"input", "output"} <= case.keys()


def _columns(tests: object) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of a table of lists or a list of tables, whichever a file holds; both empty for None."""
    if tests is None:
        return [], []
    if isinstance(tests, list) and all(map(_is_case, tests)):
        return [test["input"] for test in tests], [test["output"] for test in tests]
    if not isinstance(tests, dict) or not all(isinstance(tests.get(name), list) for name in ("input", "output")):
        raise TaskError("its tests are not lists of inputs and outputs")
    if len(tests["input"]) != len(tests["output"]):
        raise TaskError("it has not as many outputs as inputs")
    return tests["input"], tests["output"]


def _duration(value: object) -> float | None:
    """Seconds of a number, or of {seconds, nanos}; None where none is stated, which for a protocol buffer is 0."""
    if isinstance(value, dict):
        value = (value.get("seconds") or 0) + (value.get("nanos") or 0) * 1e-9
    return _limited(value, _MAX_SECONDS, "time")


def _whole_mebibytes(value: object, unit: int = 1) -> int | None:
    limit = _limited(value, 2**40, "memory")
    return None if limit is None else max(1, round(limit / unit))


def _limited(value: object, most: float, what: str) -> float | None:
    if not value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise TaskError(f"its {what} limit cannot be used: {str(value)[:40]!r}; set it with the task's options")
    return float(value)


def _measured(row: Row, column: str, units: Mapping[str, float], unit: float) -> float | None:
    """A number with a unit, as free text, in `unit`s; None where there is none."""
    value = row.get(column)
    if value is None or value == "":
        return None
    parts = _MEASURE.fullmatch(value) if isinstance(value, str) else None
    name = parts[2].lower() if parts else ""
    factor = units.get(name) or units.get(name.removesuffix("s"))
    if parts is None or factor is None:
        raise TaskError(f"its {column} cannot be understood: {str(value)[:40]!r}; set it with the task's options")
    return _limited(float(parts[1]) * factor / unit, 2**40, column.split("_")[0])


_READERS: Final[dict[Layout, Callable[[Row, Reading], Exercise]]] = {
    "deepcoder": _deepcoder,
    "primeintellect": _primeintellect,
    "livecodebench": _livecodebench,
    "apps": _apps,
    "codecontests": _codecontests,
    "codeforces": _codeforces,
    "humaneval": humaneval,
    "evalplus": evalplus,
    "mbpp": mbpp,
}
_COLUMNS: Final[dict[Layout, set[str]]] = {
    "deepcoder": {"problem", "tests"},
    "primeintellect": {"prompt", "verification_info"},
    "livecodebench": {"question_content", "public_test_cases", "private_test_cases"},
    "apps": {"question", "input_output"},
    "codecontests": {"description", "public_tests", "private_tests", "generated_tests"},
    "codeforces": {"description", "official_tests"},
    "humaneval": {"prompt", "entry_point", "test"},
    "evalplus": {"prompt", "entry_point", "canonical_solution", "base_input", "plus_input"},
    "mbpp": {"code", "test_list"},
}
