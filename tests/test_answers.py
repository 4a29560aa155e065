"""Answers are read and compared without guessing, whatever a model writes."""

import asyncio
import random
import time
from fractions import Fraction

import pytest

from counterpoint.boxes import boxes, last_box
from counterpoint.judges._plain import amount, plain
from counterpoint.judges.text import NumberJudge, TextJudge, same_number, same_text_or_number


def same(answer: str, key: str) -> bool:
    return asyncio.run(same_number(answer, key)).reward == 1.0


def slow_boxes(text: str) -> list[str]:
    """The same by looking for the closing brace of every box anew."""
    found = []
    for begin in (place + 7 for place in range(len(text)) if text.startswith(r"\boxed{", place)):
        depth = 1
        for end in range(begin, len(text)):
            depth += (text[end] == "{") - (text[end] == "}")
            if depth == 0:
                found.append(text[begin:end].strip())
                break
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"So it is \boxed{42}.", ["42"]),
        (r"\boxed{ 42 }", ["42"]),
        (r"first \boxed{1}, no, \boxed{2}", ["1", "2"]),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed{a{b{c}d}e}", ["a{b{c}d}e"]),
        (r"\boxed{\boxed{7}}", [r"\boxed{7}", "7"]),
        (r"\boxed{1", []),
        (r"\boxed{1 and \boxed{2}", ["2"]),
        (r"} \boxed{3} }", ["3"]),
        (r"{ \boxed{4}", ["4"]),
        (r"\boxed{}", [""]),
        (r"boxed{6}, \Boxed{7}", []),
        ("\\boxed{1,\n2}", ["1,\n2"]),
        ("", []),
    ],
)
def test_boxes_are_read_with_their_braces_balanced(text, found):
    assert boxes(text) == found
    assert slow_boxes(text) == found
    assert last_box(text) == ((found[-1] or None) if found else None)


