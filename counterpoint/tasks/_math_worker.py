"""Compares answers with math-verify, in a process of its own that may be killed.

It is run as a file and imports nothing of Counterpoint. It reads one JSON object a line, `{"answer", "key",
"tolerance"}`, and writes two lines for each: `{"read": true}` once the key is read, then `{"right", "reason"}`. Each of
the two steps may take so many seconds of processor time; then the kernel ends the process with SIGPROF, whatever it is
doing.

Nothing that a model wrote is evaluated. Only LaTeX is read, by a grammar; but that grammar's numbers go through
sympy's parse_expr, which evaluates text, so it is replaced by one that knows numbers and nothing else. In case the
libraries have another such place, an audit hook refuses to run code that was made from text, to start programs, to open
connections and to write files. Memory is bounded.
"""

import json
import logging
import os
import re
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

_MEBIBYTE = 2**20
_NEAR = 1e-9
_DIGITS = 25
_NUMBER = re.compile(r"[0-9]+|[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]{1,3})?|[0-9]+\.")
_LONGEST_NUMBER = 1000
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
        golds = _parsed_key(question["key"])
        answers.write(_line({"read": True}))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        right, reason = _judged(golds, question["answer"], question["tolerance"])
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        answers.write(_line({"right": right, "reason": reason}))


def _line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts).encode() + b"\n"


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuses what comparing never needs. An import runs code too, but code that has a file."""
    if event == "exec" and getattr(arguments[0], "co_filename", "").startswith("<") and not _frozen(arguments[0]):
        raise RuntimeError("code made from text is not run")
    if event == "compile" and arguments[0] is not None and str(arguments[1] or "<string>").startswith("<"):
        raise RuntimeError("text is not made into code")
    if event in _REFUSED or event.startswith(_REFUSED_FAMILIES):
        raise RuntimeError(f"{event} is not needed to compare answers")
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise RuntimeError("files are not written")


def _frozen(code: Any) -> bool:
    return str(code.co_filename).startswith("<frozen ")


def _number(text: Any, *_: Any, **__: Any) -> Any:
    """In place of sympy's parse_expr: a number written in digits. Raises SympifyError for any other text."""
    from sympy import Float, Integer, SympifyError

    if not isinstance(text, str) or not _NUMBER.fullmatch(text) or len(text) > _LONGEST_NUMBER:
        raise SympifyError(text)
    return Integer(text) if text.isdigit() else Float(text)


def _warm_up() -> None:
    """What is imported late is imported now, so that nothing but answers is read once the guard stands."""
    from sympy.parsing import sympy_parser

    sympy_parser.parse_expr = _number
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
    )
    for answer, key in table:
        _judged(_parsed(key), answer, 0.0)


@lru_cache(maxsize=1024)
def _parsed_key(key: str) -> list[Any]:
    return _parsed(key)


def _parsed(text: str) -> list[Any]:
    """What the text means as LaTeX, the only way in which nothing is evaluated; nothing if it cannot be read."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    spelling = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="last", equations=False)
    latex = LatexExtractionConfig(boxed_match_priority=0, normalization_config=spelling)
    boxed = rf"\boxed{{{text}}}"
    found: list[Any] = parse(boxed, [latex], fallback_mode="no_fallback", parsing_timeout=None)  # type: ignore[arg-type]
    return found


def _judged(golds: list[Any], answer: str, tolerance: float) -> tuple[bool, str]:
    if not golds:
        return False, "the key is not mathematics that can be read, and the answer is another text"
    try:
        found = _parsed(answer)
        if not found:
            return False, "it cannot be read"
        return _equal(golds[0], found[0], tolerance), ""
    except MemoryError:
        return False, "it takes too much memory"
    except RecursionError:
        return False, "it is nested too deep"


def _equal(gold: Any, found: Any, tolerance: float) -> bool:
    from math_verify import verify

    apart = _distance(gold, found)
    if apart is not None and apart > max(tolerance, _NEAR):
        return False
    if apart is not None and tolerance > 0.0:
        return True
    return verify(
        gold,
        found,
        float_rounding=12,
        strict=True,
        allow_set_relation_comp=True,
        timeout_seconds=None,  # type: ignore[arg-type]
    )


def _distance(gold: Any, found: Any) -> float | None:
    """How far two numbers are apart, relative to the key; None unless both are numbers.

    math-verify rounds to so many places and drops what is small, so that to it 2^{-100} and 3^{-100} are the same.
    """
    from sympy import Expr, N, UnevaluatedExpr

    if (
        not (isinstance(gold, Expr) and isinstance(found, Expr))
        or gold.has(UnevaluatedExpr)
        or found.has(UnevaluatedExpr)
    ):
        return None
    if gold.free_symbols or found.free_symbols:
        return None
    try:
        left, right = N(gold, _DIGITS), N(found, _DIGITS)
        if not (left.is_number and right.is_number and left.is_finite and right.is_finite):
            return None
        size = abs(left)
        return float(abs(left - right) / size) if size != 0 else float(abs(right))
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return None


if __name__ == "__main__":
    main()
