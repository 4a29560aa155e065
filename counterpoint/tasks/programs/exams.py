"""Exams for functions: HumanEval, EvalPlus and MBPP.

An exam is run where the function's name is bound to a stub of it, so no exam may bind that name. What a problem defines
beside the function comes first, then what asserts.
"""

import ast
import builtins
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from counterpoint.errors import TaskError
from counterpoint.judges.programs.suite import AssertSuite
from counterpoint.tasks._packed_tests import to_json
from counterpoint.tasks.programs.passable import check_exams
from counterpoint.tasks.programs.rows import Exercise, text_in, texts_in
from counterpoint.tasks.programs.unit_tests import Reading, longest, unicode

_BESIDE_AN_ORACLE = """\
import copy as _copy
import json as _json

_oracle = {{"__name__": "oracle"}}
exec({source!r}, _oracle)


def _close(got, right, tolerance):
    if isinstance(right, (list, tuple)):
        alike = type(got) is type(right) and len(got) == len(right)
        return alike and all(_close(one, other, tolerance) for one, other in zip(got, right))
    if isinstance(got, (int, float)) and isinstance(right, (int, float)):
        return got == right or abs(got - right) <= tolerance + 1e-07 * abs(right)
    return got == right


def _has_floats(right):
    return isinstance(right, float) or (
        isinstance(right, (list, tuple)) and bool(right) and all(isinstance(one, float) for one in right)
    )


def _same(got, right, tolerance):
    if got == right:
        return True
    tolerance = tolerance or (1e-06 if _has_floats(right) else 0)
    return bool(tolerance) and _close(got, right, tolerance)


for _given in _json.loads({inputs!r}):
    _got = {function}(*_copy.deepcopy(_given))
    assert {passes}
"""
_AS_THE_ORACLE = "_same(_got, _oracle[{function!r}](*_copy.deepcopy(_given)), {tolerance!r})"
_A_ROOT = "abs(_oracle['poly'](*_copy.deepcopy(_given), _got)) <= {tolerance!r}"
"""HumanEval/32 asks for any root of a polynomial, so its answers are put into it."""


def humaneval(row: Mapping[str, Any], reading: Reading) -> Exercise:
    """One exam: what the prompt defines beside the function, the `test`, and `check` called with the function."""
    prompt, function, test = (text_in(row, column) for column in ("prompt", "entry_point", "test"))
    tree = _tree(test, "its test")
    if "check" not in set(_bound(tree.body)) or not _asserts(tree):
        raise TaskError("its test has no `check`, or one that asserts nothing")
    rest = _without(prompt, function)
    return _exercise(prompt, prompt, function, [f"{rest}\n\n{test}\n\ncheck({function})\n"], reading)


def evalplus(row: Mapping[str, Any], reading: Reading) -> Exercise:
    """One exam that runs the row's own solution beside the function, on the inputs of both lists, and compares.

    Results are equal, or, where floats are expected or the row has a tolerance, close to within it and 1e-7 of the
    value. MBPP+ in this shape is refused: what its inputs and oracles are is in a program, not in the rows.
    """
    prompt, function, solution = (text_in(row, column) for column in ("prompt", "entry_point", "canonical_solution"))
    if str(row.get("task_id", "")).lower().startswith("mbpp"):
        raise TaskError("MBPP+ of EvalPlus needs its program; use evalplus/mbppplus, which has layout 'mbpp'")
    inputs = [one for column in ("base_input", "plus_input") for one in _inputs(row.get(column))]
    if not inputs:
        raise TaskError("it has no tests")
    source = prompt + solution
    if function not in set(_bound(_tree(source, "its solution").body)):
        raise TaskError("its solution does not define its function")
    tolerance = row.get("atol") or 0
    if not isinstance(tolerance, int | float):
        raise TaskError("its atol is not a number")
    kept = longest(inputs, reading.longest, lambda given: len(to_json(given)))
    passes = _A_ROOT if function == "find_zero" else _AS_THE_ORACLE
    exam = _BESIDE_AN_ORACLE.format(
        source=source,
        inputs=to_json(kept),
        function=function,
        passes=passes.format(function=function, tolerance=tolerance),
    )
    return _exercise(prompt, prompt, function, [exam], reading)