SHORT_BOXES = [
    (r"So it is $\boxed 2$.", "2"), (r"So it is $\boxed{2}$.", "2"), (r"It is \boxed{ {1, 2} }.", "{1, 2}"),
    (r"\boxed\frac12", r"\frac12"), (r"$\boxed\frac{1}{2}$.", r"\frac{1}{2}"), (r"\boxed {3}", "3"),
    ("\\boxed\n{3}", "3"), (r"$\boxed\pi$", r"\pi"), (r"so \boxed\pi is it", r"\pi"), (r"\boxed-2", "-2"),
    (r"\boxed 25 apples", "25"), (r"\boxed 1,204.", "1,204"), (r"**\boxed 5**", "5"), (r"(\boxed 5)", "5"),
    (r"$\boxed (1, 2)$", "(1, 2)"), (r"\boxed A.", "A"), (r"$\boxed x$", "x"), (r"\boxed 3/4", "3/4"),
    (r"$\boxed x^2+1$", "x^2+1"), (r"\boxed 2^{10}", "2^{10}"), (r"\boxed \$5", r"\$5"), (r"\boxed 50\%", r"50\%"),
    (r"\(\boxed 2\)", "2"), (r"\[\boxed\sqrt{3}\]", r"\sqrt{3}"), (r"$\boxed \sqrt[3]{2}$", r"\sqrt[3]{2}"),
    (r"\boxed\text{Paris}.", r"\text{Paris}"), (r"\boxed.5", ".5"), ("$$\n\\boxed 7\n$$", "7"),
    (r"\boxed{1} and then \boxed 2", "2"), (r"\boxed 1 and then \boxed{2}", "2"), (r"\boxed\boxed{7}", "7"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}"), (r"\boxed{\left\{x\right.}", r"\left\{x\right."), (r"\\boxed{5}", "5"),
    (r"\fbox{3}", "3"), (r"\boxed{4} \fbox{3}", "4"), (r"\boxed{4 \fbox{3}", None), (r"\fbox 3", None),
    (r"put it in \boxed notation", None), (r"use \boxed.", None), ("`\\boxed`", None), (r"\boxed", None),
    (r"\boxed a number", None), (r"\boxed{1} \boxed{}", None), (r"\boxed{1} \boxed{2", "1"), (r"\boxed{\}", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), SHORT_BOXES)
def test_a_box_is_read_as_tex_and_a_reader_would(text, answer):
    assert last_box(text) == answer


@pytest.mark.parametrize(
    "piece", [r"\boxed", r"\boxed ", r"\boxed 1", r"\boxed\text{", r"\boxed\frac", r"\boxed(", "\\"]
)
def test_hostile_boxes_without_braces_are_read_in_one_pass(piece):
    began = time.perf_counter()
    boxes(piece * 20_000)
    assert time.perf_counter() - began < 3.0


def test_boxes_agree_with_a_slow_reader_on_every_short_text():
    pieces = [r"\boxed{", "{", "}", "1"]
    texts = [""]
    for _ in range(6):
        texts = [text + piece for text in texts for piece in pieces]
        assert all(boxes(text) == slow_boxes(text) for text in texts)


@pytest.mark.parametrize(
    "text",
    [r"\boxed{" * 100_000, "{" * 100_000, r"\boxed{" * 100_000 + "}" * 100_000],
    ids=["boxes", "braces", "nested"],
)
def test_hostile_text_is_read_in_one_pass(text):
    assert last_box(text + r" \boxed{1}") == "1"


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("1,204", "1204"),
        ("1,204,005", "1204005"),
        ("1204", "1,204"),
        ("-3", "-3"),
        ("\u22123", "-3"),
        ("- 3", "-3"),
        ("+3", "3"),
        ("007", "7"),
        ("1/2", "0.50"),
        ("1 / 2", "0.5"),
        ("2/4", "1/2"),
        ("0.50", "1/2"),
        (".5", "1/2"),
        ("5.", "5"),
        ("-0", "0"),
        ("$12", "12"),
        (" 12 ", "12"),
        pytest.param("1" * 300, "1" * 300, id="300 digits"),
    ],
)
def test_equal_numbers_are_right_however_they_are_written(answer, key):
    assert same(answer, key)


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("3", "-3"),
        ("0.3333333333", "1/3"),
        ("1e9999", "1e9999"),
        ("1e3", "1000"),
        ("1_000", "1000"),
        ("1/0", "1/0"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("", ""),
        ("twelve", "12"),
        ("12 apples", "12"),
        ("1,2", "12"),
        ("12,34", "1234"),
        ("3 4", "34"),
        ("1.2.3", "1.2"),
        ("__import__('os')", "0"),
        pytest.param("9" * 500, "9" * 500, id="500 digits"),
        pytest.param("9" * 5000, "9" * 5000, id="5,000 digits"),
        pytest.param("1" * 200_000 + "/3", "1", id="200,000 digits"),
    ],
)
def test_what_is_not_plainly_the_same_number_is_wrong(answer, key):
    assert not same(answer, key)


@pytest.mark.parametrize(
    ("answer", "key", "right"),
    [
        ("Paris", " paris ", True),
        ("New  York", "new york", True),
        ("STRASSE", "straße", True),
        ("0.5", "1/2", True),
        ("1e9999", "1E9999", True),
        ("Paris, France", "Paris", False),
        ("", "Paris", False),
    ],
)
def test_text_is_compared_up_to_case_and_spacing_and_else_as_a_number(answer, key, right):
    assert (asyncio.run(same_text_or_number(answer, key)).reward == 1.0) is right


def alike(answer: str, key: str) -> bool:
    """The judgement, which must be the same the other way round."""
    one, other = (asyncio.run(same_text_or_number(*pair)).reward for pair in ((answer, key), (key, answer)))
    assert one == other
    return one == 1.0


