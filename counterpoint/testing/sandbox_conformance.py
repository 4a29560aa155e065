"""The conformance suite of sandboxes. Run it on your own sandbox; an AssertionError names the promise that is broken.

    check_sandbox(lambda: my_sandbox(slots=2))

Each check is a plain function that can also be run alone. The suite does not test confinement of hostile programs,
which is as important: see the tests of the sandboxes in this package.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from counterpoint.errors import SandboxError
from counterpoint.event_loop import run_to_end
from counterpoint.sandboxes.base import (
    MEBIBYTE,
    STANDARD,
    Allowance,
    Ending,
    Exam,
    Execution,
    FunctionCall,
    Job,
    Sandbox,
    Script,
    Tier,
    Verdict,
    fault,
)
from counterpoint.sandboxes.inside.codec import Value, decode

SandboxFactory = Callable[[], Sandbox]
"""Makes a sandbox that is not started and has at least two slots."""

_PATIENCE = 60.0
"""Seconds after which a check that waits for the sandbox fails."""
_FOR_EVER = Script(source="import time\ntime.sleep(10**6)")
_LONG = Allowance(cpu=600.0)
_SECRET = "what-the-parent-alone-knows"


def check_sandbox(new: SandboxFactory) -> None:
    """Check every promise of `Sandbox` for the kinds of jobs that it runs. Raises AssertionError if one is broken."""

    async def suite() -> None:
        for check in sandbox_checks(new):
            await check(new)

    run_to_end(suite())


async def exit_codes_are_told(new: SandboxFactory) -> None:
    """The exit code is the program's own, and 1 with a traceback if it raises."""
    async with _open(new) as sandbox:
        for code in (0, 1, 3, 255):
            ending = (await _script(sandbox, f"import sys\nsys.exit({code})")).program
            assert (ending.exit_code, ending.signal) == (code, None), f"exit code {code} is reported as {_told(ending)}"
        failed = await _script(sandbox, "raise ValueError('of its own')")
        assert failed.program.exit_code == 1, f"an error is reported as {_told(failed.program)}"
        assert b"ValueError: of its own" in failed.stderr, f"no traceback: {failed.stderr!r}"
        assert fault(failed, STANDARD) is Verdict.RUNTIME_ERROR, "an error is not a fault"


async def signals_are_told(new: SandboxFactory) -> None:
    """A program that a signal ended has that signal and no exit code."""
    async with _open(new) as sandbox:
        for source, number in (
            ("import os\nos.abort()", signal.SIGABRT),
            ("import ctypes\nctypes.string_at(0)", signal.SIGSEGV),
        ):
            execution = await _script(sandbox, source)
            ending = execution.program
            assert (ending.exit_code, ending.signal) == (None, number), (
                f"signal {number} is reported as {_told(ending)}"
            )
            assert not ending.out_of_time, "a program that crashed is reported as out of time"
            assert fault(execution, STANDARD) is Verdict.RUNTIME_ERROR, "a crash is not a fault"


async def bytes_are_exact(new: SandboxFactory) -> None:
    """Standard input, output and error are passed on byte by byte, and input ends."""
    async with _open(new) as sandbox:
        data = bytes(range(256)) * 4096
        copy = "import sys\ndata = sys.stdin.buffer.read()\nsys.stdout.buffer.write(data)\n"
        copy += "sys.stderr.buffer.write(data[:999])"
        execution = await sandbox.run(Script(source=copy, stdin=data), STANDARD)
        assert execution.stdout == data, f"{len(execution.stdout)} bytes of output are not the {len(data)} of input"
        assert execution.stderr == data[:999], f"standard error is {execution.stderr[:99]!r}"
        nothing = await _script(sandbox, "import sys\nprint(repr(sys.stdin.read()), __name__)")
        assert nothing.stdout == b"'' __main__\n", f"without input a program prints {nothing.stdout!r}"


