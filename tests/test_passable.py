"""Tests that no program can pass are found when they are read, and say so; those that one can pass are left alone."""

import asyncio
import json
import sys

import pytest

from counterpoint.errors import TaskError
from counterpoint.judges.programs.grader import Grader
from counterpoint.judges.programs.suite import AssertSuite
from counterpoint.sandboxes.base import Verdict
from counterpoint.sandboxes.fork_server import fork_server
from counterpoint.task import RIGHT
from counterpoint.tasks.programs.layouts import read
from counterpoint.tasks.programs.task import programs
from counterpoint.tasks.programs.unit_tests import Reading

PLAIN = Reading()


async def judge(answer, key):
    return RIGHT


def mbpp(*asserts, code="def f(*given, **named):\n    return given", **columns):
    return {"task_id": 533, "text": "Write f.", "code": code, "test_list": list(asserts), **columns}


def humaneval(body):
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    prompt = 'def add(a, b):\n    """Add."""\n'
    return {"prompt": prompt, "entry_point": "add", "test": f"import math\ndef check(candidate):\n{indented}"}


def apps(inputs, outputs, function="", starter=""):
    tests = {"inputs": inputs, "outputs": outputs, **({"fn_name": function} if function else {})}
    return {"question": "Add.", "input_output": json.dumps(tests), "starter_code": starter}


def why_not(layout, row):
    with pytest.raises(TaskError) as caught:
        read(layout, row, PLAIN)
    return str(caught.value)


def test_problem_533_of_mbpp_gives_a_type_to_its_function():
    test = "assert remove_datatype((4, 5, 4, 7.7, 1.2),int) == [7.7, 1.2]"
    code = (
        "def remove_datatype(test_tuple, data_type):\n  return [i for i in test_tuple if not isinstance(i, data_type)]"
    )
    assert "the argument int cannot cross to it" in why_not("mbpp", mbpp(test, code=code))


CANNOT_CROSS = [
    "int",
    "str.lower",
    "len",
    "lambda x: x",
    "(x for x in [1])",
    "iter([1])",
    "map(str, [1])",
    "zip([1], [2])",
    "reversed([1])",
    "enumerate('a')",
    "object()",
    "[1, [int]]",
    "{'a': str}",
    "(1, lambda: 2)",
    "*[int]",
    "named=int",
    "...",
    "NotImplemented",
    "ValueError",
]


@pytest.mark.parametrize("argument", CANNOT_CROSS, ids=range(len(CANNOT_CROSS)))
def test_an_argument_that_cannot_cross_makes_a_problem_that_nobody_can_solve(argument):
    assert "cannot cross to it" in why_not("mbpp", mbpp("assert f(1) == 1", f"assert f(2, {argument}) == 1"))
    if not argument.startswith(("*", "named")):
        assert "cannot cross to it" in why_not("humaneval", humaneval(f"x = candidate(1, {argument})\nassert x == 1"))


@pytest.mark.parametrize(
    ("before", "argument"),
    [
        ("class Node:\n    pass", "Node()"),
        ("class Node:\n    pass", "Node"),
        ("class Numbers(list):\n    pass", "Numbers([1])"),
        ("def g(x):\n    return x", "g"),
        ("from collections import defaultdict", "defaultdict(int)"),
        ("import math", "math"),
    ],
)
def test_a_thing_that_the_test_defines_cannot_cross_either(before, argument):
    assert "cannot cross to it" in why_not("mbpp", mbpp(f"assert f({argument}) == 1", test_setup_code=before))


NEVER_EQUAL = [
    ("float('nan')", "NaN equals nothing"),
    ("[1, float('NaN')]", "NaN equals nothing"),
    ("math.nan", "NaN equals nothing"),
    ("int", "nothing returned is int"),
    ("lambda: 1", "nothing returned is lambda"),
    ("map(int, ['1'])", "nothing returned is map"),
    ("(x for x in [1])", "nothing returned is"),
    ("iter([1])", "nothing returned is iter"),
    ("[object()]", "nothing returned is object()"),
    ("[zip([1], [2])]", "nothing returned is zip"),
]


@pytest.mark.parametrize(("value", "reason"), NEVER_EQUAL)
def test_a_value_that_nothing_equals_makes_a_problem_that_nobody_can_solve(value, reason):
    assert reason in why_not("mbpp", mbpp(f"assert f(1) == ({value})", test_imports=["import math"]))
    assert reason in why_not("mbpp", mbpp(f"assert ({value}) == f(1)", test_imports=["import math"]))
    assert reason in why_not("humaneval", humaneval(f"assert candidate(1, 2) == ({value})"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("assert f(1) == 2", "assert f(1) == 3"),
        ("assert f(1) == 2", "assert 3 == f( 1 )"),
        ("assert f([1, 2], x='a') == 2", "assert f([1,2],x='a') == [2]"),
        ("assert f(1) == 2 and f(2) == 3", "assert f(2) == 4"),
        ("assert (f(1)) == 'a'", "assert f(1) == 'A'"),
    ],
)
def test_asserts_that_contradict_each_other_are_found(one, other):
    assert "its tests contradict each other" in why_not("mbpp", mbpp(one, other))
    assert "its tests contradict each other" in why_not("mbpp", mbpp("assert f(9) == 9", f"{one}\n{other}"))


