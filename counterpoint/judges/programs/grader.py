"""Judge many programs at once: each test a job, the first tests first, no more of a program once one has failed."""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar

from counterpoint.errors import SandboxError, TaskError
from counterpoint.judges.base import Judge
from counterpoint.judges.programs.suite import StdinSuite, Suite, from_key, to_key
from counterpoint.judges.programs.verdict import checker_job, checker_verdict, jobs_of, verdict
from counterpoint.sandboxes.base import Execution, Job, Sandbox, Verdict
from counterpoint.task import JudgeFunction, Problem, Score, Task, not_judged

_REMEMBERED = 20_000
SUSPICIOUS = re.compile(
    r"_getframe|f_back|f_locals|ctypes|/proc\b|gc\.get_|__eq__|__subclasses__|_exit\b|inside\.|os\.write\(\s*3"
)
"""Text that a correct solution hardly ever needs; an accepted program that has it deserves a look."""
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict on a program."""

    verdict: Verdict
    passed: int = 0
    """Tests before the first that failed."""
    tests: int = 0
    reason: str = ""

    def score(self, program: str) -> Score:
        """1 for an accepted program, else 0; not judged where the verdict is not about the program."""
        if self.verdict in (Verdict.NOT_JUDGED, Verdict.INVALID_TASK):
            return not_judged(f"{self.verdict}: {self.reason}")
        accepted = self.verdict is Verdict.ACCEPTED
        parts = {str(self.verdict): 1.0, "tests_passed": self.passed / self.tests}
        if accepted and SUSPICIOUS.search(program):
            parts["suspicious"] = 1.0
        reason = f"{self.verdict}: {self.reason}" if self.reason else str(self.verdict)
        return Score(reward=float(accepted), parts=parts, reason=reason)


def program_task(problem: Problem, suite: Suite | str, judge: JudgeFunction, *, reference: str | None = None) -> Task:
    """The task to write a program for this suite, or key of one. Raises TaskError if the suite cannot judge.

    `reference` is how the records of a run show the tests; None for the key.
    """
    key = suite if isinstance(suite, str) else to_key(suite)
    return Task(problem=problem, key=key, judge=judge, bounded=True, unanswered=_NO_PROGRAM, reference=reference)


_NO_PROGRAM = Judgement(verdict=Verdict.NO_PROGRAM, tests=1).score("")


class Grader(Judge):
    """Judges programs in a sandbox. The same program of one task is judged once."""

    bounded: ClassVar[bool] = True

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._trials: list[_Trial] = []
        self._running: set[asyncio.Task[None]] = set()
        self._known: OrderedDict[tuple[str, str], asyncio.Task[Judgement]] = OrderedDict()
        self._tally = _Tally()

    async def start(self) -> None:
        await self._sandbox.start()

    async def close(self) -> None:
        self._known.clear()
        await self._sandbox.close()

    def facts(self) -> Mapping[str, str]:
        return {f"sandbox_{name}": value for name, value in self._sandbox.facts().items()}

    def numbers(self) -> dict[str, float]:
        """The programs judged and the tests run since this was last called."""
        tally, self._tally = self._tally, _Tally()
        return tally.numbers()

    async def judge(self, answer: str, key: str) -> Score:
        """The score of a program by the tests of `key`, which is a suite as `suite.to_key` writes it."""
        asked = (key, answer)
        self._tally.programs += 1
        if asked not in self._known:
            self._known[asked] = asyncio.ensure_future(self._judged(answer, key))
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        elif self._known[asked].done():
            self._tally.known += 1
        judgement = await asyncio.shield(self._known[asked])
        if judgement.verdict is Verdict.NOT_JUDGED:
            self._known.pop(asked, None)
        return judgement.score(answer)

    async def _judged(self, program: str, key: str) -> Judgement:
        try:
            suite = from_key(key)
        except TaskError as error:
            return Judgement(verdict=Verdict.INVALID_TASK, reason=str(error))
        return await self.grade(program, suite)

    async def grade(self, program: str, suite: Suite) -> Judgement:
        """The verdict on the program: accepted if it passed every test, else that of the first test that failed.

        Tests run in their order, further ones ahead only where a slot would else be idle, none after the first failure.
        """
        unfit = self._unfit(program, suite)
        if unfit is not None:
            return unfit
        loop = asyncio.get_running_loop()
        trial = _Trial(suite, jobs_of(suite, program), loop.create_future())
        self._trials.append(trial)
        # Soon, not now: the programs that come together with this one have a first test to run too.
        loop.call_soon(self._fill)
        try:
            return await trial.judgement
        finally:
            self._trials.remove(trial)
            for task in trial.running.values():
                task.cancel()

    def _unfit(self, program: str, suite: Suite) -> Judgement | None:
        if not program.strip():
            return Judgement(verdict=Verdict.NO_PROGRAM, tests=1)
        kinds = {type(job) for job in jobs_of(suite, program)}
        if not kinds:
            return Judgement(verdict=Verdict.INVALID_TASK, reason="it has no tests")
        unable = kinds - set(self._sandbox.kinds)
        if unable:
            name = ", ".join(sorted(kind.__name__ for kind in unable))
            return Judgement(verdict=Verdict.INVALID_TASK, reason=f"this sandbox cannot run a {name}")
        return None

    def _fill(self) -> None:
        """Every slot is given a test to run, if there is one left."""
        while len(self._running) < self._sandbox.slots:
            open_trials = [trial for trial in self._trials if trial.has_more()]
            if not open_trials:
                return
            trial = min(open_trials, key=lambda one: (len(one.running), one.next))
            task = asyncio.ensure_future(self._run(trial, trial.take()))
            trial.running[trial.next - 1] = task
            self._running.add(task)
            task.add_done_callback(self._freed)

    def _freed(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._fill()

    async def _run(self, trial: "_Trial", index: int) -> None:
        began = perf_counter()
        self._tally.started(trial, began)
        try:
            outcome, detail = await self._test(trial, index)
        except asyncio.CancelledError:
            trial.give_up("its test was cancelled")
            raise
        except Exception as error:  # whatever went wrong, it was not the program, and somebody waits
            trial.give_up(str(error) if isinstance(error, SandboxError) else f"{type(error).__name__}: {error}")
            return
        finally:
            trial.running.pop(index, None)
            self._tally.ended(perf_counter() - began)
        trial.record(index, outcome, detail)

    async def _test(self, trial: "_Trial", index: int) -> tuple[Verdict, str]:
        suite, job = trial.suite, trial.jobs[index]
        execution = await self._sandbox.run(job, suite.allowance)
        try:
            found = verdict(suite, index, execution)
        except Exception as error:  # what cannot be compared is not right: not judging it would pay
            return Verdict.WRONG_ANSWER, f"it cannot be compared: {type(error).__name__}"
        if found is Verdict.ACCEPTED and isinstance(suite, StdinSuite) and suite.checker:
            check = checker_job(suite, index, execution)
            if check is None:
                return Verdict.OUTPUT_LIMIT, "too long to be checked"
            found = checker_verdict(await self._sandbox.run(check, suite.allowance), suite.allowance)
        return found, _last_line(execution)


class _Trial:
    """One program before its tests."""

    def __init__(self, suite: Suite, jobs: Sequence[Job], judgement: "asyncio.Future[Judgement]") -> None:
        self.suite = suite
        self.jobs = jobs
        self.judgement = judgement
        self.began = perf_counter()
        self.next = 0
        self.running: dict[int, asyncio.Task[None]] = {}
        self._failed: tuple[int, Verdict, str] | None = None
        self._passed = 0

    def has_more(self) -> bool:
        return self._failed is None and not self.judgement.done() and self.next < len(self.jobs)

    def take(self) -> int:
        """Takes the next test and returns its number."""
        self.next += 1
        return self.next - 1

    def record(self, index: int, outcome: Verdict, detail: str) -> None:
        """Records the outcome of test `index`. The first failure in the order of tests decides, not in time."""
        if self.judgement.done():
            return
        if outcome is Verdict.ACCEPTED:
            self._passed += 1
        elif self._failed is None or index < self._failed[0]:
            self._failed = (index, outcome, detail)
        self._decide()

    def give_up(self, reason: str) -> None:
        """Ends the trial without a verdict on the program."""
        if not self.judgement.done():
            self.judgement.set_result(Judgement(verdict=Verdict.NOT_JUDGED, reason=reason))

    def _decide(self) -> None:
        count = len(self.jobs)
        if self._failed is not None:
            index, outcome, detail = self._failed
            if not any(earlier < index for earlier in self.running):
                reason = f"test {index + 1} of {count}" + (f": {detail}" if detail else "")
                self.judgement.set_result(Judgement(verdict=outcome, passed=index, tests=count, reason=reason))
        elif self._passed == count:
            self.judgement.set_result(Judgement(verdict=Verdict.ACCEPTED, passed=count, tests=count))


@dataclass(slots=True)
class _Tally:
    """Counts of the programs and of the tests that were run for them."""

    programs: int = 0
    known: int = 0
    tests: int = 0
    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)

    def started(self, trial: _Trial, now: float) -> None:
        self.tests += 1
        if trial.next == 1:
            self.waits.append(now - trial.began)

    def ended(self, seconds: float) -> None:
        self.seconds += seconds

    def numbers(self) -> dict[str, float]:
        return {
            "sandbox/programs": float(self.programs),
            "sandbox/known": float(self.known),
            "sandbox/tests": float(self.tests),
            "time/sandbox_test": self.seconds / self.tests if self.tests else 0.0,
            "time/sandbox_queue": sum(self.waits) / len(self.waits) if self.waits else 0.0,
        }


def _last_line(execution: Execution) -> str:
    """The last line of the program's standard error, without addresses: for people to read, it decides nothing."""
    lines = execution.stderr[-2000:].decode(errors="replace").strip().splitlines()
    return _ADDRESS.sub("0x...", lines[-1][:200]) if lines else ""
