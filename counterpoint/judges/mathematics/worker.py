# mypy: disable-error-code="import-untyped"
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
from collections.abc import Iterable
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

_MEBIBYTE = 2**20
_NEAR = 1e-9
_DIGITS = 25
_NOTHING = 1e-300
_PRIMES = (5, 7, 11, 13, 17, 19, 23)
_MONOMIALS: dict[str, CodeType] = {}
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
        gold = _parsed_key(question["key"])
        answers.write(_line({"read": True}))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        right, reason = _judged(gold, question["answer"], question["tolerance"])
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
    """True if `place` is the file name of code that was compiled from text."""
    name = os.fsdecode(place) if isinstance(place, str | bytes) else "<string>"
    return name.startswith("<") and not name.startswith("<frozen ")


def _of_polynomials(frame: FrameType) -> bool:
    """True if sympy compiles its function for multiplying monomials, which depends on the number of unknowns alone."""
    return frame.f_code is _MONOMIALS.get("code")


def _number(text: Any, *_: Any, **__: Any) -> Any:
    """In place of sympy's parse_expr: a number in digits, or a name. Raises SympifyError for any other text."""
    from sympy import Float, Integer, Symbol, SympifyError

    if isinstance(text, str) and re.fullmatch("[A-Za-z]+", text):
        return Symbol(text)
    if not isinstance(text, str) or not _NUMBER.fullmatch(text) or len(text) > _LONGEST_NUMBER:
        raise SympifyError(text)
    return Integer(text) if text.isdigit() else Float(text)


def _warm_up() -> None:
    """Import what would be imported late, so that nothing but answers is read once the guard is active."""
    import sympy.physics.units  # noqa: F401  (simplify imports it late, and it reads names of its own)
    from sympy.parsing import sympy_parser
    from sympy.polys.monomials import MonomialOps

    sympy_parser.parse_expr = _number
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
    )
    for answer, key in table:
        _judged(_parsed(key), answer, 0.0)


@lru_cache(maxsize=1024)
def _parsed_key(key: str) -> Any:
    return _parsed(key)


def _parsed(text: str) -> Any:
    """The text parsed as LaTeX, the only way in which nothing is evaluated; None if it cannot be parsed.

    It is read whole or not at all: math-verify's own `parse` goes on to look for a fraction somewhere in the text.
    """
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from sympy import Basic, I, MatrixBase

    spelling = NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none", equations=False)
    letters = ConversionConfig(lowercase_symbols=False)
    try:
        found = latex2sympy(
            text,
            is_real=True,
            normalization_config=spelling,
            conversion_config=letters,
        )
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever the library raises, it could not read it
        return None
    if not isinstance(found, Basic | MatrixBase):
        return None
    imaginary = {symbol: I for symbol in found.free_symbols if getattr(symbol, "name", "") == "i"}
    return found.xreplace(imaginary) if imaginary else found


def _judged(gold: Any, answer: str, tolerance: float) -> tuple[bool, str]:
    if gold is None:
        return False, "the key is not mathematics that can be read, and the answer is another text"
    try:
        found = _parsed(answer)
        if found is None:
            return False, "it cannot be read"
        return _equal(gold, found, tolerance), ""
    except MemoryError:
        return False, "it takes too much memory"
    except RecursionError:
        return False, "it is nested too deep"
    except Exception as error:  # whatever the library raises, it has not found them equal
        return False, f"comparing it raised {type(error).__name__}"


def _equal(gold: Any, found: Any, tolerance: float) -> bool:
    from math_verify import verify

    apart = _distance(gold, found)
    if apart is not None and apart > max(tolerance, _NEAR):
        return False
    if apart is not None and tolerance > 0.0 and not gold.free_symbols:
        return True
    return bool(verify(gold, found, float_rounding=12, allow_set_relation_comp=True, timeout_seconds=None))


def _distance(gold: Any, found: Any) -> float | None:
    """The distance of two values relative to the key, for lists the largest; None where it is undefined.

    math-verify rounds to so many places and drops what is small, so that to it 2^{-100} and 3^{-100} are the same.
    Where both have the same unknowns, their values are compared where those are 5, 7, 11 and so on.
    """
    from sympy import Expr, FiniteSet, MatrixBase, Tuple

    if isinstance(gold, MatrixBase) and isinstance(found, MatrixBase) and gold.shape == found.shape:
        return _largest(zip(gold.flat(), found.flat(), strict=True))
    for kind in (FiniteSet, Tuple):
        if isinstance(gold, kind) and isinstance(found, kind) and len(gold) == len(found):
            members = [_values([*one.args], gold.free_symbols) for one in (gold, found)]
            if kind is Tuple:
                return _largest(zip(gold.args, found.args, strict=True))
            if all(one is not None and all(value.is_real for value in one) for one in members):
                left, right = (sorted(one) for one in members if one is not None)
                return max((_relative(one, other) for one, other in zip(left, right, strict=True)), default=None)
            return None
    if not isinstance(gold, Expr) or not isinstance(found, Expr) or gold.free_symbols != found.free_symbols:
        return None
    values = _values([gold, found], gold.free_symbols)
    return None if values is None else _relative(*values)


def _largest(pairs: Iterable[tuple[Any, Any]]) -> float | None:
    distances = [_distance(one, other) for one, other in pairs]
    known = [distance for distance in distances if distance is not None]
    return max(known) if known and len(known) == len(distances) else None


def _values(expressions: list[Any], symbols: Any) -> list[Any] | None:
    """The numbers that these are where the unknowns are primes; None unless all are finite numbers."""
    from sympy import Expr, Integer, N, UnevaluatedExpr

    if len(symbols) > len(_PRIMES):
        return None
    place = dict(zip(sorted(symbols, key=str), map(Integer, _PRIMES), strict=False))
    found = []
    for one in expressions:
        if not isinstance(one, Expr) or one.has(UnevaluatedExpr):
            return None
        try:
            value = N(one.subs(place), _DIGITS)
        except MemoryError:
            raise
        except Exception:  # whatever the library raises, it has no value
            return None
        if not value.is_number or not value.is_finite:
            return None
        found.append(value)
    return found


def _relative(wanted: Any, value: Any) -> float:
    size = abs(wanted)
    return float(abs(wanted - value) / size) if size > _NOTHING else float(abs(value))


if __name__ == "__main__":
    main()
