"""Which tests are run when, what stops them, and what becomes of a program: with a sandbox whose facts are made up."""

import asyncio
import json

import pytest

from counterpoint.errors import SandboxError, TaskError
from counterpoint.judges.programs.grader import Grader, Judgement, program_task
from counterpoint.judges.programs.suite import AssertSuite, CallSuite, StdinSuite, from_key, to_key
from counterpoint.options import Spec
from counterpoint.sandboxes.base import STANDARD as ALLOWANCE
from counterpoint.sandboxes.base import Ending, Execution, FunctionCall, Script, Tier, Verdict, fault
from counterpoint.sandboxes.inside import exits
from counterpoint.task import Problem
from counterpoint.tasks import load_tasks


def ending(exit_code=0, *, cpu=0.01, **changed):
    facts = {"exit_code": exit_code, "signal": None, "out_of_time": False, "dismissed": False, "wall": cpu}
    return Ending(cpu=cpu, **{**facts, **changed})


def said(text, **changed):
    return Execution(program=ending(**changed), stdout=text.encode())


class MadeUp:
    """Plays a program that is a list of what it does at each test: the output, or an exception to raise."""

    kinds = (Script, FunctionCall)

    def __init__(self, slots=2, hold=None):
        self.slots = slots
        self.started = []
        self.ended = []
        self.running = 0
        self.most = 0
        self.hold = hold or {}

    async def start(self):
        return Tier.A

    async def close(self):
        pass

    def facts(self):
        return {"name": "made up", "tier": "A", "layers": "none"}

    async def run(self, job, allowance):
        what = json.loads(job.source)
        index = int(job.stdin)
        self.started.append((what["name"], index))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(what.get("rounds", {}).get(str(index), 1)):
                await asyncio.sleep(0)
            if (what["name"], index) in self.hold:
                await self.hold[what["name"], index].wait()
        finally:
            self.running -= 1
        self.ended.append((what["name"], index))
        answer = what["answers"][index]
        if answer == "broken":
            raise SandboxError("the slot is gone")
        if answer == "bug":
            raise ValueError("something else")
        return said(answer)


def program(name, answers, **more):
    return json.dumps({"name": name, "answers": answers, **more})


def suite(count):
    return StdinSuite(tests=tuple((str(index), "ok") for index in range(count)))


def graded(sandbox, *programs, tests=3):
    async def run():
        grader = Grader(sandbox)
        return await asyncio.gather(*(grader.grade(one, suite(tests)) for one in programs))

    return asyncio.run(run())


def test_a_program_is_accepted_if_every_test_passes():
    (found,) = graded(MadeUp(), program("a", ["ok"] * 3))
    assert found == Judgement(verdict=Verdict.ACCEPTED, passed=3, tests=3)


def test_the_first_tests_of_all_programs_come_before_the_second_of_any():
    sandbox = MadeUp(slots=1)
    graded(sandbox, *(program(name, ["ok"] * 3) for name in "abcd"))
    assert [index for _, index in sandbox.started] == [0] * 4 + [1] * 4 + [2] * 4


def test_nothing_of_a_program_is_run_after_its_first_failure():
    sandbox = MadeUp(slots=1)
    one, other = graded(sandbox, program("a", ["no", "ok", "ok"]), program("b", ["ok", "no", "ok"]))
    assert sandbox.started == [("a", 0), ("b", 0), ("b", 1)]
    assert (one.verdict, one.passed, one.reason) == (Verdict.WRONG_ANSWER, 0, "test 1 of 3")
    assert (other.verdict, other.passed, other.reason) == (Verdict.WRONG_ANSWER, 1, "test 2 of 3")


def test_further_tests_are_run_ahead_only_in_idle_slots():
    sandbox = MadeUp(slots=3)
    graded(sandbox, *(program(name, ["ok"] * 2) for name in "abc"), tests=2)
    assert sandbox.started[:3] == [("a", 0), ("b", 0), ("c", 0)]
    alone = MadeUp(slots=3)
    graded(alone, program("a", ["ok"] * 3))
    assert alone.most == 3


def test_never_more_than_the_slots_are_busy_and_all_are():
    sandbox = MadeUp(slots=4)
    graded(sandbox, *(program(str(number), ["ok"] * 5) for number in range(20)), tests=5)
    assert sandbox.most == 4


