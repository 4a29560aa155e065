"""What the tests of data sets mean: values in lists of one, text in text, and how outputs are compared."""

import json

import pytest

from counterpoint.errors import TaskError
from counterpoint.judges.programs.compare import same_output
from counterpoint.judges.programs.suite import CallSuite, StdinSuite, from_key, to_key
from counterpoint.judges.programs.verdict import verdict
from counterpoint.sandboxes.base import Ending, Execution, Verdict
from counterpoint.sandboxes.inside.codec import encode
from counterpoint.tasks.programs.heads import head_of
from counterpoint.tasks.programs.layouts import read
from counterpoint.tasks.programs.unit_tests import Reading

PLAIN = Reading()
ENDED = Ending(exit_code=0, signal=None, out_of_time=False, dismissed=False, cpu=0.1, wall=0.1)


def apps(inputs, outputs, starter="", function="f"):
    tests = {"fn_name": function, "inputs": inputs, "outputs": outputs}
    return {"question": "Write f.", "input_output": json.dumps(tests), "starter_code": starter}


def deepcoder(inputs, outputs, starter=""):
    """TACO's part of DeepCoder."""
    tests = json.dumps({"fn_name": "f", "inputs": inputs, "outputs": outputs})
    return {"problem": "Write f.", "tests": tests, "starter_code": starter}


def primeintellect(inputs, outputs, starter=""):
    kind = {"type": "function_call", "fn_name": "f"}
    cases = [{**kind, "input": one, "output": other} for one, other in zip(inputs, outputs, strict=True)]
    return {"prompt": "Write f.", "verification_info": json.dumps({"test_cases": cases})}


def suite_of(row, layout="apps"):
    return read(layout, row, PLAIN).suite


def right(suite, *returned):
    """True if a function that returns these values, test by test, is right, by the key of the suite."""
    suite = from_key(to_key(suite))
    found = [
        verdict(suite, index, Execution(program=ENDED, reply=encode(value))) for index, value in enumerate(returned)
    ]
    assert len(found) == len(suite.tests)
    return all(one is Verdict.ACCEPTED for one in found)


SCALAR = "def f(a: int) -> int:"
LISTS = "class Solution:\n    def f(self, a: List[int]) -> List[int]:\n        "
NESTED = "def f(a) -> list[list[int]]:\n    pass"

MEANT = [
    # outputs, head, what is right, what is wrong
    ([[3], [4]], "", [(3, 4), ([3], [4])], [(4, 3), ([[3]], [[4]]), ([3, 3], [4])]),
    ([[3], [4]], SCALAR, [(3, 4)], [([3], [4])]),
    ([[3], [4]], LISTS, [([3], [4])], [(3, 4), ([[3]], [[4]])]),
    ([[3], [4, 5]], "", [([3], [4, 5])], [(3, [4, 5])]),
    ([[3], []], "", [([3], [])], [(3, [])]),
    ([[[1, 2]], [[3]]], "", [([1, 2], [3])], [([2, 1], [3]), ([1], [3])]),
    ([[[1, 2]], [[3]]], LISTS, [([1, 2], [3]), ((1, 2), (3,))], [([[1, 2]], [[3]])]),
    ([[[1, 2]], [[3]]], NESTED, [([[1, 2]], [[3]])], [([1, 2], [3])]),
    ([[[1, 2], [3]]], NESTED, [([[1, 2], [3]],)], [([[[1, 2], [3]]],)]),
    ([[[1, 2]]], "", [([1, 2],)], [(1,), ([1],)]),
    ([[[]], [[1]]], LISTS, [([], [1])], [([[]], [[1]])]),
    ([["abc"], ["d"]], "def f(s: str) -> str:", [("abc", "d")], [(["abc"], ["d"])]),
    ([[True], [False]], "def f(s) -> bool:", [(True, False)], [(1, 0), ([True], [False])]),
    ([["a"], ["b"]], "def f(s) -> List[str]:", [(["a"], ["b"])], [("a", "b")]),
    ([3, [4]], "", [(3, 4), (3, [4])], [(4, 4)]),
    ([-1, [4]], LISTS, [(-1, [4])], [(-1, 4)]),
    ([3, 4], "", [(3, 4)], [([3], [4])]),
    ([{"a": 1}, {"a": 2}], "", [({"a": 1}, {"a": 2})], [([{"a": 1}], [{"a": 2}])]),
    ([[{"1": 2}], [{"3": 4}]], "", [({1: 2}, {3: 4})], [({1: 2}, {3: 5})]),
    ([[None], [None]], "", [(None, None)], [(0, 0)]),
    ([[[[1]]], [[[2]]]], "def f(a) -> 'List[List[int]]':", [([[1]], [[2]])], [([1], [2]), ([[[1]]], [[[2]]])]),
]


