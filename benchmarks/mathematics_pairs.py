r"""Pairs of a key and an answer whose truth is known by construction, to measure judges of mathematics with.

A form writes a value in one way as the key, in another as an equal answer, and in the same other way with one number
changed, by one or by very little, as answers that are not equal. Only whole numbers and fractions are computed here,
and nothing is simplified or compared: no computer algebra is involved.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from math import comb, factorial, gcd
from typing import Final

SIZES: Final = {"small": 1, "medium": 2, "large": 3}
_PI: Final = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899"
_EXPONENTS: Final = {1: (5, 30), 2: (40, 90), 3: (500, 2500)}
_TOPS: Final = {1: 9, 2: 10**6, 3: 10**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An answer, its key, and whether it is right."""

    form: str
    size: str
    key: str
    answer: str
    right: bool


class Draw:
    """Numbers of one size."""

    def __init__(self, seed: str, level: int) -> None:
        self._random = random.Random(seed)
        self._level = level

    def whole(self, low: int = 2) -> int:
        return self._random.randrange(low, low + _TOPS[self._level])

    def few(self, low: int, high: int) -> int:
        """A number that stays small at every size."""
        return self._random.randint(low, high)

    def exponent(self) -> int:
        return self._random.randrange(*_EXPONENTS[self._level])

    def tiny(self) -> str:
        return rf"10^{{-{self.exponent()}}}"

    def square_free(self) -> int:
        """A number above 1 that no square divides."""
        return self._random.choice([2, 3, 5, 6, 7, 10, 11, 13, 14, 15, 17, 19, 21, 22, 23, 26, 29, 30, 31, 33])

    def shuffled(self, parts: list[str]) -> list[str]:
        return self._random.sample(parts, len(parts))


Written = tuple[str, str, list[str]]
"""The key, an equal answer, answers that are not equal."""


def near_one(draw: Draw) -> Written:
    base, power = draw.few(2, 9), draw.exponent()
    key = rf"1-\frac{{1}}{{{base}^{{{power}}}}}"
    same = rf"\frac{{{base}^{{{power}}}-1}}{{{base}^{{{power}}}}}"
    return key, same, [rf"1-\frac{{1}}{{{base}^{{{power - 1}}}}}", rf"1-\frac{{2}}{{{base}^{{{power}}}}}"]


def tiny_values(draw: Draw) -> Written:
    base, power = draw.few(2, 9), draw.exponent()
    return (
        rf"\frac{{1}}{{{base}^{{{power}}}}}",
        rf"{base}^{{-{power}}}",
        [rf"{base + 1}^{{-{power}}}", rf"{base}^{{-{power + 1}}}"],
    )


def large_powers(draw: Draw) -> Written:
    base, power, more = draw.few(2, 9), draw.exponent(), draw.whole()
    key = rf"{base}^{{{power}}}+{more}"
    tail = rf"{base}\cdot {base}^{{{power - 1}}}"
    return key, rf"{more}+{tail}", [rf"{more + 1}+{tail}", rf"{more - 1}+{tail}"]


def towers(draw: Draw) -> Written:
    top = draw.few(3, 9)
    inner = 10 ** draw.few(3, 8)
    key = rf"{top}^{{2^{{{inner.bit_length()}}}}}"
    square = rf"({top}^{{2^{{{inner.bit_length() - 1}}}}})^2"
    return key, square, [rf"{square}+1", rf"({top}^{{2^{{{inner.bit_length() - 2}}}}})^2"]


def fractions(draw: Draw) -> Written:
    top, bottom, times = draw.whole(), draw.whole(3), draw.few(2, 9)
    whole = top * bottom + 1
    return (
        rf"{top}+\frac{{1}}{{{bottom}}}",
        rf"\frac{{{whole * times}}}{{{bottom * times}}}",
        [rf"\frac{{{whole * times + 1}}}{{{bottom * times}}}", rf"\frac{{{whole * times}}}{{{bottom * times + 1}}}"],
    )


def decimals_of_pi(draw: Draw) -> Written:
    digits = draw.few(3, 60)
    return r"\pi", r"\frac{3\pi}{3}", [_PI[:digits], rf"\pi+{draw.tiny()}"]


