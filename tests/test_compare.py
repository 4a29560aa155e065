"""Whether an answer is right: every rule, what other graders let through, and outputs made to hurt."""

import random
from decimal import Decimal
from fractions import Fraction

import pytest

from counterpoint.judges.programs.compare import same_output, same_value
from counterpoint.sandboxes.inside.codec import decode, encode

COMPARISONS = ("lines", "lcb_strict", "tokens", "exact")
NAN, INFINITE = float("nan"), float("inf")

HOSTILE = (
    (b"1" * 10**6, "1" * 999_999 + "2"),
    (b"1" * 10**6 + b"x", "1" * 10**6),
    (b"0" * 10**6 + b".", "7." + "0" * 10**6),
    (b"1" * 10**6 + b".5", "1" * 10**6 + ".7e5"),
    (b"1e999999999", "1" * 10**6),
    (b"1e-999999999", "0.5"),
    (b"1e" + b"9" * 10**6, "1e5"),
    (b"1e" + b"0" * 10**6, "2"),
    (b"\n" * 4_000_000 + b"x", "1"),
    (b"x" + b"\n" * 4_000_000 + b"x", "1\n2"),
    (b"1 " * 2_000_000, "1 2 3"),
    (b"1 " * 300_000, "1 " * 299_999 + "2"),
    (b"nan " * 300_000, "1 " * 300_000),
    (b"\xc3\xa9" * 10**6 + b"\xc3", "1"),
    (bytes(range(256)) * 1000, "1"),
)


def value(got, right, *, json_born=True, tolerance=1e-6):
    return same_value(got, right, json_born=json_born, tolerance=tolerance)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_an_output_is_as_good_as_itself(comparison):
    for text in ("", "1", "1 2\n3\n", "ünïcode ☃\n", "a\x00b"):
        assert same_output(text.encode(), text, comparison)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize(
    ("got", "right"),
    [
        (b"3\n2\n1", "1\n2\n3"),  # sets of lines
        (b"5\n5\n5", "5"),  # duplicates
        (b"5", "5\n5\n5"),
        (b"1\n2", "1\n2\n3"),  # a prefix, as zip lets through
        (b"1\n2\n3", "1\n2"),  # the answer and more
        (b"", "7"),
        (b"7", ""),
        (b"yes", "YES"),  # case
        (b"3 2 1", "1 2 3"),
        (b"12", "1 2"),
        (b"1 2", "12"),
        (b"\xff7", "7"),
        (b"7\xff", "7"),
        (b"7\x00", "7"),
        (b"\xed\xa0\x80", "\ud800"),  # a lone surrogate is not UTF-8
        ("\uff11".encode(), "1"),  # a digit of Unicode
        ("\u0663".encode(), "3"),
        (b"1_000", "1000"),
        (b"0x10", "16"),
        (b"1e", "1"),
        (b"1e+", "1"),
        (b".", "0"),
        (b"", "0"),
        (b"--1", "1"),
        (b"nan", "NaN"),
        (b"inf", "1e999"),
        (b"1e999999999", "5"),
        (b"1e99999999999999999999999999", "5"),
        (b"[]", "0"),
        (b"8", "7"),
    ],
)
def test_no_comparison_takes_these(comparison, got, right):
    assert not same_output(got, right, comparison)


