"""Judges mathematical answers: by text and rational numbers where that suffices, else in processes of their own."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from counterpoint.errors import ConfigError
from counterpoint.judges._process import Heard, Pool, Program, patience
from counterpoint.judges.base import Judge
from counterpoint.judges.mathematics.notation import has_angles, in_radians
from counterpoint.judges.mathematics.phrases import paired, said, words
from counterpoint.judges.mathematics.quantities import in_circles, incomparable, quantities, radians
from counterpoint.judges.mathematics.text import (
    DOTS,
    LONGEST,
    assigned,
    based,
    clean,
    in_proportion,
    is_list,
    is_pair,
    listed,
    number,
    positional,
    residue,
    same,
    spelled_out,
    unfit,
)
from counterpoint.task import RIGHT, WRONG, Score, not_judged

_PROGRAM: Final = Path(__file__).with_name("worker.py")
_REMEMBERED: Final = 50_000
_ROUNDED_DIGITS: Final = 12
_LONG_DECIMAL: Final = re.compile(r"[-+]?\s*(?P<whole>\d*)\.(?P<places>\d+)")
_SIGNS: Final = {
    **dict.fromkeys(("all real numbers", "all reals", "the real numbers"), r"\mathbb{R}"),
    **dict.fromkeys(("no solution", "no solutions", "no real solution", "no real solutions"), r"\emptyset"),
    **dict.fromkeys(("the empty set", "empty set"), r"\emptyset"),
}


class MathJudge(Judge):
    """The judge "mathematics": right is the same mathematical value. The same pair of answer and key is judged once.

    An answer has `seconds` of processor time and `memory` MiB in one of `workers` processes if text and rational
    numbers do not suffice; the first such answer starts a process. `tolerance` is the relative error allowed to
    numbers.

    The effect of an answer on its judge counts against the answer: one that takes too much time or memory to read, is
    too long, too deep or a tower of powers is wrong, with the reason, because not judging it would pay. Not judged is
    an answer that agrees with the key to all digits computed without a proof that it equals the key, one whose key
    cannot be read in time or has no value, or for which no process starts. Where a key cannot be read as mathematics
    at all, an answer is right if it is the same text.
    """

    bounded: ClassVar[bool] = True

    def __init__(
        self,
        *,
        workers: Annotated[int, Field(ge=1, le=256)] = 2,
        seconds: Annotated[float, Field(gt=0, le=600)] = 5.0,
        memory: Annotated[int, Field(ge=512, le=2**20)] = 2048,
        tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        program = Program(
            name="mathematics", file=_PROGRAM, patience=patience(seconds), arguments=(str(seconds), str(memory))
        )
        self._pool = Pool(program, workers=workers)
        self._seconds = seconds
        self._tolerance = tolerance
        self._known: OrderedDict[tuple[str, str], Score] = OrderedDict()
        self._asked: dict[tuple[str, str], Future[Heard]] = {}
        self._tally = _Tally()

    async def start(self) -> None:
        """Raises ConfigError if math-verify is not installed."""
        if find_spec("math_verify") is None:
            raise ConfigError(
                "judge 'mathematics' reads LaTeX with math-verify, which is missing: `pip install math-verify`"
            )

    async def close(self) -> None:
        """No process is left; answers that were still to be judged are not judged."""
        await asyncio.to_thread(self._pool.close)
        self._asked.clear()

    def facts(self) -> Mapping[str, str]:
        """The versions of the libraries that compare."""
        libraries = ("math-verify", "latex2sympy2-extended", "sympy")
        return {f"judge_{name.replace('-', '_')}": _version(name) for name in libraries}

    def numbers(self) -> dict[str, float]:
        """The answers judged since this was last called, by how they were judged."""
        tally, self._tally = self._tally, _Tally()
        return tally.numbers()

    async def judge(self, answer: str, key: str) -> Score:
        """Right or wrong; not judged if the machine or the key did not allow to find out."""
        self._tally.answers += 1
        pair = (answer, key)
        if pair in self._known:
            self._tally.known += 1
            return self._known[pair]
        score = settled(answer, key, self._tolerance)
        if score is None:
            score = await self._compared(pair)
        if score.reward is not None:
            self._known[pair] = score
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return score

    def takes(self, key: str) -> bool:
        """False for a key in which there is nothing to compare, such as `$` or a full stop."""
        return settled(key, key, self._tolerance) == RIGHT

    async def _compared(self, pair: tuple[str, str]) -> Score:
        if pair not in self._asked:
            self._tally.compared += 1
            self._asked[pair] = self._pool.ask(_question(*pair, self._tolerance), lines=2)
        future = self._asked[pair]
        try:
            heard = await asyncio.shield(asyncio.wrap_future(future))
        finally:
            if future.done():
                self._asked.pop(pair, None)
        if not heard.end:
            return self._verdict(heard.lines[1])
        return self._cut_short(heard)

    def _verdict(self, facts: Mapping[str, Any]) -> Score:
        if facts["right"] is None:
            self._tally.undecided += 1
            return not_judged(str(facts["reason"]))
        return RIGHT if facts["right"] else Score(reward=0.0, reason=str(facts["reason"]))

    def _cut_short(self, heard: Heard) -> Score:
        """The score of an answer during which its process ended; the first line says that the key has been read."""
        match heard.end:
            case "closed":
                return not_judged(heard.message)
            case "unstarted":
                return not_judged(f"the process that compares answers did not start: {heard.message}")
            case "silent":
                return not_judged(f"the machine was too busy: {heard.message}")
        late = f"took longer than {self._seconds:g} s of processor time"
        why = late if heard.late else f"ended the process ({heard.status})"
        if not heard.lines:
            return not_judged(f"the key {why}")
        self._tally.cut_short += 1
        return Score(reward=0.0, reason=f"the answer {why}")


def settled(answer: str, key: str, tolerance: float = 0.0) -> Score | None:
    """The score of an answer for which text and rational numbers suffice; None for any other."""
    if len(answer) > LONGEST + len(key):
        return Score(reward=0.0, reason=f"it has {len(answer)} characters")
    found, right = _sides(answer, key)
    if not found:
        return WRONG
    if same(found, right):
        return RIGHT
    reason = unfit(answer) or unfit(found)
    if reason and not (unfit(key) or unfit(right)):
        return Score(reward=0.0, reason=reason)
    spoken = said(found, right)
    if spoken is not None:
        return RIGHT if spoken else WRONG
    if DOTS.search(found) or DOTS.search(right):
        return WRONG
    (digits, base), (key_digits, key_base) = based(found), based(right)
    if base or key_base:
        plain = (digits or found, key_digits or right)
        return RIGHT if same(*plain) and (not base or not key_base or base == key_base) else WRONG
    if found.startswith(r"\{") and found.endswith(r"\}") and is_pair(right):
        return Score(reward=0.0, reason="it is a set, not a pair")
    if right.startswith(r"\{") and right.endswith(r"\}") and is_list(right[2:-2]) and is_pair(found):
        return Score(reward=0.0, reason="it is a pair, not a set")
    if (in_proportion(found) == found) != (in_proportion(right) == right):
        return WRONG
    sides = [number(side) for side in found.split("=")]
    if len(sides) > 1 and None not in sides:
        return _by_number(found.rsplit("=", 1)[1].strip(), right, tolerance) if len({*sides}) == 1 else WRONG
    return _by_number(*_same_side(found, right), tolerance)


@lru_cache(maxsize=8192)
def _plain(text: str) -> str:
    """Cleaned, and without words where there is a sign."""
    found = clean(text)
    return _SIGNS.get(words(found) or "", found)


def _sides(answer: str, key: str) -> tuple[str, str]:
    """Both cleaned, without what only one of them says: a letter of a choice, a rounded value, a modulus."""
    found, right = paired(_plain(answer), _plain(key))
    if right.startswith(r"\approx"):
        found, right = (side.removeprefix(r"\approx").strip() for side in (found, right))
    if r"\approx" in found and r"\approx" not in right and "." not in right:
        found = found.partition(r"\approx")[0].strip()
    if is_pair(found) and is_pair(right[2:-2]) and right == rf"\{{{right[2:-2]}\}}":
        right = right[2:-2]
    (value, modulus), (key_value, key_modulus) = residue(found), residue(right)
    if modulus and key_modulus and modulus != key_modulus:
        return found, right
    return value, key_value


def _same_side(found: str, right: str) -> tuple[str, str]:
    """Both without `x =`, where only one has it or both have the same."""
    (left, value), (key_left, key_value) = assigned(found), assigned(right)
    if left == key_left or (not key_left and "=" not in right) or (not left and "=" not in found):
        return value, key_value
    return found, right


def _by_number(found: str, right: str, tolerance: float) -> Score | None:
    if same(found, right):
        return RIGHT
    one, other = quantities(found, right)
    value, wanted = number(one.value), number(other.value)
    apart = "" if {one.unit, other.unit} == {"deg", "rad"} else incomparable(one, other)
    if apart:
        return Score(reward=0.0, reason=apart)
    if {one.unit, other.unit} == {"deg", "rad"}:
        return None
    if one.percent == other.percent and same(one.value, other.value):
        return RIGHT
    if value is None or wanted is None:
        return None
    places = _rounded_to(one.value, other.value)
    rounding = Fraction(0) if places is None else Fraction(1, 10**places)
    allowed = max(Fraction(tolerance) * abs(wanted), rounding)
    # The question says what is asked for in per cent: 40 % is then 40. As a number it is 0.4.
    readings = {value, value / 100} if one.percent and not other.percent else {value}
    wanteds = {wanted, wanted / 100} if other.percent and not one.percent else {wanted}
    return RIGHT if any(abs(v - w) <= allowed for v in readings for w in wanteds) else WRONG


def _question(answer: str, key: str, tolerance: float) -> dict[str, Any]:
    found, right = _same_side(*_sides(answer, key))
    one, other = quantities(found, right)
    if one.unit == "deg" and (in_circles(right) or other.unit == "rad"):
        found = radians(found)
    if other.unit == "deg" and (in_circles(found) or one.unit == "rad"):
        right = radians(right)
    if in_circles(found) != in_circles(right):
        found, right = (side if has_angles(side) else in_radians(side) for side in (found, right))
    # What is given an order is read with the order of the key, though the key has none.
    if is_pair(found) and is_list(right) and r"\pm" not in right:
        right = f"({right})" if not right.startswith("(") else right
    found, right = spelled_out(found), spelled_out(right)
    one, other = quantities(found, right)
    values = [
        rf"{part.value}\%" if one.percent != other.percent and part.percent else part.value for part in (one, other)
    ]
    answer, key = (positional(listed(*sides)) for sides in (values, values[::-1]))
    return {"answer": answer, "key": key, "tolerance": tolerance, "places": _rounded_to(answer, key)}


def _rounded_to(found: str, right: str) -> int | None:
    """The decimal places to which a key is rounded: if it is a decimal of many digits, and the answer is no decimal."""
    decimal = _LONG_DECIMAL.fullmatch(right)
    if decimal is None or "." in found or len(f"{decimal['whole']}{decimal['places']}".lstrip("0")) < _ROUNDED_DIGITS:
        return None
    return len(decimal["places"])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


@dataclass(slots=True)
class _Tally:
    """Counts of the answers and of how they were judged."""

    answers: int = 0
    known: int = 0
    compared: int = 0
    cut_short: int = 0
    undecided: int = 0

    def numbers(self) -> dict[str, float]:
        return {
            "mathematics/answers": float(self.answers),
            "mathematics/known": float(self.known),
            "mathematics/compared": float(self.compared),
            "mathematics/cut_short": float(self.cut_short),
            "mathematics/undecided": float(self.undecided),
        }
