"""From a test to a job, and from the result of the job to a verdict: pure functions, in the parent's process."""

from collections.abc import Sequence
from functools import partial

from counterpoint.judges.programs.compare import same_output, same_value
from counterpoint.judges.programs.suite import AssertSuite, CallSuite, StdinSuite, Suite
from counterpoint.sandboxes.base import Allowance, Exam, Execution, FunctionCall, Job, Script, Verdict, fault
from counterpoint.sandboxes.inside.codec import CodecError, decode, encode
from counterpoint.sandboxes.inside.exits import EXAM_BROKEN

CHECKER = """
import builtins, io, json, sys
checker, *files = json.loads(sys.stdin.buffer.read())
contents = dict(zip(("input.txt", "correct_output.txt", "solution_output.txt"), files))
plain_open = open
def open_file(name, mode="r", *rest, **named):
    if name not in contents:
        return plain_open(name, mode, *rest, **named)
    return io.BytesIO(contents[name].encode()) if "b" in mode else io.StringIO(contents[name])
builtins.open = io.open = open_file
sys.argv = ["checker.py", *contents]
exec(compile(checker, "checker.py", "exec"), {"__name__": "__main__"})
"""
"""Runs a checker in a process of its own, in which alone the right output is; the program's has ended by then."""


def jobs_of(suite: Suite, program: str) -> Sequence[Job]:
    """One job per test, in order. None holds the expected result, except an exam, in its own process."""
    match suite:
        case StdinSuite():
            return [Script(source=program, stdin=given.encode()) for given, _ in suite.tests]
        case CallSuite():
            return [FunctionCall(source=program, function=suite.function, arguments=given) for given, _ in suite.tests]
        case AssertSuite():
            return [Exam(source=program, function=suite.function, exam=exam) for exam in suite.exams]


def verdict(suite: Suite, index: int, execution: Execution) -> Verdict:
    """The verdict on test `index`. An accepted output has yet to pass the suite's checker, if it has one."""
    failed = fault(execution, suite.allowance)
    match suite:
        case AssertSuite():
            return _broken(execution) or failed or _of_exam(execution)
        case CallSuite():
            return failed or _of_value(execution.reply, suite, index)
        case StdinSuite(checker=""):
            return failed or _accepted_if(same_output(execution.stdout, suite.tests[index][1], suite.comparison))
        case StdinSuite():
            return failed or _accepted_if(_text(execution.stdout) is not None)


def checker_job(suite: StdinSuite, index: int, execution: Execution) -> Script | None:
    """The job that decides about an output; None for one that is too long to be checked."""
    given, right = suite.tests[index]
    try:
        return Script(source=CHECKER, stdin=encode([suite.checker, given, right, _text(execution.stdout) or ""]))
    except CodecError:
        return None


def checker_verdict(execution: Execution, allowance: Allowance) -> Verdict:
    """Accepted if the checker's last word is 1; a checker that fails on an output has not accepted it."""
    words = (_text(execution.stdout) or "").split()
    return _accepted_if(fault(execution, allowance) is None and words[-1:] in (["1"], ["1.0"]))


def _broken(execution: Execution) -> Verdict | None:
    """Not about the program: the exam ended before an answer of the program could reach it."""
    broken = execution.examiner is not None and execution.examiner.exit_code == EXAM_BROKEN
    return Verdict.INVALID_TASK if broken else None


def _of_exam(execution: Execution) -> Verdict:
    examiner = execution.examiner
    if examiner is not None and examiner.exit_code == 0:
        return Verdict.ACCEPTED
    return Verdict.WRONG_ANSWER if execution.program.dismissed else Verdict.RUNTIME_ERROR


def _of_value(reply: bytes, suite: CallSuite, index: int) -> Verdict:
    if not reply:
        return Verdict.RUNTIME_ERROR
    try:
        value = decode(reply)
    except CodecError:
        return Verdict.WRONG_ANSWER
    right = suite.tests[index][1]
    rights = (right, [right]) if suite.perhaps_in_lists else (right,)
    same = partial(same_value, value, json_born=suite.json_born, tolerance=suite.tolerance)
    return _accepted_if(any(map(same, rights)))


def _accepted_if(right: bool) -> Verdict:
    return Verdict.ACCEPTED if right else Verdict.WRONG_ANSWER


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