@pytest.mark.parametrize(
    ("got", "right", "accepting"),
    [
        (b"7\n", "7", {"lines", "lcb_strict", "tokens"}),
        (b"  7 \r\n8\t\r\n\n", "7\n8", {"lines", "lcb_strict", "tokens"}),
        (b"1 2\n3", "1\n2 3", {"tokens"}),
        (b"1\n\n2", "1\n2", {"tokens"}),
        (b"1  2", "1 2", {"lines", "lcb_strict", "tokens"}),
        (b"a  b", "a b", {"lines", "tokens"}),
        (b"0.333333", "0.333333333", {"lines", "tokens"}),
        (b"0.33333", "0.333333333", set()),
        (b"1.50", "1.5", {"lines", "lcb_strict", "tokens"}),
        (b"3.0", "3", {"lines", "lcb_strict", "tokens"}),
        (b"15e-1", "1.5", {"lines", "lcb_strict", "tokens"}),
        (b".5", "0.5", {"lines", "lcb_strict", "tokens"}),
        (b"5.", "5", {"lines", "lcb_strict", "tokens"}),
        (b"+7", "007", {"lines", "lcb_strict", "tokens"}),
        (b"-0", "0", {"lines", "lcb_strict", "tokens"}),
        (b"-0.0", "0", {"lines", "lcb_strict", "tokens"}),
        (b"0e999999999999999999999", "0", set()),
        (b"1000000007", "1000000006", set()),
        (b"1000000.5", "1000000", set()),
        (b"1000000.5", "1000000.0", {"lines", "tokens"}),
        (b"0.9999999", "1", {"lines", "tokens"}),
        (b"1000002.5", "1000000", set()),
        (b"x 1.0", "x 1", {"lines", "tokens"}),
        (b"1e3", "1000", {"lines", "lcb_strict", "tokens"}),
        (b"1e0000000000000000000000000003", "1000", {"lines", "lcb_strict", "tokens"}),
        (b"-1.0", "1", set()),
        (b"1e400", "1.0000001e400", {"lines", "tokens"}),
        (b"1e-400", "0", {"lines", "tokens"}),
        (b"Infinity", "Infinity", {"lines", "lcb_strict", "tokens", "exact"}),
        ("1\u00a02".encode(), "1 2", set()),  # white space is that of ASCII
    ],
)
def test_each_comparison_takes_what_it_says(got, right, accepting):
    assert {one for one in COMPARISONS if same_output(got, right, one)} == accepting


def test_numbers_are_compared_as_exact_fractions_compare_them():
    source = random.Random(5)
    for _ in range(3000):
        right = source.choice(["0", "1", "12", "0.001", "250.75", "-3.5", "1e3", "99999999", "-12e-2", "1000000.0"])
        wiggle = Decimal(source.randint(-30, 30)) * Decimal(10) ** source.randint(-8, 1)
        got = str(Decimal(right) + wiggle)
        one, other = Fraction(got), Fraction(right)
        whole = right.lstrip("-").isdigit()
        both_whole = got.lstrip("-").isdigit() and whole
        allowed = Fraction(1, 10**6) * (1 if whole else max(1, abs(other)))
        close = one == other or (not both_whole and abs(one - other) <= allowed)
        assert same_output(got.encode(), right, "lines") is close, (got, right)
        assert same_output(got.encode(), right, "lcb_strict") is (Decimal(got) == Decimal(right)), (got, right)


def test_the_tolerance_is_closed_and_relative_above_one():
    assert same_output(b"1.000001", "1.0", "lines")
    assert not same_output(b"1.0000011", "1.0", "lines")
    assert same_output(b"2000002.0", "2000000.0", "lines")
    assert not same_output(b"2000002.1", "2000000.0", "lines")
    assert same_output(b"0.000001", "0.0", "lines")


def test_integers_of_thousands_of_digits_are_exact():
    right = "9" * 6000
    assert same_output(b"9" * 6000, right, "lines")
    assert same_output(b"+0" + b"9" * 6000, right, "lines")
    assert not same_output(b"9" * 5999 + b"8", right, "lines")
    assert not same_output(b"9" * 5999, right, "lines")
    assert not same_output(b"-" + b"9" * 6000, right, "lcb_strict")
    assert same_output(b"9" * 6000 + b".0", right, "lcb_strict")


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_outputs_made_to_hurt_are_only_wrong(comparison, number):
    assert not same_output(*HOSTILE[number], comparison)


