# mypy: disable-error-code="import-untyped"
"""Compares answers with keys as mathematics, in a process of its own that may be killed.

It is run as a file and imports nothing of Counterpoint but the modules of `inside`. It reads one JSON object a line,
`{"answer", "key", "tolerance", "places"}`, and writes two lines for each: `{"read": true}` once the key is read, then
`{"right", "reason"}`, where `right` is null if it is shown neither that the answer is the key nor that it is not. Each
of the two steps has a limit of processor time; then the kernel ends the process with SIGPROF, whatever it is doing.

Nothing that a model wrote is evaluated as code. Only LaTeX is read, by a grammar; but that grammar's numbers go through
sympy's parse_expr, which evaluates text, so it is replaced by one that knows numbers and nothing else. In case the
libraries have another such place, an audit hook refuses to run code that was made from text, to start programs, to open
connections and to write files. Memory is bounded.
"""

import json
import logging
import os
import resource
import signal
import sys
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_MEBIBYTE = 2**20
_MONOMIALS: dict[str, CodeType] = {}
_REFUSED = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pty.spawn",
)
_REFUSED_FAMILIES = ("socket.", "ctypes.", "shutil.", "ftplib.", "http.", "urllib.", "smtplib.")


def main() -> None:
    """Serve until the input ends. Arguments: seconds, MiB."""
    seconds, memory = float(sys.argv[1]), int(sys.argv[2]) * _MEBIBYTE
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    logging.disable(logging.CRITICAL)
    try:
        _warm_up()
    except Exception as error:
        answers.write(_line({"error": f"{type(error).__name__}: {error}"}))
        return
    sys.addaudithook(_guard)
    answers.write(_line({"ready": True}))
    for line in sys.stdin.buffer:
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        gold = _parsed_key(question["key"])
        answers.write(_line({"read": True}))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        right, reason = _judged(gold, question["answer"], question["tolerance"], question["places"])
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        answers.write(_line({"right": right, "reason": reason}))


def _line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts).encode() + b"\n"


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuses what comparing never needs. An import runs code too, but code that has a file."""
    if event == "exec" and _made(getattr(arguments[0], "co_filename", "")) and not _of_polynomials(sys._getframe(1)):
        raise RuntimeError("code made from text is not run")
    if (
        event == "compile"
        and arguments[0] is not None
        and _made(arguments[1])
        and not _of_polynomials(sys._getframe(1))
    ):
        raise RuntimeError("text is not made into code")
    if event in _REFUSED or event.startswith(_REFUSED_FAMILIES):
        raise RuntimeError(f"{event} is not needed to compare answers")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise RuntimeError("files are not written")


def _made(place: Any) -> bool:
    """True for the file name of code that was made from text."""
    name = os.fsdecode(place) if isinstance(place, str | bytes) else "<string>"
    return name.startswith("<") and not name.startswith("<frozen ")


def _of_polynomials(frame: FrameType) -> bool:
    """True while sympy makes a function to multiply monomials, whose source depends on the number of unknowns alone."""
    return frame.f_code is _MONOMIALS.get("code")


def _warm_up() -> None:
    """Imports now what the libraries import late, so that only answers are read once the guard stands."""
    import sympy.physics.units  # noqa: F401  (simplify imports it late, and it reads names of its own)
    from sympy.polys.monomials import MonomialOps

    _inside("reading").refuse_to_evaluate()
    _MONOMIALS["code"] = MonomialOps._build.__code__
    table = (
        ("1", "2"),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
        (r"\{1,2\}", "2,1"),
        ("(1,2]", "[1,2]"),
        ("x>2", r"(2,\infty)"),
        ("x=1", "1"),
        ("x^2-y", "y"),
        ("(x-1)(x+1)", "x^2-1"),
        ("y=2x+1", "2x-y+1=0"),
        (r"\sin^2 x+\cos^2 x", "1"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}"),
        (r"\log_2 8+\ln e", r"\int_0^1 x dx"),
        (r"3\pm\sqrt{2}", "1+i"),
        (r"\text{word}", r"\binom{5}{2}"),
        (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
        (r"\cos\frac{\pi}{9}", r"\sin\frac{7\pi}{18}"),
        (r"|x|+|x-1|", r"\sqrt{x^2}+\sqrt{x^2-2x+1}"),
    )
    for answer, key in table:
        _judged(_parsed_key(key), answer)


def _inside(module: str) -> Any:
    """A module of `inside`, without this folder among those that others import from."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        return import_module(f"inside.{module}")
    finally:
        del sys.path[0]


@lru_cache(maxsize=1024)
def _parsed_key(key: str) -> Any:
    return _inside("reading").read(key)


def _judged(key: Any, text: str, tolerance: float = 0.0, places: int | None = None) -> tuple[bool | None, str]:
    """The verdict and its reason. `places` is the number of decimal places of a key that is rounded to them."""
    if key is None:
        return False, "the key is not mathematics that can be read, and the answer is another text"
    try:
        answer = _inside("reading").read(text)
        if answer is None:
            return False, "it cannot be read"
        absolute = Fraction(0) if places is None else Fraction(1, 10**places)
        allowed = _inside("scalars").Allowed(relative=tolerance, absolute=absolute)
        right = _inside("shapes").same(key, answer, allowed)
    except MemoryError:
        return False, "it takes too much memory"
    except RecursionError:
        return False, "it is nested too deep"
    except Exception as error:  # whatever the library raises, it has not found them equal
        return False, f"comparing it raised {type(error).__name__}"
    return (
        right,
        "" if right is not None else "it agrees with the key to all digits computed, but equality is not shown",
    )


if __name__ == "__main__":
    main()