async def seconds_are_counted(new: SandboxFactory) -> None:
    """CPU time is that of all the program's threads; wall time includes sleep."""
    async with _open(new) as sandbox:
        busy = await _script(sandbox, "import time\nwhile time.process_time() < 0.5:\n    pass")
        assert 0.4 < busy.program.cpu < 1.0, f"half a second of CPU is reported as {busy.program.cpu:.2f} s"
        thread = "import threading, time\ndef f():\n    while time.process_time() < 0.5:\n        pass\n"
        threads = await _script(sandbox, thread + "[threading.Thread(target=f).start() for _ in range(3)]")
        assert threads.program.cpu > 0.4, f"half a second in threads is reported as {threads.program.cpu:.2f} s"
        idle = await _script(sandbox, "import time\ntime.sleep(0.5)")
        assert idle.program.cpu < 0.3, f"sleeping is reported as {idle.program.cpu:.2f} s of CPU"
        assert idle.program.wall >= 0.5, f"half a second of sleep is reported as {idle.program.wall:.2f} s"


async def time_is_limited(new: SandboxFactory) -> None:
    """A program that computes is stopped at its CPU limit, whatever it tries; one that waits at its wall limit."""
    allowance = replace(STANDARD, cpu=1.0)
    stubborn = "import signal\nfor one in range(1, 32):\n    if one not in (9, 19):\n"
    stubborn += "        signal.signal(one, signal.SIG_IGN)\n"
    async with _open(new) as sandbox:
        for source in ("while True:\n    pass", stubborn + "while True:\n    pass"):
            execution = await _script(sandbox, source, allowance)
            assert fault(execution, allowance) is Verdict.TIME_LIMIT, f"it computed: {_told(execution.program)}"
            assert execution.program.cpu <= allowance.cpu + 0.5, f"it had {execution.program.cpu:.2f} s of CPU"
        waiting = await _script(sandbox, _FOR_EVER.source, replace(STANDARD, cpu=0.25))
        assert waiting.program.out_of_time, f"it waited: {_told(waiting.program)}"
        assert waiting.program.signal == signal.SIGKILL, f"it was not killed: {_told(waiting.program)}"
        assert fault(waiting, allowance) is Verdict.TIME_LIMIT, "waiting forever is not a fault"


async def memory_is_limited(new: SandboxFactory) -> None:
    """A program can use about its memory limit, and reserve more; if it uses more, the verdict is the memory limit."""
    allowance = replace(STANDARD, memory=256)
    async with _open(new) as sandbox:
        within = await _script(sandbox, f"x = b'x' * {200 * MEBIBYTE}\nprint(len(x))", allowance)
        assert within.program.exit_code == 0, f"200 of 256 MiB are refused: {within.stderr[-300:]!r}"
        beyond = await _script(sandbox, f"x = b'x' * {300 * MEBIBYTE}\nprint(len(x))", allowance)
        assert fault(beyond, allowance) is Verdict.MEMORY_LIMIT, f"300 of 256 MiB: {_told(beyond.program)}"
        stack = "import threading\nthreading.stack_size(2**28)\none = threading.Thread(target=print, args=(7,))\n"
        reserved = await _script(sandbox, stack + "one.start()\none.join()", allowance)
        assert reserved.stdout == b"7\n", f"a stack of 256 MiB is refused: {reserved.stderr[-300:]!r}"