@pytest.mark.parametrize(
    ("got", "right"),
    [
        (None, None),
        (True, True),
        (0, 0),
        ("a", "a"),
        (b"a", b"a"),
        ([1, [2, "x"]], [1, [2, "x"]]),
        ({"a": [1]}, {"a": [1]}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (3.0, 3),
        (3, 3.0),
        (0.1 + 0.2, 0.3),
        (1e9 + 1, 1e9),
        (INFINITE, INFINITE),
        (NAN, NAN),
        ([NAN], [NAN]),
        (1 + 1e-9j, 1 + 0j),
        ({1, 2}, {2, 1}),
        (frozenset({1}), frozenset({1})),
        ({(1, 2): {3}}, {(1, 2): {3}}),
        ({1: 2}, {1.0: 2}),
    ],
)
def test_values_that_are_the_same(got, right):
    assert value(got, right, json_born=False)
    assert value(got, right, json_born=True)


@pytest.mark.parametrize(
    ("got", "right"),
    [
        (None, 0),
        (True, 1),
        (1, True),
        (1.0, True),
        (0, False),
        (0, None),
        ("1", 1),
        (b"a", "a"),
        ("A", "a"),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ([1, 2, 3], [1, 2]),
        ([True], [1]),
        ([], None),
        ({}, []),
        ({1}, [1]),
        ({1}, frozenset({1})),
        ({True}, {1}),
        ({(True,)}, {(1,)}),
        ({1, 2}, {1}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 1}, {"a": 1}),
        ({True: 1}, {1: 1}),
        ({True: 1}, {"1": 1}),
        ({"01": 1}, {1: 1}),
        ({"True": 1}, {True: 1}),
        (2**53, 2.0**53 + 2),
        (2**53 + 1, 2.0**53),
        (3.0000000001, 3),
        (0.1 + 0.2 + 1e-5, 0.3),
        (1.0, INFINITE),
        (INFINITE, 1.0),
        (-INFINITE, INFINITE),
        (NAN, 1.0),
        (1.0, NAN),
        (NAN, INFINITE),
        (NAN, 0),
        (0, NAN),
        (1.0, 1 + 0j),
        (1 + 1j, 1 + 0j),
        (1.7e308, -1.7e308),
        ({1.0 + 1e-9}, {1.0}),
    ],
)
def test_values_that_are_not(got, right):
    assert not value(got, right, json_born=False)
    assert not value(got, right, json_born=True)


@pytest.mark.parametrize(
    ("got", "right"),
    [
        ((1, 2), [1, 2]),
        ([(1, [2])], [[1, [2]]]),
        ({1: "a"}, {"1": "a"}),
        ({"1": "a"}, {1: "a"}),
        ({-12: "a", 0: "b"}, {"-12": "a", "0": "b"}),
        ({10**500: (1,)}, {str(10**500): [1]}),
    ],
)
def test_only_values_that_were_json_forget_tuples_and_keys_that_are_numbers(got, right):
    assert value(got, right, json_born=True)
    assert not value(got, right, json_born=False)


def test_a_key_is_matched_once():
    assert not value({1: "a", "1": "a"}, {"1": "a"})
    assert not value({1: "a", "2": "b"}, {"1": "a", "3": "b"})
    assert not value({"1": "a", "x": "b"}, {1: "b", "x": "a"})


def test_the_tolerance_of_values_is_the_one_asked_for():
    assert value(1.05, 1.0, tolerance=0.1)
    assert value(1050.0, 1000.0, tolerance=0.1)
    assert not value(1.2, 1.0, tolerance=0.1)
    assert value(1.0, 1.0, tolerance=0.0)
    assert not value(1.0 + 2**-52, 1.0, tolerance=0.0)
    assert value([(0.5, 0.25)], [[0.5, 0.25 + 1e-9]])


def test_values_as_deep_as_can_cross_are_compared():
    def nested(depth, end):
        for _ in range(depth):
            end = [end]
        return end

    assert value(decode(encode(nested(199, 1))), nested(199, 1))
    assert not value(decode(encode(nested(199, 1))), nested(199, 2))
    assert not value(decode(encode(nested(199, 1))), nested(198, 1))
    assert value(nested(50_000, 1), nested(50_000, 1))


def test_huge_integers_are_values_like_others():
    assert value(10**7000, 10**7000)
    assert not value(10**7000, 10**7000 + 1)
    assert not value(10**7000, 1.0)
    assert not value({10**7000: 1}, {"1": 1})
