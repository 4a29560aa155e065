"""Results that are equal count as equal, whatever their type, and no method that a program wrote is asked about it."""

import asyncio
import sys
from collections import Counter, OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import pytest

from counterpoint.judges.programs.compare import same_value
from counterpoint.judges.programs.grader import Grader
from counterpoint.judges.programs.suite import AssertSuite, CallSuite
from counterpoint.sandboxes.base import Verdict
from counterpoint.sandboxes.fork_server import fork_server
from counterpoint.sandboxes.inside.codec import CodecError, decode, encode

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined by what Linux has"),
    pytest.mark.filterwarnings("ignore:only .* confine:UserWarning"),
]

BEFORE = """
import datetime, enum
from collections import *
from decimal import Decimal
from fractions import Fraction
"""
OWN = """
P = namedtuple("P", "x y")
class L(list):
    __eq__ = lambda self, other: True
    __iter__ = lambda self: iter([9])
    __len__ = lambda self: 1
class T(tuple):
    __iter__ = lambda self: iter([9])
class D(dict):
    items = lambda self: [(1, 1)]
    __iter__ = lambda self: iter([])
    __eq__ = lambda self, other: True
    __missing__ = lambda self, key: 7
class S(set):
    __eq__ = lambda self, other: True
    __iter__ = lambda self: iter([9])
class E(enum.IntEnum):
    A = 7
class F(enum.IntFlag):
    A = 4
class Text(str, enum.Enum):
    A = "a"
    __eq__ = lambda self, other: True
    __hash__ = str.__hash__
    __str__ = lambda self: "b"
class Odd(enum.Enum):
    A = 7
class Int(int):
    __eq__ = lambda self, other: True
    __hash__ = int.__hash__
class All:
    __eq__ = lambda self, other: True
    __hash__ = lambda self: 7
    __class__ = int
class Half(Fraction):
    __eq__ = lambda self, other: True
"""
EQUAL = [
    ("Counter('aab')", {"a": 2, "b": 1}),
    ("defaultdict(int, {'a': 1})", {"a": 1}),
    ("defaultdict(lambda: [], {1: [2]})", {"1": [2]}),
    ("OrderedDict(a=1)", {"a": 1}),
    ("OrderedDict([(2, 1), (1, 2)])", {"1": 2, "2": 1}),
    ("{'a': Counter('a'), 'b': [OrderedDict()]}", {"a": {"a": 1}, "b": [{}]}),
    ("P(1, 2)", [1, 2]),
    ("[P(1, 2), P(3, 4)]", [[1, 2], [3, 4]]),
    ("L([1, 2])", [1, 2]),
    ("[L(), L([L([3])])]", [[], [[3]]]),
    ("T((1, 2))", [1, 2]),
    ("D(a=1)", {"a": 1}),
    ("E.A", 7),
    ("{E.A: [E.A]}", {"7": [7]}),
    ("F.A", 4),
    ("Text.A", "a"),
    ("Fraction(1, 2)", 0.5),
    ("Fraction(4, 2)", 2),
    ("[Fraction(-3, 4), 1]", [-0.75, 1]),
    ("Decimal('0.5')", 0.5),
    ("Decimal('3.00')", 3),
    ("Decimal('1e30')", 10**30),
    ("complex(3, 0)", 3),
    ("-0.0", 0),
    ("float('inf')", float("inf")),
    ("10 ** 5000", 10**5000),
    ("'\\ud800'", "\ud800"),
    ("1e308", 1e308),
]
DIFFERENT = [
    ("Counter('aab')", {"a": 2}),
    ("Counter(a=1, b=0)", {"a": 1}),
    ("defaultdict(int)", {"a": 0}),
    ("L([1, 3])", [1, 2]),
    ("L([2])", [9]),
    ("L()", [9]),
    ("L([1])", [1, 2]),
    ("T((1, 2))", [9]),
    ("D(a=2)", {"a": 1}),
    ("D()", {"1": 1}),
    ("D()", 7),
    ("S([9])", [9]),
    ("All()", 7),
    ("[All()]", [7]),
    ("{'a': All()}", {"a": 7}),
    ("Int(3)", 7),
    ("Int(7)", 7),
    ("Odd.A", 7),
    ("Text.A", "b"),
    ("Half(1, 2)", 0.5),
    ("Fraction(1, 3)", 1 / 3),
    ("Fraction(1, 2)", 0.25),
    ("Decimal('0.1')", 0.1),
    ("Decimal('NaN')", float("nan")),
    ("Decimal('sNaN')", 1),
    ("Decimal('1e999999')", 1.0),
    ("Decimal('1e999999999999999999')", 1),
    ("complex(3, 1)", 3),
    ("True", 1),
    ("range(3)", [0, 1, 2]),
    ("deque([1])", [1]),
    ("iter([1])", [1]),
    ("map(int, ['1'])", [1]),
    ("(one for one in [1])", [1]),
    ("{1: 2}.keys()", [1]),
    ("{1: 2}.values()", [2]),
    ("{1}", [1]),
    ("b'a'", "a"),
    ("datetime.date(2020, 1, 1)", "2020-01-01"),
    ("float('nan')", 1.0),
]
PASSED = [
    ("f(0) == Counter('aab')", "Counter('aab')"),
    ("f(0) == {'a': 2, 'b': 1}", "Counter('aab')"),
    ("f(0) == Counter()", "Counter(a=0)"),
    ("f(0) == OrderedDict([(1, 2), (2, 3)])", "OrderedDict([(1, 2), (2, 3)])"),
    ("f(0) == {1: [2]}", "defaultdict(list, {1: [2]})"),
    ("f(0) == (1, 2)", "P(1, 2)"),
    ("f(0) == deque([1])", "deque([1])"),
    ("f(0) == range(3)", "range(3)"),
    ("f(0) == {1, 2}", "{1: 0, 2: 0}.keys()"),
    ("f(0) == {(1, 0)}", "{1: 0}.items()"),
    ("f(0) == b'a'", "bytearray(b'a')"),
    ("f(0) == Fraction(1, 3)", "Fraction(1, 3)"),
    ("f(0) * 3 == 1", "Fraction(1, 3)"),
    ("f(0) == Decimal('0.1')", "Decimal('0.1')"),
    ("f(0) == datetime.date(2020, 1, 1)", "datetime.date(2020, 1, 1)"),
    ("f(0) == datetime.datetime(2020, 1, 1, 3)", "datetime.datetime(2020, 1, 1, 3)"),
    ("f(0) == datetime.timedelta(hours=1)", "datetime.timedelta(hours=1)"),
    ("f(0) == 1", "True"),
    ("f(0) == 7", "E.A"),
    ("f(range(3)) == 3", "len(x)"),
    ("f(deque([1, 2])) == 2", "x.popleft() + len(x)"),
    ("f(bytearray(b'ab')) == 2", "len(x)"),
    ("f(Counter('aab')) == 2", "x['a'] + x['c']"),
]
FAILED = [
    ("f(0) == OrderedDict([(1, 2), (2, 3)])", "OrderedDict([(2, 3), (1, 2)])"),
    ("f(0) == [1]", "deque([1])"),
    ("f(0) == [0, 1]", "range(2)"),
    ("f(0) == [1, 2]", "P(1, 2)"),
    ("f(0) == 1", "All()"),
    ("f(0) == 1", "Int(1)"),
    ("f(0) == [2]", "L([1])"),
    ("f(0) == {1: 2}", "D({1: 3})"),
    ("f(0) == {1}", "S([2])"),
    ("f(0) == {1, 2}", "{1: 0}.keys()"),
    ("f(0) == 0.1", "Decimal('0.1')"),
    ("f(0) == Counter('a')", "Counter('b')"),
    ("f(0) == 'b'", "Text.A"),
]


