"""Run a program in this process, which is already confined and serves no other purpose."""

import atexit
import builtins
import functools
import gc
import importlib
import io
import os
import site
import sys
import threading
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from . import codec
from .exits import BAD_VALUE, OUT_OF_MEMORY

REPLY = 3
"""The file descriptor to which a result is written."""
_NAMES = (
    *((name, "*") for name in ("typing", "collections", "heapq", "bisect", "itertools", "functools")),
    *((name, "") for name in ("collections", "heapq", "bisect", "itertools", "functools", "math", "operator")),
    *((name, "") for name in ("random", "re", "string", "sys", "os", "copy", "json", "datetime")),
    *(("math", name) for name in ("ceil", "floor", "sqrt", "gcd", "inf", "comb", "log", "log2", "pi")),
    ("copy", "deepcopy"),
)
"""Names defined before a function problem's program: (module, a member, `*` for its public names or "" for itself)."""


_FILE = "program.py"
_MODULE = "program"
"""The name of the module of a program whose function is called: what it does only as `__main__` is left out."""
_NOTHING = object()
_STREAMS: list[io.TextIOWrapper] = []
"""The initial output streams, flushed at the end even if the program has replaced them."""


def prelude() -> dict[str, object]:
    """The names that starter code of function problems assumes to be defined, such as `List` and `defaultdict`."""
    found: dict[str, object] = {}
    for name, member in _NAMES:
        module = importlib.import_module(name)
        public = getattr(module, "__all__", None) or [one for one in dir(module) if not one.startswith("_")]
        names = [*public] if member == "*" else [member] if member else []
        found |= {one: getattr(module, one) for one in names} if member else {name: module}
    return found


def add_exit_names() -> None:
    """Define `exit` and `quit`, as in an interpreter that imports `site`."""
    site.setquit()


def script(source: str) -> NoReturn:
    """Run the program as `__main__` on the standard streams; this process then ends as an interpreter would."""
    end(lambda: execute(source, {}))


def function_call(source: str, function: str, given: dict[str, object]) -> NoReturn:
    """Read the arguments from standard input, call the function and write its encoded result to `REPLY`."""
    with open(0, "rb", closefd=False) as stream:
        arguments = codec.decode(stream.read())
    os.lseek(0, 0, os.SEEK_END)

    def call() -> None:
        _reply(encoded(defined(source, function, given)(*arguments)))  # type: ignore[misc]

    end(call)


def defined(source: str, function: str, given: dict[str, object]) -> Callable[..., object]:
    """Run the program; the function of that name, or the method of a fresh `Solution`.

    What is imported stands behind a method, and a given name is no function of the program's. Raises NameError if there
    is neither.
    """
    lent = given.get(function, _NOTHING)
    if callable(lent):
        # Another object than the one that the program may import itself.
        lent = functools.partial(lent)
        given = {**given, function: lent}
    namespace = execute(source, given, _MODULE)
    own, solution = namespace.get(function, _NOTHING), namespace.get("Solution")
    imported = hasattr(solution, function) and getattr(own, "__module__", None) != _MODULE
    if isinstance(solution, type) and (own is lent or imported):
        return getattr(solution(), function)  # type: ignore[no-any-return]
    if own is lent:
        raise NameError(f"there is no function {function!r}")
    return own  # type: ignore[return-value]


def execute(source: str, given: dict[str, object], name: str = "__main__") -> dict[str, object]:
    """Run the program as the module `name`; its global names."""
    module = types.ModuleType(name)
    module.__dict__.update({"__builtins__": builtins, "__file__": _FILE, **given})
    sys.modules["__main__"] = sys.modules[name] = module
    sys.argv = [_FILE]
    exec(compile(source.removeprefix("\ufeff"), _FILE, "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def encoded(value: object) -> bytes:
    """The encoded value. A value that cannot be encoded ends this process with `BAD_VALUE`."""
    try:
        return codec.encode(value, subclasses=True)
    except (codec.CodecError, RecursionError) as error:
        sys.stderr.write(f"the result cannot be used: {error}\n")
        _flush()
        os._exit(BAD_VALUE)


def _reply(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(REPLY, view) :]


def open_streams() -> None:
    """Open `sys.stdin`, `sys.stdout` and `sys.stderr` on the descriptors 0, 1 and 2.

    The server does this once; its children then replace the files behind these descriptors.
    """
    sys.stdin = io.TextIOWrapper(
        io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8", errors="surrogateescape"
    )
    sys.stdout = _writer(1, line_buffering=False)
    sys.stderr = _writer(2, line_buffering=True)
    # As an interpreter does: templates for fast input and output look at the mode.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        stream.mode, stream.buffer.raw.name = mode, f"<{name}>"
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)
    _STREAMS[:] = sys.stdout, sys.stderr


def _writer(descriptor: int, *, line_buffering: bool) -> io.TextIOWrapper:
    binary = io.BufferedWriter(io.FileIO(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(binary, encoding="utf-8", errors="surrogatepass", line_buffering=line_buffering)


def end(run: Callable[[], object]) -> NoReturn:
    """Call `run`, wait for the threads it started, print its error if any, and exit with the code for how it ended."""
    code = _code_of(run)
    code = max(code, _code_of(threading._shutdown))  # type: ignore[attr-defined]
    code = max(code, _code_of(atexit._run_exitfuncs))
    code = max(code, _code_of(_flush))
    # As at the end of an interpreter: files that only the program's names refer to are closed, and so flushed.
    code = max(code, _code_of(sys.modules["__main__"].__dict__.clear))
    code = max(code, _code_of(gc.collect))
    code = max(code, _code_of(_flush_own))
    os._exit(code)


def _code_of(run: Callable[[], object]) -> int:
    try:
        run()
    except SystemExit as ending:
        return _exit_code(ending)
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException as error:
        with suppress(BaseException):
            _print(error)
        return 1
    return 0


def _print(error: BaseException) -> None:
    """Print the traceback without the frames of this package."""
    below = error.__traceback__
    while below is not None and os.path.dirname(below.tb_frame.f_code.co_filename) == os.path.dirname(__file__):
        below = below.tb_next
    traceback.print_exception(error.with_traceback(below))


def _exit_code(ending: SystemExit) -> int:
    if ending.code is None:
        return 0
    if isinstance(ending.code, int):
        return int(ending.code) & 0xFF
    sys.stderr.write(f"{ending.code}\n")
    return 1


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()


def _flush_own() -> None:
    for stream in _STREAMS:
        if not stream.closed:
            stream.flush()