@pytest.mark.parametrize("layout", ["apps", "deepcoder"])
@pytest.mark.parametrize(("outputs", "head", "rights", "wrongs"), MEANT, ids=range(len(MEANT)))
def test_a_list_of_one_is_read_as_the_head_of_the_function_says(layout, outputs, head, rights, wrongs):
    inputs = [[number] for number in range(len(outputs))]
    row = (apps if layout == "apps" else deepcoder)(inputs, outputs, head)
    suite = suite_of(row, layout)
    assert [one for one in rights if not right(suite, *one)] == []
    assert [one for one in wrongs if right(suite, *one)] == []


def test_values_of_cases_are_in_lists_of_one_too():
    suite = suite_of(primeintellect([[1], [2]], [[[1]], [[1, 2]]]), "primeintellect")
    assert right(suite, [1], [1, 2])
    assert not right(suite, 1, [1, 2])
    assert right(suite_of(primeintellect([[1]], [[7]]), "primeintellect"), 7)


def test_text_of_json_is_never_in_a_list_of_one():
    cases = [{"input": "1", "output": "[3]", "testtype": "functional"}]
    row = {"problem": "Write f.", "tests": json.dumps(cases), "metadata": {"func_name": "f"}}
    suite = suite_of(row, "deepcoder")
    assert right(suite, [3])
    assert not right(suite, 3)


ARGUMENTS = [
    # inputs, head, the arguments of each call
    ([[1, 2], [3, 4]], "", [(1, 2), (3, 4)]),
    ([[1, 2], [3, 4]], "def f(a, b):", [(1, 2), (3, 4)]),
    ([[[1, 2]], [[3, 4]]], "", [([1, 2],), ([3, 4],)]),
    ([[[1, 2]], [[3, 4]]], "def f(a):", [([1, 2],), ([3, 4],)]),
    ([[[1, 2]], [[3, 4]]], "def f(a, b):", [(1, 2), (3, 4)]),
    ([[[1, 2]], [[3, 4]]], "class Solution:\n    def f(self, a: int, b: int) -> int:\n", [(1, 2), (3, 4)]),
    ([[1, 2], [3, 4, 5]], "def f(numbers):", [([1, 2],), ([3, 4, 5],)]),
    ([[[1]], [[3]]], "def f(a, b=0):", [([1],), ([3],)]),
    ([[1], [1, 2]], "def f(*a):", [(1,), (1, 2)]),
    (["1\n2", "3\n4"], "", [(1, 2), (3, 4)]),
    (['[1, 2]\n"a"', '[]\n"b"'], "def f(a, b):", [([1, 2], "a"), ([], "b")]),
    (['{"1": 2}', '{"3": 4}'], "", [({1: 2},), ({3: 4},)]),
    ("[[1], [2]]", "", [(1,), (2,)]),
    ([[], []], "def f():", [(), ()]),
]


@pytest.mark.parametrize(("inputs", "head", "calls"), ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_inputs_are_the_arguments_that_the_head_of_the_function_takes(inputs, head, calls):
    assert [given for given, _ in suite_of(apps(inputs, [1, 2 if calls[0] != calls[1] else 1], head)).tests] == calls


@pytest.mark.parametrize("times", [1, 2])
def test_tests_may_be_text_in_text(times):
    tests = {"fn_name": "f", "inputs": ["1"], "outputs": ['"[1]"']}
    text = tests
    for _ in range(times):
        text = json.dumps(text)
    suite = suite_of({"question": "Write f.", "input_output": text})
    assert suite == CallSuite(function="f", tests=(((1,), "[1]"),))
    programs = {"inputs": json.dumps(["1", ["2", "3"]]), "outputs": json.dumps(["4", "5"])}
    assert suite_of({"question": "Add.", "input_output": json.dumps(programs)}).tests == (("1", "4"), ("2\n3", "5"))


@pytest.mark.parametrize(
    ("starter", "least", "most", "depth"),
    [
        ("def f(a, b):", 2, 2, None),
        ("def f(a,\n      b=1) -> int:\n    ", 1, 2, 0),
        ("class Solution:\n    def f(self, a: List[int]) -> List[List[str]]:\n        ", 1, 1, 2),
        ("#User function Template for python3\nclass Solution:\n\tdef f(self, a):\n\t\t# code here", 1, 1, None),
        ("def g(x):\n    pass\n\ndef f(a) -> bool: pass", 1, 1, 0),
        ("def f(*a) -> 'List[int]':", 0, 10**9, 1),
        ("def f() -> Optional[int]:", 0, 0, None),
        ("def f(a) -> Tuple[int, int]:", 1, 1, 1),
        ("def f(a) -> List:", 1, 1, None),
        ("def f(a, /, b, *, c=1) -> float:", 2, 2, 0),
    ],
)
def test_the_head_of_a_function_is_read_from_what_a_problem_begins_with(starter, least, most, depth):
    head = head_of("f", starter)
    assert (head.least, head.most, head.depth) == (least, most, depth)


@pytest.mark.parametrize("starter", ["", "def g(a):", "def f(a", "def f(:", "f = 3", "def f(((((", "\x00def f(a):"])
def test_what_has_no_head_says_nothing(starter):
    assert head_of("f", starter) is None


def codecontests(statement, output):
    none = {"input": [], "output": []}
    return {
        "description": statement,
        "public_tests": {"input": ["1"], "output": [output]},
        "private_tests": none,
        "generated_tests": none,
    }


def codeforces(statement, output, **columns):
    tests = [{"input": "1", "output": output}]
    return {"description": "Solve.", "output_format": statement, "official_tests": tests, **columns}


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        ("1 2\n3\n", "1 2 3", True),
        ("1\n2\n3", "1 2 3\n", True),
        ("\n\n1   2\t3\r\n", "1 2 3", True),
        ("0.3333333", "0.33333333333", True),
        ("YES\n", "YES", True),
        ("1e3", "1000", True),
        ("yes", "YES", False),
        ("1 2", "1 2 3", False),
        ("1 2 3 4", "1 2 3", False),
        ("12 3", "1 2 3", False),
        ("3 2 1", "1 2 3", False),
        ("0.3334", "0.33333333333", False),
        ("", "1", False),
    ],
)
def test_contests_compare_by_tokens(got, expected, same):
    for row, layout in ((codecontests("Add.", expected), "codecontests"), (codeforces("Add.", expected), "codeforces")):
        suite = suite_of(row, layout)
        assert suite.comparison == "tokens"
        assert (verdict(suite, 0, Execution(program=ENDED, stdout=got.encode())) is Verdict.ACCEPTED) is same