async def output_is_limited(new: SandboxFactory) -> None:
    """Output is cut at its limit, and this is reported; shorter output is kept whole."""
    allowance = replace(STANDARD, output=1)
    write = "import sys\nwhile True:\n    sys.std{}.write('x' * 65536)"
    async with _open(new) as sandbox:
        for name in ("out", "err"):
            execution = await _script(sandbox, write.format(name), allowance)
            size = max(len(execution.stdout), len(execution.stderr))
            assert execution.output_exceeded, f"endless std{name} is not reported"
            assert size <= MEBIBYTE, f"{size} bytes of std{name} were kept of {MEBIBYTE}"
            assert fault(execution, allowance) is Verdict.OUTPUT_LIMIT, f"endless std{name} is not a fault"
        whole = await _script(sandbox, f"print('x' * {MEBIBYTE - 2})", allowance)
        assert len(whole.stdout) == MEBIBYTE - 1, f"{len(whole.stdout)} bytes of {MEBIBYTE - 1} are left"
        assert fault(whole, allowance) is None, "output just below the limit is a fault"


async def programs_begin_afresh(new: SandboxFactory) -> None:
    """No change that a program made to its interpreter or file system is visible to the next one."""
    spoil = (
        "import builtins, json, math, os, sys\nbuiltins.left = math.left = os.environ['LEFT'] = 'left'\n"
        "sys.modules['json'] = None\nsys.setrecursionlimit(50)\n"
        "for place in ('.', '/tmp', '/dev/shm'):\n    try:\n        open(place + '/left-by-a-program', 'w').close()\n"
        "    except OSError:\n        pass\nbuiltins.print = None"
    )
    look = (
        "import builtins, json, math, os\n"
        "found = [hasattr(builtins, 'left'), hasattr(math, 'left'), 'LEFT' in os.environ]\n"
        "found += [os.path.exists(place + '/left-by-a-program') for place in ('.', '/tmp', '/dev/shm')]\nprint(found)"
    )
    async with _open(new) as sandbox:
        for _ in range(2):
            await asyncio.gather(*(_script(sandbox, spoil) for _ in range(sandbox.slots)))
            for execution in await asyncio.gather(*(_script(sandbox, look) for _ in range(sandbox.slots))):
                told = f"{execution.stdout!r} {execution.stderr[-300:]!r}"
                assert execution.stdout == f"{[False] * 6}\n".encode(), f"after another program: {told}"


async def the_environment_is_not_the_parents(new: SandboxFactory) -> None:
    """A program sees no environment variable of the process that uses the sandbox."""
    with _planted_variable():
        async with _open(new) as sandbox:
            execution = await _script(sandbox, "import os\nprint(dict(os.environ))")
    assert execution.program.exit_code == 0, f"it could not print its environment: {execution.stderr[-300:]!r}"
    assert _SECRET.encode() not in execution.stdout, "the program sees the environment of its parent"


async def slots_run_at_once_and_no_more(new: SandboxFactory) -> None:
    """As many jobs as there are slots run in parallel; the others wait for their turn."""
    async with _open(new) as sandbox:
        assert sandbox.slots >= 2, f"these checks need two slots, there are {sandbox.slots}"
        await asyncio.gather(*(_script(sandbox, "pass") for _ in range(sandbox.slots)))
        began = time.monotonic()
        jobs = (_script(sandbox, "import time\ntime.sleep(1)") for _ in range(2 * sandbox.slots))
        walls = [execution.program.wall for execution in await asyncio.gather(*jobs)]
        seconds = time.monotonic() - began
    assert seconds < 0.9 * sum(walls), f"{len(walls)} jobs of {sum(walls):.1f} s took {seconds:.1f} s: one by one"
    assert seconds >= 2.0, f"{len(walls)} jobs of 1 s took {seconds:.1f} s: more at once than there are slots"