CAN_BE_PASSED = [
    "assert f(1) == 2\nassert f(1) == 2.0",
    "assert f(1) == 2\nassert f('1') == 3",
    "assert f(1) != 2",
    "assert f(1) == 2 or f(1) == 3",
    "assert not f(1) == 2\nassert f(1) == 3",
    "assert f(range(3), {1, 2}, b'a', 1j, None, True) == 1",
    "assert f(list(map(str, [1]))) == 1",
    "assert list(map(str, f(1))) == ['1']",
    "assert sorted(f(1), key=len) == []",
    "assert f(*[1, 2]) == (1, 2)",
    "assert f(dict(a=1), set([1]), max(1, 2), len('a')) == 1",
    "assert f(float('inf')) == float('inf')",
    "assert f(float('nan')) is None",
    "len = 3\nassert f(len) == 3",
    "assert all(f(x) == x for x in (1, 2))",
    "assert isinstance(f(1), int)",
    "assert type(f(1)) == int",
    "assert f(1) == type(f(1))(1)",
    "class A:\n    __eq__ = lambda self, other: other == 1\nassert A() == f(1)",
    "class A:\n    def __eq__(self, other):\n        return other == 1\nassert f(1) == A()",
    "try:\n    f(int)\nexcept ValueError:\n    pass\nassert f(1) == 1",
    "from collections import Counter, deque\nassert f(deque([1])) == Counter('a')",
    "from fractions import Fraction\nassert f(Fraction(1, 2)) == 1",
    "import math\nassert f(math.pi) == math.inf",
]


@pytest.mark.parametrize("exam", CAN_BE_PASSED, ids=range(len(CAN_BE_PASSED)))
def test_what_a_program_can_pass_is_left_alone(exam):
    assert read("mbpp", mbpp(exam), PLAIN).suite.exams == (f"{exam}\n",)


def test_inputs_with_two_outputs_are_found():
    twice = [("1\n", "2\n"), ("2\n", "3\n"), ("1\n", "4\n")]
    reason = why_not("apps", apps([given for given, _ in twice], [right for _, right in twice]))
    assert "its tests contradict each other: two outputs of the input '1\\n'" in reason
    row = {"description": "Add.", "private_tests": None, "generated_tests": None}
    public = {"input": ["1", "1"], "output": ["2", "3"]}
    assert "contradict" in why_not("codecontests", {**row, "public_tests": public})
    assert "contradict" in why_not("apps", apps([[1], [1]], [[2], [3]], "f"))
    assert "contradict" in why_not("apps", apps([[{"a": 1}], [{"a": 1}]], [{"a": 2}, {"b": 2}], "f"))


@pytest.mark.parametrize(
    "row",
    [
        apps(["1", "1"], ["2", "2\n"]),
        apps(["1", "1"], ["2", "2.0"]),
        apps(["1", "1\n"], ["2", "3"]),
        apps([[1], [1]], [2, 2.0], "f"),
        apps([[1], ["1"]], [2, 3], "f"),
    ],
)
def test_inputs_with_one_output_twice_are_left_alone(row):
    assert len(read("apps", row, PLAIN).suite.tests) == 2


def test_a_checker_may_accept_several_outputs_of_an_input():
    row = {"description": "Add.", "official_tests": [{"input": "1", "output": "2"}, {"input": "1", "output": "3"}]}
    assert "contradict" in why_not("codeforces", row)
    assert len(read("codeforces", {**row, "generated_checker": "print(1)"}, PLAIN).suite.tests) == 2


def test_an_output_that_is_longer_than_a_program_may_print_is_found():
    assert "no program can print" in why_not("apps", apps(["1"], ["é" * (8 * 2**20)]))


@pytest.mark.parametrize(
    ("starter", "inputs", "reason"),
    [
        ("def f(a, b):", [[1]], "calls? f with 1 arguments, and it takes 2"),
        ("def f(a, b=0):", [[1, 2, 3]], "with 3 arguments, and it takes 1 to 2"),
        ("def f(a, *b):", [[]], "with 0 arguments, and it takes at least 1"),
        ("class Solution:\n    def f(self, a: int, b: int) -> int:\n        ", [[1, 2], [1]], "with 1 arguments"),
    ],
)
def test_calls_that_do_not_fit_the_head_of_the_function_are_found(starter, inputs, reason):
    found = why_not("apps", apps(inputs, [1] * len(inputs), "f", starter))
    assert reason.removeprefix("calls? f ") in found


