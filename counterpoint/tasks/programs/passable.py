"""Exams and tests that no program can pass, as far as their text shows it; nothing of it is run."""

import ast
import builtins
from collections.abc import Iterator, Sequence
from typing import Final

from counterpoint.errors import TaskError
from counterpoint.sandboxes.inside.codec import CodecError, encode

_LONGEST: Final = 60
_NEITHER_WAY: Final = frozenset(
    ("iter", "map", "filter", "zip", "reversed", "enumerate", "open", "object", "memoryview", "slice", "type")
)
"""Built-in functions whose results are in no other process, and equal nothing that comes from one."""
_NOT_THERE: Final = _NEITHER_WAY | {"defaultdict"}
_NAN: Final = frozenset(("nan", "NaN", "NAN"))


def check_exams(function: str, exams: Sequence[ast.Module]) -> None:
    """Raises TaskError if no program passes all of these exams of `function`.

    That is so if an argument cannot cross to the program, which is in another process: a type, a function, an iterator,
    an object of a class of the exam; if such a thing, or NaN, must be equal to what comes back; if the same call must
    have two values; and if an exam never calls the function, since such an exam says nothing about a program.
    """
    expected: dict[str, tuple[str, object]] = {}
    for exam in exams:
        names = _stand_ins(exam, function)
        if not _is_used(exam, function, names):
            raise TaskError(f"one of its exams never calls {function}")
        reading = _Reading(exam)
        for statement in _straight(exam, names):
            for call in _calls(statement, names):
                reading.check_arguments(call)
            for call, right in _equations(statement, names):
                reading.check_expected(call, right)
                _check_contradiction(call, right, expected)


class _Reading:
    """The names of an exam, and the kinds of things that they stand for."""

    def __init__(self, exam: ast.Module) -> None:
        nodes = list(ast.walk(exam))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
        stored |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        self._classes = {
            node.name: node for node in nodes if isinstance(node, ast.ClassDef) and node.name not in stored
        }
        self._assigned = _assigned_once(exam, nodes)
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        self._functions = {node.name for node in nodes if isinstance(node, functions) and node.name not in stored}
        imported = {
            name.asname or name.name for node in nodes if isinstance(node, ast.ImportFrom) for name in node.names
        }
        self._bound = stored | self._classes.keys() | self._functions | (imported - _NOT_THERE)
        self._modules = {
            name.asname or name.name.split(".")[0]
            for node in nodes
            if isinstance(node, ast.Import)
            for name in node.names
        }

    def check_arguments(self, call: ast.Call) -> None:
        for given in (*call.args, *(named.value for named in call.keywords)):
            stays = self._not_a_value(given, arguments=True)
            if stays is not None:
                raise TaskError(f"no program can pass {_short(call)}: the argument {_short(stays)} cannot cross to it")
        try:
            encode([ast.literal_eval(given) for given in call.args])
        except CodecError as error:
            raise TaskError(f"no program can pass {_short(call)}: its arguments cannot cross to it: {error}") from None
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return

    def check_expected(self, call: ast.Call, right: ast.expr) -> None:
        stays = self._not_a_value(right, arguments=False)
        if stays is not None:
            raise TaskError(
                f"no program can pass {_short(call)} == {_short(right)}: nothing returned is {_short(stays)}"
            )
        if self._has_nan(right):
            raise TaskError(f"no program can pass {_short(call)} == {_short(right)}: NaN equals nothing")

    def _not_a_value(self, node: ast.expr, *, arguments: bool) -> ast.expr | None:
        """The part of an expression that is only in this process, for all that can be seen; else None."""
        match node:
            case ast.Lambda() | ast.GeneratorExp() | ast.Constant(value=builtins.Ellipsis):
                return node
            case ast.Name(id=name) if name in self._assigned:
                stays = self._not_a_value(self._assigned[name], arguments=arguments)
                return None if stays is None else node
            case ast.Name(id=name):
                return node if self._is_code(name) else None
            case ast.Call(func=ast.Name(id=name)):
                made = name in self._classes and (arguments or self._equals_itself_alone(name))
                made = made or (arguments and _makes_named_tuple(self._assigned.get(name)))
                without = name not in self._bound and name in (_NOT_THERE if arguments else _NEITHER_WAY)
                return node if made or without else None
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name not in self._bound | self._modules:
                of_type = getattr(builtins, name, None)
                return node if isinstance(of_type, type) and callable(getattr(of_type, attribute, None)) else None
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                return self._first(parts, arguments)
            case ast.Dict(keys=keys, values=values):
                return self._first([*(key for key in keys if key is not None), *values], arguments)
            case ast.Starred(value=value):
                return self._not_a_value(value, arguments=arguments)
        return None

    def _first(self, parts: Sequence[ast.expr], arguments: bool) -> ast.expr | None:
        found = (self._not_a_value(part, arguments=arguments) for part in parts)
        return next((part for part in found if part is not None), None)

    def _is_code(self, name: str) -> bool:
        if name in self._classes or name in self._functions or name in self._modules:
            return True
        value = getattr(builtins, name, None)
        return name not in self._bound and (callable(value) or value is NotImplemented or value is Ellipsis)

    def _equals_itself_alone(self, name: str) -> bool:
        """True if the class neither says what its objects equal, nor inherits or is given it."""
        node = self._classes[name]
        if node.bases or node.keywords or node.decorator_list:
            return False
        inside = list(ast.walk(node))
        named = {one.id for one in inside if isinstance(one, ast.Name)}
        return "__eq__" not in named | {one.name for one in inside if isinstance(one, ast.FunctionDef)}

    def _has_nan(self, node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str(text))]):
                return text.strip().lstrip("+-").lower() == "nan"
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                return name in self._modules and attribute in _NAN
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return any(map(self._has_nan, parts))
            case ast.Dict(values=values):
                return any(map(self._has_nan, values))
        return False