async def everyone_gets_their_own(new: SandboxFactory) -> None:
    """With many jobs at once, some cancelled once or twice, each result belongs to its own job."""
    async with _open(new) as sandbox:
        tasks = [asyncio.ensure_future(_script(sandbox, f"print({number})")) for number in range(40)]
        slow = [asyncio.ensure_future(sandbox.run(_FOR_EVER, _LONG)) for _ in range(6)]
        await asyncio.sleep(0.05)
        for pause in (0.0, 0.0, 0.05):
            for one in (*slow[::2], tasks[7]):
                one.cancel()
            await asyncio.sleep(pause)
        for one in slow:
            one.cancel()
        done = await asyncio.wait_for(asyncio.gather(*tasks, *slow, return_exceptions=True), _PATIENCE)
        for number, execution in enumerate(done[: len(tasks)]):
            if isinstance(execution, Execution):
                assert execution.stdout == b"%d\n" % number, f"job {number} has the result {execution.stdout!r}"
            else:
                assert number == 7, f"job {number}, which was not cancelled, ended in {execution!r}"
        for execution in done[len(tasks) :]:
            assert isinstance(execution, asyncio.CancelledError), f"a job that was cancelled ended in {execution!r}"


async def cancelling_ends_a_job(new: SandboxFactory) -> None:
    """Cancelling a job kills its processes and frees its slot for the next job."""
    async with _open(new) as sandbox:
        await asyncio.gather(*(_script(sandbox, "pass") for _ in range(sandbox.slots)))
        before = processes()
        running = [asyncio.ensure_future(sandbox.run(_FOR_EVER, _LONG)) for _ in range(sandbox.slots)]
        await asyncio.sleep(0.3)
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError), f"a cancelled job ended in {outcome!r}"
        execution = await asyncio.wait_for(_script(sandbox, "print('next')"), _PATIENCE)
        assert execution.stdout == b"next\n", f"the next job after a cancelled one: {_told(execution.program)}"
        await _until(lambda: len(processes()) <= len(before), "the processes of a cancelled job go on")


async def closing_leaves_no_process(new: SandboxFactory) -> None:
    """After `close`, whether idle, running or starting, no process is left, and the sandbox can be started again."""
    before = processes()
    sandbox = new()
    for seconds in (0.0, 0.02, 0.05, 0.1, 0.5):
        jobs = [asyncio.ensure_future(sandbox.run(_FOR_EVER, _LONG)) for _ in range(sandbox.slots + 1)]
        await asyncio.sleep(seconds)
        await sandbox.close()
        for job in jobs[1:]:
            job.cancel()
        ended = await asyncio.wait_for(asyncio.gather(*jobs, return_exceptions=True), _PATIENCE)
        assert all(isinstance(one, BaseException) for one in ended), f"after close a job ended in {ended!r}"
        await sandbox.close()
        await _until(lambda: processes() <= before, f"closed after {seconds} s, but processes are left")
    async with _open(lambda: sandbox):
        again = await _script(sandbox, "print('again')")
        assert again.stdout == b"again\n", f"started again: {_told(again.program)}"
    assert processes() <= before, "closed when idle, but processes are left"


async def a_job_that_is_closed_is_an_error(new: SandboxFactory) -> None:
    """Closing ends a running job at once with a SandboxError, which says nothing about the program."""
    async with _open(new) as sandbox:
        job = asyncio.ensure_future(sandbox.run(_FOR_EVER, _LONG))
        await asyncio.sleep(0.3)
        await sandbox.close()
        (ended,) = await asyncio.wait_for(asyncio.gather(job, return_exceptions=True), _PATIENCE)
        assert isinstance(ended, SandboxError), f"a job that was closed ended in {ended!r}"


async def starting_says_how_well_it_confines(new: SandboxFactory) -> None:
    """`start` returns the tier, always the same, and `facts` contains it; a job starts the sandbox if needed."""
    async with _open(new) as sandbox:
        tiers = set(await asyncio.gather(*(sandbox.start() for _ in range(3))))
        assert len(tiers) == 1, f"start() returned several tiers: {tiers}"
        facts = sandbox.facts()
        missing = {"name", "tier", "layers"} - set(facts)
        assert not missing, f"facts() lacks {', '.join(sorted(missing))}"
        assert Tier(facts["tier"]) in tiers, f"facts() has tier {facts['tier']}, start() returned {tiers}"
    sandbox = new()
    try:
        executions = await asyncio.gather(*(_script(sandbox, "print(1)") for _ in range(3 * sandbox.slots)))
        assert {one.stdout for one in executions} == {b"1\n"}, "a job does not start the sandbox"
    finally:
        await sandbox.close()