def decimals_inside(draw: Draw) -> Written:
    quarter, other = draw.whole(), draw.whole()
    key = rf"{quarter}.25x+{other}.5"
    return (
        key,
        rf"\frac{{{4 * quarter + 1}x+{4 * other + 2}}}{{4}}",
        [
            rf"\frac{{{4 * quarter + 1}x+{4 * other + 3}}}{{4}}",
            rf"\frac{{{4 * quarter + 1}x+{4 * other + 2}}}{{4}}+{draw.tiny()}",
        ],
    )


def long_decimals(draw: Draw) -> Written:
    """A key that is the decimal of a root, to 20 or more digits."""
    inner, places = draw.square_free() + 100 * draw.whole(0), 20 + draw.few(0, 10)
    inner = inner if Decimal(inner).sqrt() % 1 else inner + 1
    with localcontext() as context:
        context.prec = 200
        key = round(Decimal(inner).sqrt(), places)
        off = key + Decimal(1).scaleb(-places) * 3
    return str(key), rf"\sqrt{{{inner}}}", [rf"\sqrt{{{inner}}}+10^{{-{places - 2}}}", str(off)]


def nested_roots(draw: Draw) -> Written:
    """(a + b sqrt c)^2 = a^2 + b^2 c + 2ab sqrt c."""
    a, b, c = draw.whole(1), draw.whole(1), draw.square_free()
    inner = rf"\sqrt{{{a * a + b * b * c}+{2 * a * b}\sqrt{{{c}}}}}"
    off = rf"\sqrt{{{a * a + b * b * c + 1}+{2 * a * b}\sqrt{{{c}}}}}"
    return rf"{a}+{b}\sqrt{{{c}}}", inner, [off, rf"{inner}+{draw.tiny()}"]


def rationalised(draw: Draw) -> Written:
    """1/(sqrt(n + d) - sqrt n) = (sqrt(n + d) + sqrt n)/d."""
    n, d = draw.whole(), draw.few(2, 20)
    key = rf"\frac{{1}}{{\sqrt{{{n + d}}}-\sqrt{{{n}}}}}"
    top = rf"\sqrt{{{n + d}}}+\sqrt{{{n}}}"
    return key, rf"\frac{{{top}}}{{{d}}}", [rf"\frac{{{top}}}{{{d + 1}}}", rf"\frac{{{top}+{draw.tiny()}}}{{{d}}}"]


def odd_roots(draw: Draw) -> Written:
    out, inner, degree = draw.whole(), draw.square_free(), draw.few(1, 3) * 2 + 1
    key = rf"\sqrt[{degree}]{{-{inner * out**degree}}}"
    return key, rf"-{out}\sqrt[{degree}]{{{inner}}}", [
        rf"-{out}\sqrt[{degree}]{{{inner + 1}}}", rf"{out}\sqrt[{degree}]{{{inner}}}",
    ]  # fmt: skip


def angles(draw: Draw) -> Written:
    """The cosine of 2t is 2 cos^2 t - 1, at a rational multiple of pi."""
    bottom = draw.few(5, 40)
    top = next(n for n in range(draw.few(1, 3), bottom) if gcd(n, bottom) == 1)
    angle = rf"\frac{{{top}\pi}}{{{bottom}}}"
    key = rf"\cos\frac{{{2 * top}\pi}}{{{bottom}}}"
    return key, rf"2\cos^2\left({angle}\right)-1", [
        rf"2\cos^2\left(\frac{{{top}\pi}}{{{bottom + 1}}}\right)-1", rf"2\cos^2\left({angle}\right)-1+{draw.tiny()}",
    ]  # fmt: skip


def logarithms(draw: Draw) -> Written:
    a, b = draw.whole(), draw.whole()
    return rf"\ln {a}+\ln {b}", rf"\ln {a * b}", [rf"\ln {a * b + 1}", rf"\ln {a * b}+{draw.tiny()}"]


def logarithms_of_powers(draw: Draw) -> Written:
    base, top, bottom = draw.few(2, 12), draw.whole(), draw.few(2, 9)
    key = rf"\frac{{{top}}}{{{bottom}}}"
    same = rf"\frac{{{top}\ln {base}}}{{\ln {base**bottom}}}"
    return key, same, [rf"\frac{{{top + 1}\ln {base}}}{{\ln {base**bottom}}}", rf"{same}+{draw.tiny()}"]