def test_rows_that_nobody_can_solve_are_counted_and_named_and_never_drawn(tmp_path):
    names = ["f", "g", "h"] * 10
    rows = [
        mbpp(f"assert {name}({number}) == 1", text=f"Write {name} {number}.", code=f"def {name}(x):\n    return 1")
        for number, name in enumerate(names)
    ]
    rows[4]["test_list"] = ["assert g(int) == 1"]
    rows[9]["test_list"] = ["assert f(1) == 1", "assert f(1) == 2"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TaskError) as caught:
        programs(judge=judge, path=str(path), show_tests=0)
    assert "rows.jsonl, line 5 cannot be used: no program can pass g(int)" in str(caught.value).replace(
        ":5", ", line 5"
    )
    assert "Of 30 rows this holds for 2" in str(caught.value)
    splits = programs(judge=judge, path=str(path), show_tests=0, invalid="skip")
    texts = [task.problem.text for split in (splits.train, splits.validation, splits.test) for task in split]
    assert len(texts) == 28
    assert not [text for text in texts if "Write g 4." in text or "Write f 9." in text]


@pytest.mark.skipif(sys.platform != "linux", reason="programs are confined by what Linux has")
@pytest.mark.filterwarnings("ignore:only .* confine:UserWarning")
def test_an_exam_that_fails_before_any_answer_is_not_held_against_the_program():
    broken = [
        "x = [int]\nassert f(*x) == 1",
        "import a_module_that_is_not_there\nassert f(1) == 1",
        "unknown()\nassert f(1) == 1",
        "assert 1 == 2\nassert f(1) == 1",
        "raise SystemExit(0)",
        "from types import SimpleNamespace\nassert f(SimpleNamespace()) == 1",
        "assert 1 / 0 == f(1)",
        "assert [f(x) for x in [object()]] == [1]",
        "x = []\nfor _ in range(300):\n    x = [x]\nassert f(x) == 1",
    ]
    held = [
        "assert f(1) == 2",
        "assert f(f) == 1 if f(1) else 0",
        "assert f(1) == 1\nassert f(int) == 1",
        "assert f(1) == unknown",
    ]

    async def judge_all():
        async with Grader(fork_server(slots=2, require="C")) as grader:
            suites = [AssertSuite(function="f", exams=(exam,)) for exam in (*broken, *held)]
            return await asyncio.gather(*(grader.grade("def f(x):\n    return 1", suite) for suite in suites))

    verdicts = [judgement.verdict for judgement in asyncio.run(judge_all())]
    assert verdicts == [Verdict.INVALID_TASK] * len(broken) + [Verdict.WRONG_ANSWER] * len(held)


@pytest.mark.parametrize(
    ("setup", "given"),
    [
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')", "P(1, 2)"),
        ("import collections\nP = collections.namedtuple('P', 'x y')\np = P(1, 2)", "[p]"),
        ("class Node:\n    pass\nroot = Node()\nroot.left = Node()", "root"),
        ("number = int", "[1], number"),
        ("g = lambda x: x", "g"),
        ("values = map(int, '12')", "values"),
        ("parts = [iter([1]), 2]", "parts"),
    ],
)
def test_an_argument_that_cannot_cross_is_found_by_its_name_too(setup, given):
    row = mbpp(f"assert f({given}) == 1", test_setup_code=setup)
    assert "cannot cross to it" in why_not("mbpp", row)


@pytest.mark.parametrize(
    "setup",
    [
        "x = int\nx = 3",
        "for x in [int, 3]:\n    pass",
        "x = [iter([1])]\nx = 1",
        "x = max(3, 4)",
        "x = (3)",
        "x = y = 3",
    ],
)
def test_a_name_that_may_stand_for_a_value_is_left_alone(setup):
    assert read("mbpp", mbpp("assert f(x) == 3", test_setup_code=setup), PLAIN).suite.exams


@pytest.mark.parametrize("body", ["assert True", "assert abs(1 - 1) < 2\nassert 'add'"])
def test_an_exam_that_never_calls_its_function_is_refused(body):
    assert "one of its exams never calls add" in why_not("humaneval", humaneval(body))
    assert "one of its exams never calls f" in why_not("mbpp", mbpp("assert f(1)", "assert True"))


@pytest.mark.parametrize(
    "test",
    [
        "def check(*given):\n    assert given[0](1, 2) == 3",
        "def tried(one):\n    assert one(1, 2) == 3\ndef check(candidate):\n    tried(candidate)",
        "def check(candidate):\n    for one in [candidate]:\n        assert one(1, 2) == 3",
        "def check(candidate):\n    assert eval('add(1, 2)') == 3",
    ],
)
def test_an_exam_that_calls_its_function_by_another_name_is_used(test):
    assert read("humaneval", {**humaneval("pass"), "test": test}, PLAIN).suite.exams


@pytest.mark.parametrize("name", ["__init__", "__str__", "__class__", "class", "None", "lambda", "a.b", "1a", "a b"])
def test_a_function_that_no_program_can_name_is_refused(name):
    assert "its function has no proper name" in why_not("apps", apps([[1]], [[1]], name))