def test_the_first_failure_in_the_order_of_the_tests_decides_whichever_was_found_first():
    late = program("a", ["no", "broken by a later one", "ok"], rounds={"0": 20})
    (found,) = graded(MadeUp(slots=3), late)
    assert (found.reason, found.passed) == ("test 1 of 3", 0)


def test_a_failure_cancels_the_tests_that_run_ahead():
    async def run():
        never = asyncio.Event()
        sandbox = MadeUp(slots=2, hold={("a", 1): never})
        found = await asyncio.wait_for(Grader(sandbox).grade(program("a", ["no", "ok", "ok"]), suite(3)), 5)
        await asyncio.sleep(0)
        return found, sandbox

    found, sandbox = asyncio.run(run())
    assert found.verdict is Verdict.WRONG_ANSWER
    assert sandbox.running == 0
    assert ("a", 1) not in sandbox.ended


@pytest.mark.parametrize(("answer", "reason"), [("broken", "the slot is gone"), ("bug", "ValueError: something else")])
def test_trouble_of_the_sandbox_says_nothing_about_the_program(answer, reason):
    (found,) = graded(MadeUp(), program("a", [answer, "ok", "ok"]))
    assert (found.verdict, found.reason) == (Verdict.NOT_JUDGED, reason)
    assert found.score("").reward is None


def test_the_same_program_of_one_task_is_judged_once_and_trouble_is_not_remembered():
    sandbox = MadeUp()
    key = to_key(suite(2))
    right, broken = program("a", ["ok", "ok"]), program("b", ["broken", "ok"])

    async def run():
        grader = Grader(sandbox)
        scores = await asyncio.gather(*(grader.judge(right, key) for _ in range(5)))
        scores += [await grader.judge(right, key)]
        first = await grader.judge(broken, key)
        again = await grader.judge(broken, key)
        return scores, [first, again], grader.numbers(), grader.numbers()

    scores, unsure, numbers, rest = asyncio.run(run())
    assert [one.reward for one in scores] == [1.0] * 6
    assert [one.reward for one in unsure] == [None, None]
    assert sandbox.started.count(("a", 0)) == 1
    assert sandbox.started.count(("b", 0)) == 2
    assert (numbers["sandbox/programs"], numbers["sandbox/known"]) == (8.0, 1.0)
    assert set(rest.values()) == {0.0}


def test_a_caller_that_gives_up_does_not_take_the_judgement_from_the_others():
    async def run():
        gate = asyncio.Event()
        grader = Grader(MadeUp(hold={("a", 0): gate}))
        key = to_key(suite(1))
        impatient = asyncio.ensure_future(grader.judge(program("a", ["ok"]), key))
        patient = asyncio.ensure_future(grader.judge(program("a", ["ok"]), key))
        await asyncio.sleep(0.01)
        impatient.cancel()
        gate.set()
        return await patient

    assert asyncio.run(run()).reward == 1.0


def test_what_cannot_be_judged_is_told_apart():
    async def run(answer, key, sandbox=None):
        return await Grader(sandbox or MadeUp()).judge(answer, key)

    empty = json.dumps({"kind": "stdin", "tests": []})
    assert asyncio.run(run("x", empty)).reason == "invalid_task: it has no tests"
    assert asyncio.run(run("x", "{")).reward is None
    assert asyncio.run(run(" \n", to_key(suite(1)))).reason == "no_program"
    exam = to_key(AssertSuite(function="f", exams=("assert f() == 1",)))
    assert asyncio.run(run("x", exam)).reason == "invalid_task: this sandbox cannot run a Exam"


def test_an_accepted_program_that_looks_like_an_attack_is_counted():
    plain, odd = (Judgement(verdict=Verdict.ACCEPTED, passed=1, tests=1).score(text) for text in ("x", "sys._getframe"))
    assert dict(plain.parts) == {"accepted": 1.0, "tests_passed": 1.0}
    assert odd.parts["suspicious"] == 1.0
    assert odd.reward == 1.0


def test_no_program_is_a_verdict_too():
    problem = Problem(id="p", text="t", answer_format="f", extract=lambda reply: None)
    task = program_task(problem, suite(1), Grader(MadeUp()).judge)
    score = asyncio.run(task.verify(None))
    assert (score.reward, score.reason) == (0.0, "no_program")
    with pytest.raises(TaskError, match="no tests"):
        program_task(problem, suite(0), Grader(MadeUp()).judge)