async def values_cross(new: SandboxFactory) -> None:
    """Arguments and results arrive unchanged, with their exact types."""
    kinds: list[Value] = [None, True, 7, -(10**40), 2.5, 1j, "ä\ud800", b"\xff", [1, [2]], (1, (2,)), {3}]
    kinds += [frozenset({4}), {1: "a", (2,): None}]
    async with _open(new) as sandbox:
        source = "def f(*x):\n    print('noise')\n    return [repr(x), list(x)]"
        execution = await _called(sandbox, source, *kinds)
        assert fault(execution, STANDARD) is None, f"{_told(execution.program)} {execution.stderr[-300:]!r}"
        assert decode(execution.reply) == [repr(tuple(kinds)), kinds], f"it came back as {execution.reply[:300]!r}"
        method = await _called(sandbox, "class Solution:\n    def f(self, x):\n        return x + 4", 3)
        assert decode(method.reply) == 7, f"a method of Solution returned {method.reply!r}"


async def calls_that_fail_have_no_value(new: SandboxFactory) -> None:
    """A function that raises or is missing is a fault; one whose result is not a built-in value is a wrong answer."""
    async with _open(new) as sandbox:
        for source in ("def f(x):\n    1 / 0", "def g(x):\n    return 7", "def f():\n    return 7", "1 / 0"):
            execution = await _called(sandbox, source, 3)
            assert fault(execution, STANDARD) is Verdict.RUNTIME_ERROR, (
                f"{source!r} is reported as {_told(execution.program)}"
            )
            assert not execution.reply, f"{source!r} has a value: {execution.reply!r}"
        early = await _called(sandbox, "import os\ndef f(x):\n    os._exit(0)", 3)
        assert not early.reply, f"a call that never ended has a value: {early.reply!r}"
        for result in ("object()", "type('A', (int,), {})(7)", "(x for x in ())", "[f]", "1 << 10**7"):
            execution = await _called(sandbox, f"def f(x):\n    return {result}", 3)
            assert fault(execution, STANDARD) is Verdict.WRONG_ANSWER, (
                f"{result} is reported as {_told(execution.program)}"
            )


async def exams_decide(new: SandboxFactory) -> None:
    """An exam passes if no assertion fails: with values, exceptions and changed arguments, all from one process."""
    program = (
        "calls = []\ndef f(x, *, y=0):\n    calls.append(x)\n    if x == 'raise':\n"
        "        raise ValueError('of its own')\n"
        "    if isinstance(x, list):\n        x.append(1)\n    return (len(calls), y)"
    )
    exam = (
        "assert f(3) == (1, 0)\nassert f(3, y=(1,)) == (2, (1,))\nx = [0]\nassert f(x)[0] == 3 and x == [0, 1]\n"
        "try:\n    f('raise')\nexcept ValueError as error:\n    assert 'of its own' in str(error)\nelse:\n"
        "    assert False\n"
    )
    async with _open(new) as sandbox:
        await _examined(sandbox, program, exam, passes=True)
        await _examined(sandbox, program, "assert f(3) == (2, 0)", passes=False)
        await _examined(sandbox, program, "assert True", passes=False)
        await _examined(sandbox, program, "assert f(3)\nthis is no exam", passes=False)
        await _examined(sandbox, "def f(x):\n    return object()", "assert f(3)", passes=False)
        await _examined(sandbox, "import os\ndef f(x):\n    os._exit(0)", "f(3)\nf(3)", passes=False)
        await _examined(sandbox, "import sys\nsys.exit(0)", "f(3)", passes=False)
        await _examined(sandbox, "def f(x):\n    raise SystemExit(0)", "f(3)\nassert False", passes=False)
        waiting = await _exam(sandbox, f"{_FOR_EVER.source}\n", "f(3)", replace(STANDARD, cpu=0.25))
        assert fault(waiting, STANDARD) is Verdict.TIME_LIMIT, f"it never answered: {_told(waiting.program)}"