def exponentials(draw: Draw) -> Written:
    a, b, c = draw.few(1, 9), draw.few(1, 9), draw.exponent()
    same = rf"e^{{{a}}}\cdot e^{{{b}}}"
    return rf"e^{{{a + b}}}", same, [rf"{same}+e^{{-{c}}}", rf"e^{{{a}}}\cdot e^{{{b + 1}}}"]


def arctangents(draw: Draw) -> Written:
    """For ab > 1, arctan 1/a + arctan 1/b = arctan (a + b)/(ab - 1)."""
    a, b = draw.whole(), draw.whole()
    key = rf"\arctan\frac{{1}}{{{a}}}+\arctan\frac{{1}}{{{b}}}"
    return key, rf"\arctan\frac{{{a + b}}}{{{a * b - 1}}}", [
        rf"\arctan\frac{{{a + b}}}{{{a * b}}}", rf"\arctan\frac{{{a + b + 1}}}{{{a * b - 1}}}",
    ]  # fmt: skip


def complex_numbers(draw: Draw) -> Written:
    a, b, c, d = (draw.whole(1) for _ in range(4))
    real, imaginary = a * c - b * d, a * d + b * c
    key = rf"({a}+{b}i)({c}+{d}i)"
    return key, rf"{real}+{imaginary}i", [rf"{real + 1}+{imaginary}i", rf"{real}+{imaginary + 1}i"]


def polynomials(draw: Draw) -> Written:
    a, b, c = (draw.whole(1) for _ in range(3))
    key = rf"(x-{a})(x+{b})({c}x+1)"
    parts = [c, c * (b - a) + 1, b - a - a * b * c, -a * b]
    return key, _polynomial(parts), [_polynomial([*parts[:3], parts[3] + 1]), _polynomial(parts) + f"+{draw.tiny()}"]


def _polynomial(parts: list[int]) -> str:
    degree = len(parts) - 1
    return "".join(f"{part:+d}" + (f"x^{degree - at}" if at < degree else "") for at, part in enumerate(parts)).lstrip(
        "+"
    )


def two_unknowns(draw: Draw) -> Written:
    a, b = draw.whole(1), draw.whole(1)
    key = rf"({a}x+{b}y)^2"
    same = rf"{a * a}x^2+{2 * a * b}xy+{b * b}y^2"
    return key, same, [rf"{a * a}x^2+{2 * a * b + 1}xy+{b * b}y^2", rf"{same}+{draw.tiny()}"]


def partial_fractions(draw: Draw) -> Written:
    a, b, r, s = (draw.whole(1) for _ in range(4))
    key = rf"\frac{{{a}}}{{x+{r}}}+\frac{{{b}}}{{x+{s + r}}}"
    bottom = rf"(x+{r})(x+{s + r})"
    constant = a * (s + r) + b * r
    return key, rf"\frac{{{a + b}x+{constant}}}{{{bottom}}}", [
        rf"\frac{{{a + b}x+{constant + 1}}}{{{bottom}}}", rf"\frac{{{a + b}x+{constant}}}{{{bottom}}}+{draw.tiny()}",
    ]  # fmt: skip


def trigonometric_identities(draw: Draw) -> Written:
    a, b = draw.few(2, 9), draw.few(1, 9)
    key = rf"\sin({a + b}x)"
    same = rf"\sin({a}x)\cos({b}x)+\cos({a}x)\sin({b}x)"
    return key, same, [same.replace("+", "-"), rf"{same}+{draw.tiny()}"]


def powers_of_unknowns(draw: Draw) -> Written:
    base, more = draw.few(2, 9), draw.exponent()
    return rf"{base}^{{n+{more}}}", rf"{base}^{{{more}}}\cdot {base}^n", [
        rf"{base}^{{{more}}}\cdot {base}^n+1", rf"{base}^{{{more - 1}}}\cdot {base}^n",
    ]  # fmt: skip