ALIKE = [
    ("Paris.", "Paris"), (r"\text{Paris}", "Paris"), (r"\mathrm{Paris}.", "paris"), (r"\textbf{Paris}", "Paris"),
    ("$Paris$", "Paris"), ('"Paris"', "Paris"), ("\u201cParis\u201d", "Paris"), ("**Paris**", "Paris"),
    ("`Paris`", "Paris"), ("Paris!", "Paris"), ("\uff30\uff41ris", "Paris"), ("caf\u00e9", "cafe\u0301"),
    ("The Nile", "Nile"), ("an apple", "Apple"), ("twenty\u2013one", "twenty-one"), ("12 \\text{ cm}", "12 cm"),
    (r"\boxed{Paris}", "Paris"), ("Answer: Paris", "Paris"), ("**Answer:** Paris", "Paris"),
    ("c", "C"), ("C.", "C"), ("(C)", "C"), ("C)", "C"), ("[C]", "C"), ("Option C", "C"), ("The answer is (C).", "C"),
    ("\u22123", "-3"), ("\u20133", "-3"), ("1.5.", "1.5"), ("$12", "12"), ("\u20ac12", "12"), ("1e-3", "0.001"),
    ("1e3", "1,000"), ("2 1/2", "2.5"), (r"2\frac{1}{2}", "2.5"), ("2\u00bd", "2.5"), ("\u00bd", "0.5"),
    (r"\frac{1}{2}", "1/2"), ("1{,}204", "1204"), ("$1,204$", "1204"), ("50 %", "50.0%"), ("50 percent", "50%"),
    (r"50\%", "50%"), ("A", "a"), ("The", "the"), (".", "."), (r"\text{June 20}", "June 20"),
    (r"\text{A,C,F}", "A,C,F"), ("two\nlines.", "two lines"),
]  # fmt: skip
DIFFERENT = [
    ("Not Paris", "Paris"), ("Paris or London", "Paris"), ("Paris, France", "Paris"), ("Paris?", "Paris"),
    ("The answer is not Paris", "Paris"), ("-3", "3"), ("A", "the"), ("a", "an"), ("", "Paris"), ("", "."),
    ("A B", "B"), ("A or C", "C"), ("B or C", "C"), ("A minor", "minor"), ("A", "B"), ("50%", "0.5"), ("50%", "50"),
    ("10\u00b2", "102"), ("2\u00bd", "21/2"), ("H\u2082O", "H2O2"), ("5!", "5"), ("n!", "n"), ("$12", "\u20ac12"),
    ("__init__", "init"), ("[0]", "0"), ("(1, 2)", "1, 2"), ("2**3", "23"), ("*", "**"), ("1,2", "12"), ("3 4", "34"),
    ("12 cm", "12"), ("12 cm", "12 m"), ("1.2.3", "1.2"), ("1/0", "2/0"), ("1e9999", "1e99999"), ("e", "2.718"),
    (r"1-\frac{1}{2^{60}}", r"1-\frac{1}{2^{61}}"), (r"\frac{1}{3^{2023}}", r"\frac{1}{2^{2023}}"),
    ("3.14159265358979", r"\pi"), (r"12\pi \text{ cm}^2", r"12\pi \text{ m}^2"), (r"\cos 20^\circ", r"\cos 20"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "key"), ALIKE)
def test_what_a_person_reads_as_the_same_is_right(answer, key):
    assert alike(answer, key)


@pytest.mark.parametrize(("answer", "key"), DIFFERENT)
def test_no_other_answer_is_paid(answer, key):
    assert not alike(answer, key)


def test_a_plain_form_is_its_own_plain_form_and_never_lost():
    pieces = [
        *"ab12 .,;:!()[]{}$%*`'\"\\_-/\u00e9\u00bd\u00b2",
        "\\text{",
        "\\boxed{",
        "the ",
        "a ",
        "answer: ",
        "**",
        "\\(",
    ]
    source = random.Random(0)
    for _ in range(5000):
        text = "".join(source.choice(pieces) for _ in range(source.randint(1, 9)))
        assert plain(plain(text)) == plain(text)
        assert bool(plain(text)) == bool(text.strip())
    signs = (chr(code) for code in range(0x30000) if not 0xD800 <= code < 0xE000)
    assert not [sign for sign in signs if plain(plain(sign + "a")) != plain(sign + "a")]


LONG = ("x" * 10**6, "1" * 10**6, "\u00e9" * 10**6, " " * 10**6, "(" * 999, "the " * 240, "." * 999)


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_an_answer_of_any_length_is_judged_at_once(text):
    began = time.perf_counter()
    assert asyncio.run(same_text_or_number(text, "Paris")).reward == 0.0
    plain(text[:999])
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("judge", [TextJudge, NumberJudge])
def test_per_cent_is_a_fraction_where_that_is_wanted(judge):
    def rewards(**options):
        return [asyncio.run(judge(**options).judge(answer, "0.5")).reward for answer in ("50%", "50", "1/2")]

    assert rewards() == [0.0, 0.0, 1.0]
    assert rewards(percent=True) == [1.0, 0.0, 1.0]


def test_the_judge_of_numbers_takes_no_text():
    assert asyncio.run(NumberJudge().judge("Paris", "Paris")).reward == 0.0
    assert amount(plain("(about) 3")) is None
    assert amount(plain(r"$-1{,}204.50$")).value == Fraction(-2409, 2)