SandboxCheck = Callable[[SandboxFactory], Awaitable[None]]
SANDBOX_CHECKS: dict[type[Job], tuple[SandboxCheck, ...]] = {
    Script: (
        exit_codes_are_told,
        signals_are_told,
        bytes_are_exact,
        seconds_are_counted,
        time_is_limited,
        memory_is_limited,
        output_is_limited,
        programs_begin_afresh,
        the_environment_is_not_the_parents,
        slots_run_at_once_and_no_more,
        everyone_gets_their_own,
        cancelling_ends_a_job,
        closing_leaves_no_process,
        a_job_that_is_closed_is_an_error,
        starting_says_how_well_it_confines,
    ),
    FunctionCall: (values_cross, calls_that_fail_have_no_value),
    Exam: (exams_decide,),
}
"""Kind of job -> the checks that run it."""


def sandbox_checks(new: SandboxFactory) -> list[SandboxCheck]:
    """The checks that apply to the kinds of jobs that a sandbox can run."""
    return [check for kind in new().kinds for check in SANDBOX_CHECKS[kind]]


def processes() -> set[int]:
    """All descendants of this process; empty where there is no /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parents[int(entry.name)] = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    found: set[int] = set()
    newer = {os.getpid()}
    while newer:
        newer = {child for child, parent in parents.items() if parent in newer}
        found |= newer
    return found


@asynccontextmanager
async def _open(new: SandboxFactory) -> AsyncIterator[Sandbox]:
    sandbox = new()
    try:
        await sandbox.start()
        yield sandbox
    finally:
        await sandbox.close()


async def _script(sandbox: Sandbox, source: str, allowance: Allowance = STANDARD) -> Execution:
    return await sandbox.run(Script(source=source), allowance)


async def _called(sandbox: Sandbox, source: str, *arguments: Value) -> Execution:
    return await sandbox.run(FunctionCall(source=source, function="f", arguments=arguments), STANDARD)


async def _exam(sandbox: Sandbox, source: str, exam: str, allowance: Allowance = STANDARD) -> Execution:
    return await sandbox.run(Exam(source=source, function="f", exam=exam), allowance)


async def _examined(sandbox: Sandbox, source: str, exam: str, *, passes: bool) -> None:
    """The examiner's exit code is 0, and the program has no fault, if and only if the exam was passed."""
    execution = await _exam(sandbox, source, exam)
    examiner = execution.examiner
    assert examiner is not None, "an exam reports no examiner"
    passed = fault(execution, STANDARD) is None and examiner.exit_code == 0
    told = f"program {_told(execution.program)}, examiner {_told(examiner)}, {execution.stderr[-300:]!r}"
    assert passed == passes, f"{exam!r} of {source!r} {'passed' if passed else 'did not pass'}: {told}"


@contextmanager
def _planted_variable() -> Iterator[None]:
    os.environ["COUNTERPOINT_CONFORMANCE"] = _SECRET
    try:
        yield
    finally:
        del os.environ["COUNTERPOINT_CONFORMANCE"]


async def _until(holds: Callable[[], bool], otherwise: str) -> None:
    """Wait until the condition holds. Raises AssertionError with `otherwise` if it does not in time."""
    deadline = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < deadline, otherwise
        await asyncio.sleep(0.02)


def _told(ending: Ending) -> str:
    how = f"signal {ending.signal}" if ending.exit_code is None else f"exit code {ending.exit_code}"
    late = ", out of time" if ending.out_of_time else ""
    return f"{how}{late}, {ending.cpu:.2f} s of CPU, {ending.wall:.2f} s"