FREE = [
    "You can print each letter in any case (upper or lower).",
    "You may print every letter in any case you want.",
    "You can output the answer in any case (for example, the strings yEs, yes, Yes will be accepted).",
    "Print YES or NO in any case.",
    "You can print each character in either case.",
    "Output YES if it is possible. You can print each letter in any register.",
    "Print the answer in arbitrary case.",
    "Print 'YES' (case insensitive) if it can be done.",
    "The answer is case-insensitive.",
    "You can print each letter in any letter case.",
    "You can choose the case (lower or upper) for each letter arbitrarily.",
    "Each character can be printed in either upper or lower case.",
    "You can print each character either upper- or lowercase.",
    "The answer is not case-sensitive.",
    "The checker is case insensitive.",
]
BOUND = [
    "Print YES or NO.",
    "In any case, print the sum.",
    "Print -1 in any case, where it is impossible.",
    "Print the string in lower case.",
    "The string consists of lower or upper case letters. Print it.",
    "File names are case-insensitive. Print how many there are.",
    "Print the answer in any order.",
    "Consider the worst case (upper bound). Print it.",
    "Print Case #1: and the answer.",
    "Output it as is: case matters.",
    "Each letter of the input is in either upper or lower case. Print it.",
    "Print the word in upper or lower case, whichever it has more of.",
    "The names are not case-sensitive. Print the first one.",
    "Choose the case of fruit that is cheapest and print its number.",
]


@pytest.mark.parametrize("statement", FREE)
def test_where_the_statement_allows_any_case_it_does_not_matter(statement):
    for row, layout in (
        (codecontests(statement, "YES 1"), "codecontests"),
        (codeforces(statement, "YES 1"), "codeforces"),
    ):
        suite = suite_of(row, layout)
        for got, same in (("yes\n1", True), ("Yes 1", True), ("no 1", False), ("yes 2", False)):
            assert (verdict(suite, 0, Execution(program=ENDED, stdout=got.encode())) is Verdict.ACCEPTED) is same


@pytest.mark.parametrize("statement", BOUND)
def test_elsewhere_it_does(statement):
    assert suite_of(codecontests(statement, "YES"), "codecontests").comparison == "tokens"
    assert suite_of(codeforces(statement, "YES"), "codeforces").comparison == "tokens"


def test_other_data_compares_by_lines_and_the_recipe_decides_first():
    tests = {"inputs": ["1"], "outputs": ["1 2"]}
    row = {"question": "Print letters in any case (upper or lower).", "input_output": json.dumps(tests)}
    assert suite_of(row) == StdinSuite(tests=(("1", "1 2"),), comparison="lines")
    for comparison in ("lines", "lcb_strict", "tokens", "tokens_any_case", "exact"):
        for one, layout in ((row, "apps"), (codecontests("Add.", "1"), "codecontests")):
            assert read(layout, one, Reading(comparison=comparison)).suite.comparison == comparison


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        (b"yes", "YES", True),
        (b"YeS\n1.0", "yES 1", True),
        (b"alice", "Alice", True),
        (b"1E3", "1e3", True),
        (b"yes no", "NO YES", False),
        ("É".encode(), "é", False),
        (b"yes\xff", "YES", False),
        (b"ye s", "YES", False),
        (b"", "YES", False),
        (b"y", "YES", False),
    ],
)
def test_any_case_is_that_of_ascii_letters(got, expected, same):
    assert same_output(got, expected, "tokens_any_case") is same


def test_a_comparison_that_does_not_exist_is_refused():
    key = to_key(StdinSuite(tests=(("1", "1"),))).replace('"lines"', '"sets"')
    with pytest.raises(TaskError):
        from_key(key)