@pytest.mark.parametrize(
    ("execution", "verdict"),
    [
        (said("x"), None),
        (said("x", exit_code=1), Verdict.RUNTIME_ERROR),
        (said("x", exit_code=None, signal=31), Verdict.RUNTIME_ERROR),
        (said("x", exit_code=None, signal=9), Verdict.RUNTIME_ERROR),
        (said("x", exit_code=exits.NOT_CONFINED), Verdict.RUNTIME_ERROR),
        (said("x", exit_code=exits.OUT_OF_MEMORY), Verdict.MEMORY_LIMIT),
        (said("x", exit_code=exits.BAD_VALUE), Verdict.WRONG_ANSWER),
        (said("x", cpu=6.0), Verdict.TIME_LIMIT),
        (said("x", exit_code=None, signal=9, out_of_time=True), Verdict.TIME_LIMIT),
        (Execution(program=ending(), output_exceeded=True), Verdict.OUTPUT_LIMIT),
        (Execution(program=ending(117, dismissed=True)), None),
        (Execution(program=ending(117, dismissed=True, cpu=7.0)), Verdict.TIME_LIMIT),
    ],
)
def test_the_kernels_facts_decide_how_a_program_failed(execution, verdict):
    assert fault(execution, ALLOWANCE) is verdict


@pytest.mark.parametrize(
    "given",
    [
        suite(2),
        StdinSuite(tests=(("1", "2"),), comparison="tokens", checker="print(1)"),
        CallSuite(function="f", tests=((((1, 2), {"a"}), {1: None}),), json_born=False, tolerance=0.1),
        AssertSuite(function="f", exams=("assert f(1) == 2",)),
    ],
)
def test_a_suite_survives_being_a_key(given):
    assert from_key(to_key(given)) == given


@pytest.mark.parametrize(
    "key",
    [
        "null",
        "[]",
        '{"kind": "odd"}',
        '{"kind": "stdin", "tests": [["1"]]}',
        '{"kind": "stdin", "tests": [["1", "2"]], "comparison": "loose"}',
        '{"kind": "call", "function": "f()", "tests": [{"arguments": [], "value": 1}]}',
        '{"kind": "call", "function": "f", "tests": [{"arguments": [{"odd": 1}], "value": 1}]}',
        '{"kind": "assert", "function": "f", "exams": []}',
        '{"kind": "stdin", "tests": [["1", "2"]], "unknown": 1}',
    ],
)
def test_a_key_that_is_no_suite_is_refused(key):
    with pytest.raises(TaskError):
        from_key(key)


def test_a_recipe_with_programs_is_judged_in_the_sandbox_it_names():
    splits = load_tasks(Spec(name="synthesis", train=8, validation=4, test=4), Spec(name="fork_server", slots=1))
    task = splits.train[0]

    async def run():
        async with splits.judging as judging:
            wrong = await task.verify("def f(x):\n    return 'something else'")
            return judging.facts(), wrong

    facts, wrong = asyncio.run(run())
    assert (facts["sandbox_name"], wrong.reward) == ("fork_server", 0.0)
    assert facts["sandbox_tier"] in ("A", "B")


def checked(output, checker):
    async def run():
        splits = load_tasks(Spec(name="synthesis", train=8, validation=4, test=4))
        async with splits.judging as grader:
            tests = StdinSuite(tests=(("4\n", "2 2\n"),), checker=checker)
            return await grader.grade(f"print({output!r})", tests)

    return asyncio.run(run()).verdict


SUMS_TO_INPUT = """
import sys
total = int(open(sys.argv[1]).read())
parts = list(map(int, open(sys.argv[3]).read().split()))
assert open(sys.argv[2]).read() == "2 2\\n"
print(1 if sum(parts) == total else 0)
"""


@pytest.mark.parametrize(
    ("output", "verdict"),
    [
        ("1 3", Verdict.ACCEPTED),
        ("2 2", Verdict.ACCEPTED),
        ("1 1", Verdict.WRONG_ANSWER),
        ("one three", Verdict.WRONG_ANSWER),
        ("", Verdict.WRONG_ANSWER),
    ],
)
def test_a_checker_decides_where_several_outputs_are_right(output, verdict):
    assert checked(output, SUMS_TO_INPUT) is verdict