def roots_of_unknowns(draw: Draw) -> Written:
    a, c = draw.whole(), draw.square_free()
    return rf"\sqrt{{{a * a * c}x^2+{a * a * c}}}", rf"{a}\sqrt{{{c}}}\sqrt{{x^2+1}}", [
        rf"{a}\sqrt{{{c + 1}}}\sqrt{{x^2+1}}", rf"{a}\sqrt{{{c}}}\sqrt{{x^2+1}}+{draw.tiny()}",
    ]  # fmt: skip


def absolute_values(draw: Draw) -> Written:
    a = draw.whole()
    return rf"|x-{a}|", rf"\sqrt{{x^2-{2 * a}x+{a * a}}}", [rf"|x-{a + 1}|", rf"x-{a}"]


def intervals(draw: Draw) -> Written:
    base, power, end = draw.few(2, 9), draw.exponent(), draw.whole()
    start = rf"1-\frac{{1}}{{{base}^{{{power}}}}}"
    same = rf"\left[\frac{{{base}^{{{power}}}-1}}{{{base}^{{{power}}}}},{end}\right)"
    return rf"\left[{start},{end}\right)", same, [
        rf"\left[1-\frac{{1}}{{{base}^{{{power + 1}}}}},{end}\right)", same.replace(r"\right)", r"\right]"),
    ]  # fmt: skip


def unions(draw: Draw) -> Written:
    a = draw.whole()
    b = a + draw.whole()
    key = rf"(-\infty,{a})\cup({b},\infty)"
    return key, rf"({2 * b}/2,\infty)\cup(-\infty,{a})", [
        rf"(-\infty,{a}]\cup({b},\infty)", rf"(-\infty,{a})\cup({b}+{draw.tiny()},\infty)",
    ]  # fmt: skip


def overlapping_unions(draw: Draw) -> Written:
    a = draw.whole()
    b = a + draw.whole()
    return rf"[0,{b}]", rf"[0,{a}]\cup[{a},{b}]", [rf"[0,{a})\cup({a},{b}]", rf"[0,{a}]\cup[{a},{b + 1}]"]


def sets_of_roots(draw: Draw) -> Written:
    inner = sorted({draw.whole() * draw.square_free() for _ in range(4)})
    own = [rf"\sqrt{{{n}}}" for n in inner]
    other = [rf"\frac{{{n}}}{{\sqrt{{{n}}}}}" for n in inner]
    off = [*other[:-1], rf"\frac{{{inner[-1] + 1}}}{{\sqrt{{{inner[-1]}}}}}"]
    return rf"\{{{','.join(own)}\}}", rf"\{{{','.join(draw.shuffled(other))}\}}", [
        rf"\{{{','.join(draw.shuffled(off))}\}}", rf"\{{{','.join([*other, draw.tiny()])}\}}",
    ]  # fmt: skip


def pairs_in_order(draw: Draw) -> Written:
    a, c = draw.whole(), draw.square_free()
    key = rf"\left({a},\frac{{1}}{{\sqrt{{{c}}}}},{a + 1}\right)"
    return (
        key,
        rf"\left({a},\frac{{\sqrt{{{c}}}}}{{{c}}},{a + 1}\right)",
        [
            rf"\left({a},\frac{{\sqrt{{{c}}}}}{{{c}}}+{draw.tiny()},{a + 1}\right)",
            rf"\left(\frac{{\sqrt{{{c}}}}}{{{c}}},{a},{a + 1}\right)",
        ],
    )


def inequalities(draw: Draw) -> Written:
    base, power, times = draw.few(2, 9), draw.exponent(), draw.few(2, 9)
    key = rf"x>\frac{{1}}{{{base}^{{{power}}}}}"
    return key, rf"-{times}x<-\frac{{{times}}}{{{base}^{{{power}}}}}", [
        rf"x>\frac{{1}}{{{base}^{{{power + 1}}}}}", rf"{times}x\ge\frac{{{times}}}{{{base}^{{{power}}}}}",
    ]  # fmt: skip


def equations(draw: Draw) -> Written:
    a, b, times = draw.whole(), draw.whole(), draw.few(2, 9)
    key = rf"y={a}x+{b}"
    same = rf"{times * a}x-{times}y+{times * b}=0"
    return key, same, [rf"{times * a}x-{times}y+{times * b + 1}=0", rf"{times * a}x-{times}y+{times * b}={draw.tiny()}"]