def mbpp(row: Mapping[str, Any], reading: Reading) -> Exercise:
    """One exam an assert, after the imports and the set-up; and the `test` of MBPP+ where the row has it.

    Its asserts are all the examples there are, and without one its problems are hard to understand: up to
    `show_tests` of them are public, so they are shown and not examined. One at least stays hidden.
    """
    statement = text_in(row, "prompt" if row.get("prompt") else "text")
    asserts = texts_in(row, "test_list")
    before = "\n".join([*texts_in(row, "test_imports"), str(row.get("test_setup_code") or "")]).strip()
    if not all(_asserts(_tree(one, "a test")) for one in asserts):
        raise TaskError("one of its tests asserts nothing")
    definition = _examined(text_in(row, "code"), before, asserts)
    shown = max(0, min(reading.show_tests, len(asserts) - 1))
    hidden = longest(asserts[shown:], reading.longest, len)
    exams = [f"{before}\n{one}\n".lstrip() for one in hidden]
    if row.get("test"):
        exams.append(text_in(row, "test") + "\n")
    starter = f"def {definition.name}({ast.unparse(definition.args)}):"
    return _exercise(statement, starter, definition.name, exams, reading, tuple(asserts[:shown]))


def _exercise(
    statement: str,
    starter: str,
    function: str,
    exams: list[str],
    reading: Reading,
    examples: tuple[str, ...] = (),
) -> Exercise:
    """Raises TaskError if there is no exam, or one is not Python, has a name for something else, or is not Unicode.

    And if no program can pass them, as far as their text shows it.
    """
    trees = [_tree(unicode(exam), "its exam") for exam in exams]
    for tree in trees:
        if function in set(_bound(tree.body)):
            raise TaskError(f"its exam binds {function!r}, the name of the function")
    check_exams(function, trees)
    suite = AssertSuite(function=function, exams=tuple(exams), allowance=reading.usual)
    return Exercise(statement=statement, starter=starter, examples=examples, suite=suite)


def _without(prompt: str, function: str) -> str:
    """The definitions of a prompt without the function's own, which would replace the one examined."""
    tree = _tree(prompt, "its prompt")
    rest = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == function)]
    if len(rest) == len(tree.body):
        raise TaskError(f"its prompt does not define {function!r}")
    return ast.unparse(ast.Module(body=rest, type_ignores=[]))


def _examined(code: str, before: str, asserts: list[str]) -> ast.FunctionDef:
    """The one function of the reference solution that the tests use. Raises TaskError if they use more, or nothing."""
    defined = {
        node.name: node
        for node in _tree(code, "its solution").body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    tests = _tree("\n".join([before, *asserts]), "a test")
    used = {node.id for node in ast.walk(tests) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    unknown = used - defined.keys() - set(_stored(tests)) - set(dir(builtins))
    if unknown:
        raise TaskError(f"its tests use {min(unknown)!r}, which nothing defines")
    found = [defined[name] for name in sorted(used & defined.keys())]
    if len(found) != 1 or not isinstance(found[0], ast.FunctionDef):
        names = ", ".join(node.name for node in found)
        raise TaskError(f"its tests use not one function of the program: {names or 'none'}")
    return found[0]


def _tree(text: str, what: str) -> ast.Module:
    """The syntax of a text, of which nothing is run. Raises TaskError if it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(text, what, "exec", dont_inherit=True)
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TaskError(f"{what} is not Python: {error}") from error


def _asserts(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def _bound(body: Iterable[ast.stmt]) -> Iterator[str]:
    """The names that statements bind where they stand, not in the functions and classes that they define."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        else:
            yield from _stored(node)


def _stored(tree: ast.AST) -> Iterator[str]:
    """All names that are bound anywhere in a tree."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.alias(name=name, asname=other):
                yield other or name.split(".")[0]
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                yield name


def _inputs(value: object) -> list[list[Any]]:
    if value is None or value == "":
        return []
    if not isinstance(value, list) or not all(isinstance(one, list) for one in value):
        raise TaskError("its inputs are not lists of arguments")
    return value