def _stand_ins(exam: ast.Module, function: str) -> set[str]:
    """The names by which an exam calls the function: its own, and that of a parameter for which it is given."""
    given = {
        node.func.id
        for node in ast.walk(exam)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1
        if isinstance(node.args[0], ast.Name) and node.args[0].id == function
    }
    checks = [node for node in exam.body if isinstance(node, ast.FunctionDef) and node.name in given]
    return {function, *(node.args.args[0].arg for node in checks if node.args.args)}


def _is_used(exam: ast.Module, function: str, names: set[str]) -> bool:
    """False if an exam only gives the function to a function of its own, which then does not use it either."""
    nodes = list(ast.walk(exam))
    takers = {node.name for node in exam.body if isinstance(node, ast.FunctionDef) and node.args.args}
    given = {
        id(node.args[0])
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in takers
        if len(node.args) == 1 and isinstance(node.args[0], ast.Name) and node.args[0].id == function
    }
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in given}
    return not loaded.isdisjoint(names | {"exec", "eval", "globals", "locals"})


def _assigned_once(exam: ast.Module, nodes: Sequence[ast.AST]) -> dict[str, ast.expr]:
    """The names that an exam binds in one place, which is an assignment that is certainly run, and their values."""
    bound = [node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)]
    bound += [node.arg for node in nodes if isinstance(node, ast.arg)]
    found: dict[str, ast.expr] = {}
    for node in exam.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if bound.count(name) == 1:
                if name not in {one.id for one in ast.walk(value) if isinstance(one, ast.Name)}:
                    found[name] = value
    return found


def _makes_named_tuple(value: ast.expr | None) -> bool:
    match value:
        case ast.Call(func=ast.Name(id="namedtuple") | ast.Attribute(attr="namedtuple")):
            return True
    return False


def _straight(exam: ast.Module, names: set[str]) -> Iterator[ast.stmt]:
    """The statements that are certainly run: those of the exam, and of its functions that are given the function."""
    for node in exam.body:
        if isinstance(node, ast.FunctionDef):
            if node.args.args and node.args.args[0].arg in names:
                yield from (one for one in node.body if isinstance(one, ast.Assert | ast.Expr | ast.Assign))
        elif isinstance(node, ast.Assert | ast.Expr | ast.Assign):
            yield node


def _calls(statement: ast.stmt, names: set[str]) -> Iterator[ast.Call]:
    """The calls of the function in a statement, those in nested functions and comprehensions left out."""
    left: list[ast.AST] = [statement]
    while left:
        node = left.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node
        if not isinstance(node, ast.Lambda | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp | ast.IfExp):
            left.extend(ast.iter_child_nodes(node))


def _equations(statement: ast.stmt, names: set[str]) -> Iterator[tuple[ast.Call, ast.expr]]:
    """Each call of the function that a statement asserts to be equal to something, and that."""
    if not isinstance(statement, ast.Assert):
        return
    both = statement.test.values if isinstance(statement.test, ast.BoolOp) else [statement.test]
    if isinstance(statement.test, ast.BoolOp) and not isinstance(statement.test.op, ast.And):
        return
    for test in both:
        match test:
            case ast.Compare(left=one, ops=[ast.Eq()], comparators=[other]):
                for call, right in ((one, other), (other, one)):
                    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in names:
                        yield call, right
                        break


def _check_contradiction(call: ast.Call, right: ast.expr, expected: dict[str, tuple[str, object]]) -> None:
    """Raises TaskError if this call was expected to have another value; only literals are looked at."""
    try:
        asked = repr(
            [*map(ast.literal_eval, call.args), *((one.arg, ast.literal_eval(one.value)) for one in call.keywords)]
        )
        value = ast.literal_eval(right)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return
    shown, before = expected.setdefault(asked, (_short(right), value))
    if before != value:
        raise TaskError(f"its tests contradict each other: {_short(call)} is {shown} and {_short(right)}")


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
