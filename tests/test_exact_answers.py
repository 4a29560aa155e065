r"""Equal as mathematics, exactly: values that differ by little differ, however they are written.

The tables were written by hand: answer, key, verdict. The sweep builds its pairs from whole numbers, so that their
truth is known without a computer algebra system.
"""

import asyncio
import random
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
import sympy

from benchmarks import mathematics as sweep
from benchmarks.mathematics_pairs import FORMS, SIZES, pairs
from counterpoint.judges.mathematics.inside import patience, plain, reading, real_sets, scalars, separation, shapes
from counterpoint.judges.mathematics.judge import MathJudge, settled

NEARLY_EQUAL = [
    (r"1-\frac{1}{2^{60}}", r"1-\frac{1}{2^{61}}", False),
    (r"1-\frac{1}{2^{61}}", r"\frac{2^{61}-1}{2^{61}}", True),
    (r"\frac{1}{3^{2023}}", r"\frac{1}{2^{2023}}", False),
    (r"2^{-2023}", r"\frac{1}{2^{2023}}", True),
    ("2^{2023}+1", "2^{2023}", False),
    (r"2\cdot 2^{2022}", "2^{2023}", True),
    ("10^{10^{9}}+1", "10^{10^9}", False),
    ("1+10^{10^{9}}", "10^{10^9}+1", True),
    (r"\sqrt{2}+10^{-50}", r"\sqrt{2}", False),
    (r"\sqrt{10^{100}+1}", "10^{50}", False),
    (r"1-e^{-1000}", "1", False),
    (r"\tanh(1000)", "1", False),
    (r"(\sqrt2-1)^{100}", "0", False),
    (r"640320^3+744", r"e^{\pi\sqrt{163}}", False),
    (r"x+10^{-40}", "x", False),
    (r"(x+1)^2+10^{-50}", "x^2+2x+1", False),
    (r"2+3i+10^{-30}i", "2+3i", False),
    (r"100\cdot 99!", "100!", True),
    ("100!+1", "100!", False),
    (r"\lfloor 10^{20}\sqrt2\rfloor", "141421356237309504880", True),
    (r"\lfloor 10^{20}\sqrt2\rfloor", "141421356237309504881", False),
    (r"\lfloor 3-10^{-50}\rfloor", "3", False),
]
DECIMALS = [
    ("3.14159265358979", r"\pi", False),
    (r"\pi", "3.14", False),
    (r"\frac12", "0.5", True),
    ("0.33333333333333333333", r"\frac13", False),
    (r"\frac{3x+4}{2}", "1.5x+2", True),
    (r"\frac{3x+4}{2}+10^{-20}", "1.5x+2", False),
    (r"\frac{1}{10}x", "0.1x", True),
    ("0.1+0.2", "0.3", True),
    ("0.1+0.2", "0.30000000000000004", False),
    (r"\sqrt2", "1.4142135623730951", True),
    (r"\sqrt2", "1.4142135623730941", False),
    (r"\sqrt2", "1.41421356", False),
    ("1.41421356237309", "1.4142135623730951", False),
    (r"\frac13", "0.3333333333333333", True),
    (r"\frac{1}{3}", "0.333", False),
    ("e", "2.718281828459045", True),
    (r"\frac{\pi}{4}", "-0.785398163397448", False),
    (r"-\frac{\pi}{4}", "-0.785398163397448", True),
]
ROOTS = [
    (r"\sqrt[3]{-8}", "-2", True),
    (r"\sqrt[4]{16}", "-2", False),
    (r"\sqrt[5]{-32}", "-2", True),
    (r"\sqrt[3]{-27}", "3", False),
    (r"-2\sqrt[3]{5}", r"2\sqrt[3]{-5}", True),
    (r"(-8)^{1/3}", "-2", True),
    (r"1+i\sqrt3", r"(-8)^{1/3}", True),
    (r"(-8)^{2/3}", "4", True),
    (r"\sqrt[3]{x^3}", "x", True),
    (r"\sqrt[4]{x^4}", "x", False),
    (r"-\sqrt[3]{x}", r"\sqrt[3]{-x}", True),
    (r"x^{1/3}", r"\sqrt[3]{x}", True),
    (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", "1", True),
    (r"\sqrt[3]{7-5\sqrt2}", r"1-\sqrt2", True),
    (r"\sqrt[3]2+\sqrt[3]4", r"\sqrt[3]{6+6\sqrt[3]2+6\sqrt[3]4}", True),
    (r"\sqrt{5+2\sqrt6}", r"\sqrt2+\sqrt3", True),
    (r"\sqrt{5+2\sqrt6}+10^{-60}", r"\sqrt2+\sqrt3", False),
    (r"2\cos\frac{\pi}{16}", r"\sqrt{2+\sqrt{2+\sqrt2}}", True),
    (r"\frac18", r"\cos\frac{\pi}{7}\cos\frac{2\pi}{7}\cos\frac{3\pi}{7}", True),
    (r"\frac18+10^{-40}", r"\cos\frac{\pi}{7}\cos\frac{2\pi}{7}\cos\frac{3\pi}{7}", False),
]
FUNCTIONS = [
    (r"\frac32", r"\log_4 8", True),
    (r"2", r"\log_2 3\cdot\log_3 4", True),
    (r"-\ln(\sqrt2-1)", r"\ln(\sqrt2+1)", True),
    (r"\frac\pi4", r"\arctan\frac12+\arctan\frac13", True),
    (r"\frac\pi4", r"\arctan\frac12+\arctan\frac14", False),
    (r"3\sin x-4\sin^3 x", r"\sin 3x", True),
    (r"1-\sin^2 x", r"\cos 2x", False),
    (r"\sin x\cdot\cos x", r"\frac{\sin 2x}{2}", True),
    (r"\frac{1}{\cos^2 x}", r"\tan^2 x+1", True),
    (r"a^n b^n", "(ab)^n", True),
    (r"2\cdot 2^{n-1}", "2^n", True),
    (r"(-1)^{n+2}", "(-1)^n", True),
    (r"(-1)^{n+1}", "(-1)^n", False),
    (r"\cos(n\pi)", "(-1)^n", True),
    (r"\frac{(2n)!}{n!n!}", r"\binom{2n}{n}", True),
    (r"|x-2|", r"\sqrt{x^2-4x+4}", True),
    (r"|2x-3|", "|x-1|+|x-2|", False),
    (r"\ln|x|", r"\ln x", True),
    (r"\ln x", r"\ln|x|", False),
    (r"\frac{1}{x-x}", "5", False),
    (r"5+e^{-e^{20}}", "5", False),
    ("f(3)", "5", False),
    (r"\frac{1+i}{\sqrt2}", r"e^{i\pi/4}", True),
    (r"\sum_{i=1}^{n} i", r"\frac{n(n+1)}{2}", True),
    (r"\sum_{k=1}^{\infty}\frac{1}{k^2}", r"\frac{\pi^2}{6}", True),
    (r"\frac{\pi^2}{6}+10^{-30}", r"\sum_{k=1}^{\infty}\frac{1}{k^2}", False),
]
SHAPES = [
    (r"x>\frac{1}{2^{60}}", r"x>\frac{1}{2^{61}}", False),
    (r"-x<-2", "x>2", True),
    (r"-x>-2", "x>2", False),
    (r"2x+2y\le 6", r"x+y\le 3", True),
    (r"x+y<3", r"x+y\le 3", False),
    ("1>x>0", "0<x<1", True),
    (r"\left[\frac{1}{2^{60}},3\right)", r"\left[\frac{1}{2^{61}},3\right)", False),
    (r"(0,2\sqrt2)", r"(0,\sqrt8)", True),
    (r"(0,e^{-1}+10^{-30})", r"\left(0,\frac1e\right)", False),
    (r"[0,1]\cup[1,2]", "[0,2]", True),
    (r"[0,1)\cup(1,2]", "[0,2]", False),
    (r"(0,2)\setminus\{1\}", r"(0,1)\cup(1,2)", True),
    (r"\{2\}", r"(1,2]\cap[2,3)", True),
    ("x^2>2", r"(-\infty,-\sqrt2)\cup(\sqrt2,\infty)", True),
    ("|x|<2", "[-2,2]", False),
    (r"(c,d)\cup(a,b)", r"(a,b)\cup(c,d)", True),
    (r"\{1,2\sqrt2\}", r"\{\sqrt8,1\}", True),
    (r"\{1,2,2+10^{-30}\}", r"\{1,2\}", False),
    (r"2x-y+1=0", "y=2x+1", True),
    (r"2x-y+1=10^{-30}", "y=2x+1", False),
    (r"9x^2+4y^2=36", r"\frac{x^2}{4}+\frac{y^2}{9}=1", True),
    (r"y=\frac1x", "xy=1", True),
    (r"\ln y=x", "y=e^x", True),
    ("x=y", "(x-y)^2=0", True),
    ("a+b=5", "5", True),
    (r"\sqrt2=5", "5", False),
    (r"\begin{pmatrix}1\\2^{-61}\end{pmatrix}", r"\begin{pmatrix}1\\2^{-60}\end{pmatrix}", False),
    (r"\begin{pmatrix}\frac{1}{\sqrt2}\\0\end{pmatrix}", r"\begin{pmatrix}\frac{\sqrt2}{2}\\0\end{pmatrix}", True),
]
READINGS = [
    ("2(3)", "6", True),
    ("(2)(3)", "6", True),
    ("2(3)", "5", False),
    (r"2\left(\frac12\right)", "1", True),
    (r"2\frac12x", r"\frac{5x}{2}", True),
    (r"4(0.5)", "2", True),
    (r"\frac12\frac13", r"\frac16", True),
    (r"10\frac12\pi", r"\frac{21\pi}{2}", True),
    ("2 3", "6", False),
    (r"\frac\pi3", r"\frac{\pi}{3}", True),
]
TABLES = [*NEARLY_EQUAL, *DECIMALS, *ROOTS, *FUNCTIONS, *SHAPES, *READINGS]
HERMITE = (r"\lfloor x\rfloor+\lfloor x+\frac12\rfloor", r"\lfloor 2x\rfloor")
"""Equal at every x (Hermite's identity), which neither numbers at points nor sympy can show."""


@pytest.fixture(scope="module")
def judge():
    """One for all tables, with one process: it is what takes time to start."""
    one = MathJudge(workers=1)
    yield one
    asyncio.run(one.close())


def reward(judge, answer, key):
    return asyncio.run(judge.judge(answer, key)).reward


@pytest.mark.parametrize(("answer", "key", "right"), TABLES, ids=lambda value: str(value)[:30])
def test_answers_are_right_if_they_are_exactly_the_key(judge, answer, key, right):
    assert reward(judge, answer, key) == float(right)


def test_what_agrees_to_all_digits_without_a_proof_is_not_judged_and_counted(judge):
    judge.numbers()
    score = asyncio.run(judge.judge(*HERMITE))
    assert score.reward is None
    assert "equality is not shown" in score.reason
    assert judge.numbers()["mathematics/undecided"] == 1.0


NOT_TO_BE_COMPUTED = [
    r"\lfloor x\rfloor", r"\sum_{k=1}^{\infty}\frac{\sin k}{k^3}", r"\int_0^1 \sin(\sin(\sin x)) dx", r"f(f(f(x)))",
    r"5+e^{-e^{30}}", "2^{2^{40}}", r"\frac{0}{0}", r"\arcsin(2)", r"\ln(-1)", "x!", r"(-x^2-1)^{\frac12}",
    r"\lfloor 10^{40}\sin 1\rfloor", r"\lim_{n\to\infty}\sin n", "g(x)+5", r"5\cdot\frac{x}{x}+10^{-60}",
]  # fmt: skip


@pytest.mark.parametrize("key", ["5", "x^2", "[0,1]", "y=2x"])
def test_no_wrong_answer_escapes_by_being_hard_to_compute(judge, key):
    assert [reward(judge, answer, key) for answer in NOT_TO_BE_COMPUTED] == [0.0] * len(NOT_TO_BE_COMPUTED)


def wrongly_judged(judge, found):
    return [pair for pair in found if reward(judge, pair.answer, pair.key) != float(pair.right)]


def test_a_sweep_over_forms_accepts_nothing_wrong_and_refuses_nothing_right(judge):
    """Of each form, a right answer and two wrong ones, at sizes that take turns."""
    found = [pair for at, pair in enumerate(pairs(1, seed=3)) if (at // 9 + at // 3 + at % 3) % 3 == 0]
    assert len(found) == 3 * len(FORMS)
    assert {(pair.form, pair.right) for pair in found} == {(form, right) for form in FORMS for right in (True, False)}
    assert {pair.size for pair in found} == {*SIZES}
    assert wrongly_judged(judge, found) == []


@pytest.mark.slow
def test_a_sweep_over_forms_and_sizes_accepts_nothing_wrong_and_refuses_nothing_right(judge):
    assert wrongly_judged(judge, pairs(1, seed=3)) == []


def test_the_pairs_of_the_sweep_are_the_same_every_time_and_all_different():
    found = [*pairs(2)]
    assert found == [*pairs(2)]
    assert {pair.size for pair in found} == {*SIZES}
    assert sum(pair.right for pair in found) * 3 == len(found)
    assert all(pair.key != pair.answer for pair in found)
    assert len({(pair.key, pair.answer) for pair in found}) > 0.9 * len(found)


def test_the_table_of_the_sweep_counts_each_error_on_its_side():
    found = [pair for pair in pairs(1) if pair.form == "near_one"]
    verdicts = [True if pair.right else None for pair in found]
    verdicts[1] = True
    shown = sweep.table(found, {"mine": verdicts}, {"mine": 2.0})
    cells = [next(iter(column.cells)) for column in shown.columns]
    assert cells[0] == "mine"
    assert [cell.split(":")[0] for cell in cells[1:4]] == ["1 of 6", "0 of 3", "5 of 9"]
    assert sweep.rate(0, 10) == "0 of 10: 0.00 % [0.00, 27.75]"


def of(text):
    found = reading.read(text)
    assert found is not None, text
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\sqrt{2}-1", 2**0.5 - 1),
        (r"\sqrt{2}+\sqrt{3}-\sqrt{5+2\sqrt{5}}", 2**0.5 + 3**0.5 - (5 + 2 * 5**0.5) ** 0.5),
        (r"\sqrt[3]{2}-\frac{5}{4}", 2 ** (1 / 3) - 1.25),
        (r"\sqrt{1000001}-1000", 1000001**0.5 - 1000),
        (r"\frac{1}{\sqrt{7}}-\frac{3}{8}", 7**-0.5 - 0.375),
    ],
)
def test_a_separation_bound_is_below_the_number_that_it_bounds(text, value):
    bits = separation.separation_bits(of(text))
    assert 0 < 2.0**-bits <= abs(value)


def test_a_separation_bound_holds_for_every_difference_of_two_square_roots():
    drawn = random.Random(0)
    with localcontext() as context:
        context.prec = 60
        for _ in range(80):
            a, b, c = (drawn.randrange(2, 10**6) for _ in range(3))
            value = Decimal(a).sqrt() + Decimal(b).sqrt() - Decimal(c).sqrt()
            bits = separation.separation_bits(of(rf"\sqrt{{{a}}}+\sqrt{{{b}}}-\sqrt{{{c}}}"))
            assert value == 0 or abs(value) >= Decimal(2) ** -bits


@pytest.mark.parametrize("text", [r"\pi-3", "e^2", r"\ln 2", "x+1", r"2^{\sqrt{2}}", r"\cos 1"])
def test_what_is_not_seen_to_be_algebraic_has_no_separation_bound(text):
    assert separation.separation_bits(of(text)) is None


def test_rational_functions_are_told_apart_as_fractions_at_many_points_tell_them():
    drawn = random.Random(1)
    texts = ["x^2-1", "(x-1)(x+1)", r"\frac{x^3-x}{x}", "x^2-2", r"\frac{1}{x-1}-\frac{1}{x+1}", r"\frac{2}{x^2-1}"]
    values = [
        lambda x: x**2 - 1, lambda x: (x - 1) * (x + 1), lambda x: (x**3 - x) / x, lambda x: x**2 - 2,
        lambda x: 1 / (x - 1) - 1 / (x + 1), lambda x: 2 / (x**2 - 1),
    ]  # fmt: skip
    points = [Fraction(drawn.randrange(2, 99), drawn.randrange(100, 199)) for _ in range(20)]
    for one, left in zip(texts, values, strict=True):
        for other, right in zip(texts, values, strict=True):
            slowly = all(left(point) == right(point) for point in points)
            assert plain.same_function(of(one), of(other)) is slowly, (one, other)
    assert plain.same_function(of(r"\sqrt{x}"), of("x")) is None


def test_sets_of_real_numbers_are_those_of_their_members():
    drawn = random.Random(2)
    for _ in range(60):
        ends = [sorted(drawn.sample(range(9), 2)) for _ in range(4)]
        signs = [drawn.choice(["[]", "[)", "(]", "()"]) for _ in ends]
        parts = [f"{sign[0]}{low},{high}{sign[1]}" for sign, (low, high) in zip(signs, ends, strict=True)]
        text = rf"{parts[0]}\cup{parts[1]}\cup{parts[2]}"
        union, minus = of(text), of(rf"({text})\setminus{parts[3]}")

        def within(x, which, ends=ends, signs=signs):
            low, high = ends[which]
            return low < x < high or (x == low and signs[which][0] == "[") or (x == high and signs[which][1] == "]")

        for found, belongs in (
            (union, lambda x: any(within(x, which) for which in range(3))),
            (minus, lambda x: any(within(x, which) for which in range(3)) and not within(x, 3)),
        ):
            changes = real_sets.places(found)
            for half in range(-1, 20):
                before = [one for one in changes if one[0] < Fraction(half, 2) or (2 * one[0] == half and not one[1])]
                assert (len(before) % 2 == 1) == belongs(Fraction(half, 2)), (text, parts[3], half)


def test_a_tolerance_is_relative_to_the_key_and_for_each_number_of_a_list():
    found = [
        (r"\sqrt2", "1.42"),
        (r"\sqrt2", "1.44"),
        (r"(\pi,1)", "(3.15,1)"),
        (r"(\pi,1)", "(3.5,1)"),
        ("x", "1.01x"),
    ]
    near = scalars.Allowed(relative=0.01)
    assert [shapes.same(of(key), of(answer), near) for answer, key in found] == [True, False, True, False, False]


def test_numbers_are_put_in_order_exactly():
    assert scalars.order(of(r"\sqrt2"), of(r"\sqrt2+10^{-80}")) == -1
    assert scalars.order(of(r"\sqrt{5+2\sqrt6}"), of(r"\sqrt2+\sqrt3")) == 0
    assert scalars.order(of(r"\pi"), of("3")) == 1
    assert scalars.order(of("x"), of("3")) is None


def test_a_verdict_on_parts_is_false_if_one_is_and_open_if_one_is():
    assert shapes.every([True, None, False]) is False
    assert shapes.every([True, None]) is None
    assert shapes.every([]) is True
    assert scalars.any_of(iter([None, True])) is True
    assert scalars.any_of(iter([None, False])) is None


def test_a_computation_that_takes_too_long_is_left():
    def forever():
        with patience.within(0.05):
            while True:
                pass

    with pytest.raises(patience.OutOfTime):
        forever()
    with patience.within(5.0):
        assert sum(range(10)) == 45


@pytest.mark.parametrize("text", ["open('x')", "1+1", "a.b", "1e99999", "", "9" * 1001, None])
def test_only_numbers_and_names_are_made_of_text(text):
    with pytest.raises(sympy.SympifyError):
        reading.number_of(text)
    assert reading.number_of("1.50") == sympy.Rational(3, 2)
    assert reading.number_of("abc") == sympy.Symbol("abc")


def test_a_long_decimal_key_stands_for_what_it_is_rounded_from_and_a_short_one_for_itself():
    assert settled(r"\frac13", "0.333333333333").reward == 1.0
    assert settled(r"\frac13", "0.33333333333").reward == 0.0
    assert settled("0.3333333333333", "0.333333333333").reward == 0.0
    assert settled(r"\frac{2}{3}", "0.666666666667").reward == 1.0