def suites():
    for right, cases in ((True, EQUAL), (False, DIFFERENT)):
        for returned, expected in cases:
            yield right, returned, CallSuite(function="f", tests=(((0,), expected),))
    for right, cases in ((True, PASSED), (False, FAILED)):
        for asserted, returned in cases:
            yield right, returned, AssertSuite(function="f", exams=(f"{BEFORE}assert {asserted}\n",))


def test_results_of_programs_are_right_where_they_are_equal_and_nowhere_else():
    async def judge_all():
        async with Grader(fork_server(slots=2, require="C")) as grader:
            graded = [grader.grade(f"{BEFORE}{OWN}def f(x):\n    return {one}", suite) for _, one, suite in suites()]
            return await asyncio.gather(*graded)

    judged = asyncio.run(judge_all())
    odd = [
        (returned, suite, judgement)
        for (right, returned, suite), judgement in zip(suites(), judged, strict=True)
        if judgement.verdict is not (Verdict.ACCEPTED if right else Verdict.WRONG_ANSWER)
    ]
    assert odd == []


VALUES = [
    Fraction(-7, 3),
    Decimal("1.50"),
    Decimal("-Infinity"),
    bytearray(b"\x00\xff"),
    deque([1, [2]]),
    range(3, -9, -2),
    OrderedDict([(2, "b"), (1, "a")]),
    Counter("aab"),
    date(2024, 2, 29),
    time(23, 59, 59, 999),
    datetime(2024, 2, 29, 1, 2, 3, 4),
    timedelta(-1, 5, 6),
    {(1, Fraction(1, 2)): {frozenset({Decimal(1)})}},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_of_the_standard_library_cross_as_they_are(value):
    crossed = decode(encode(value))
    assert crossed == value
    assert type(crossed) is type(value)
    assert list(crossed) == list(value) if isinstance(value, dict | deque) else True
    assert same_value(crossed, value, json_born=True, tolerance=1e-6)


class Pair(tuple):
    pass


class Int7(IntEnum):
    A = 7


ODD = [Pair((1, 2)), {}.keys(), datetime(2020, 1, 1, tzinfo=UTC), type, len, ..., iter(()), object(), print, Int7.A]


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_what_is_given_to_a_program_crosses_exactly_or_not_at_all(value):
    with pytest.raises(CodecError):
        encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"Fraction":[1,0]}',
        b'{"Fraction":[1]}',
        b'{"Fraction":["1",2]}',
        b'{"Fraction":[1.5,2]}',
        b'{"Fraction":[{"int":"' + b"f" * 9000 + b'"},1]}',
        b'{"Decimal":"x"}',
        b'{"Decimal":"sNaN"}',
        b'{"Decimal":"' + b"1" * 30_000 + b'"}',
        b'{"range":[1,2]}',
        b'{"range":[1,2,0]}',
        b'{"date":[2023,2,29]}',
        b'{"datetime":[1,2,3]}',
        b'{"timedelta":[9999999999,0,0]}',
        b'{"OrderedDict":[[1]]}',
        b'{"Counter":[[[],1]]}',
        b'{"bytearray":"0"}',
        b'{"deque":1}',
        b'{"Fraction":[' * 300 + b"1" + b"]}" * 300,
    ],
)
def test_bytes_that_are_no_value_of_these_are_refused(data):
    with pytest.raises(CodecError):
        decode(data)


@pytest.mark.parametrize(
    ("got", "right", "same"),
    [
        (Fraction(1, 2), 0.5, True),
        (0.5, Fraction(1, 2), True),
        (Decimal("0.5"), Fraction(1, 2), True),
        (Decimal("1e400"), float("inf"), False),
        (Decimal("NaN"), Decimal("NaN"), False),
        (Decimal(1), True, False),
        (True, Fraction(1), False),
        (1 + 0j, 1, True),
        (1, 1 + 0j, False),
        (Counter(a=1), {"a": 1}, True),
        (Counter(a=1), {"a": 2}, False),
        (OrderedDict([(1, 2), (3, 4)]), {3: 4, 1: 2}, True),
        (bytearray(b"a"), b"a", True),
        (deque([1.0]), deque([1]), True),
        (deque([1]), [1], False),
        (range(3), [0, 1, 2], False),
        (date(2020, 1, 1), datetime(2020, 1, 1), False),
        ({Fraction(2): 1}, {2: 1}, True),
        ({Fraction(2): 1}, {"2": 1}, False),
    ],
)
def test_values_of_several_types_are_compared_as_python_compares_them(got, right, same):
    assert same_value(got, right, json_born=False, tolerance=1e-6) is same