def matrices(draw: Draw) -> Written:
    a, b, c = draw.whole(), draw.whole(), draw.square_free()

    def written(corner: str) -> str:
        return rf"\begin{{pmatrix}}{a}&{b}\\{corner}&0\end{{pmatrix}}"

    return written(rf"\sqrt{{{c}}}"), written(rf"\frac{{{c}}}{{\sqrt{{{c}}}}}"), [
        written(rf"\frac{{{c + 1}}}{{\sqrt{{{c}}}}}"), written(rf"\sqrt{{{c}}}+{draw.tiny()}"),
    ]  # fmt: skip


def both_signs(draw: Draw) -> Written:
    a, c, d = draw.whole(), draw.square_free(), draw.few(2, 9)
    return (
        rf"\frac{{{a}\pm\sqrt{{{c}}}}}{{{d}}}",
        rf"\frac{{{a}-\sqrt{{{c}}}}}{{{d}}},\frac{{{a}+\sqrt{{{c}}}}}{{{d}}}",
        [
            rf"\frac{{{a}-\sqrt{{{c}}}}}{{{d}}},\frac{{{a + 1}+\sqrt{{{c}}}}}{{{d}}}",
            rf"\frac{{{a}-\sqrt{{{c}}}}}{{{d}}},\frac{{{a}+\sqrt{{{c}}}}}{{{d}}}+{draw.tiny()}",
        ],
    )


def binomials(draw: Draw) -> Written:
    n = draw.few(8, 60)
    k = draw.few(2, n - 2)
    key = rf"\binom{{{n}}}{{{k}}}"
    same = rf"\frac{{{n}!}}{{{k}!\cdot {n - k}!}}"
    return key, same, [str(comb(n, k) + 1), rf"{same}+{draw.tiny()}"]


def factorials(draw: Draw) -> Written:
    n = draw.few(10, 150)
    same = rf"{n}\cdot {n - 1}!"
    return rf"{n}!", same, [rf"{same}+1", str(factorial(n) - 1) if n < 60 else rf"{n - 1}\cdot {n - 1}!"]


def sums(draw: Draw) -> Written:
    n, times = draw.few(5, 90), draw.whole(1)
    value = times * n * (n + 1) * (2 * n + 1) // 6
    return rf"\sum_{{k=1}}^{{{n}}} {times}k^2", str(value), [str(value + 1), str(value - times)]


def series(draw: Draw) -> Written:
    top, bottom = draw.few(1, 8), draw.few(9, 30)
    value = 1 / (1 - Fraction(top, bottom))
    same = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    key = rf"\sum_{{k=0}}^{{\infty}} \left(\frac{{{top}}}{{{bottom}}}\right)^k"
    return same, key, [rf"{same}+{draw.tiny()}", rf"\frac{{{value.numerator + 1}}}{{{value.denominator}}}"]


FORMS: Final[dict[str, Callable[[Draw], Written]]] = {
    form.__name__: form
    for form in (
        near_one, tiny_values, large_powers, towers, fractions, decimals_of_pi, decimals_inside,
        long_decimals, nested_roots, rationalised, odd_roots, angles, logarithms, logarithms_of_powers,
        exponentials, arctangents, complex_numbers, polynomials, two_unknowns, partial_fractions,
        trigonometric_identities, powers_of_unknowns, roots_of_unknowns, absolute_values, intervals, unions,
        overlapping_unions, sets_of_roots, pairs_in_order, inequalities, equations, matrices, both_signs,
        binomials, factorials, sums, series,
    )
}  # fmt: skip


def pairs(draws: int, seed: int = 0) -> Iterator[Pair]:
    """For each form and size as many keys as `draws`, each with one answer that is right and two that are wrong."""
    for form, written in FORMS.items():
        for size, level in SIZES.items():
            for turn in range(draws):
                key, same, others = written(Draw(f"{seed} {form} {size} {turn}", level))
                for answer, right in ((same, True), *((other, False) for other in others)):
                    yield Pair(form=form, size=size, key=key, answer=answer, right=right)
