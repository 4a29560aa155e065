"""Nothing that a program does decides about it, harms anything, or stays; and right programs are right."""

import asyncio
import contextlib
import gc
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile
import pytest
from hostile import CALL, EXAM, FAIR, FORBIDDEN, HIDDEN, HOSTILE, STDIN, SWEEP, Program
from sandbox_host import World, adopt_orphans, children, descendants, fault, judge_all

from counterpoint.errors import SandboxError
from counterpoint.judges.programs.grader import Grader
from counterpoint.judges.programs.suite import AssertSuite, CallSuite, StdinSuite
from counterpoint.sandboxes.base import STANDARD, Allowance, Exam, FunctionCall, Script, Verdict
from counterpoint.sandboxes.fork_server import fork_server
from counterpoint.sandboxes.inside.codec import CodecError, decode
from counterpoint.testing.sandbox_conformance import sandbox_checks

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined by what Linux has"),
    pytest.mark.filterwarnings("ignore:programs of a model are confined:UserWarning"),
]

LONG = Allowance(cpu=300.0)
SLEEP = Script(source="import time\ntime.sleep(10**6)")


@pytest.fixture(scope="module")
def judged():
    """What became of every program, and of the world around them."""

    async def run(world):
        sandbox = fork_server(slots=4, require="C")
        try:
            tier = await sandbox.start()
            return tier, await judge_all(sandbox, (*HOSTILE, *FAIR), world)
        finally:
            await sandbox.close()

    with World() as world, _orphans():
        before = children()
        tier, outcomes = asyncio.run(run(world))
        return tier, outcomes, world.damage() + [f"process {pid} survived" for pid in _survivors(before)]


@pytest.mark.parametrize("program", HOSTILE, ids=lambda program: program.name)
def test_a_hostile_program_gets_what_it_deserves(judged, program):
    _check(judged, program)


@pytest.mark.parametrize("program", FAIR, ids=lambda program: program.name)
def test_a_fair_program_passes(judged, program):
    _check(judged, program)


def test_hostile_programs_leave_the_world_as_it_was(judged):
    assert judged[2] == []


def test_the_programs_are_those_of_the_notes_and_more():
    assert {program.number for program in HOSTILE} == set(range(51))
    assert sum(program.number == 0 for program in HOSTILE) >= 25
    names = Counter(program.name for program in (*HOSTILE, *FAIR))
    assert [name for name, count in names.items() if count > 1] == []


def test_hostile_programs_would_succeed_if_nothing_confined_them():
    """Else their failure would say nothing about the sandbox."""
    mine = {"anyone", "root"} if os.geteuid() == 0 else {"anyone"}
    programs = [program for program in HOSTILE if program.outside in mine]
    with ThreadPoolExecutor(4) as pool:
        said = dict(zip(programs, pool.map(_unconfined, programs), strict=True))
    # Side by side some get in each other's way: what failed is tried again alone.
    failed = {one: _unconfined(one) for one, text in said.items() if text.split() != ["7"]}
    assert {one.name: text for one, text in failed.items() if text.split() != ["7"]} == {}


def _unconfined(program: Program) -> str:
    """What it prints in a process like any other, in a world of its own; its error if it prints nothing."""
    with World(prey="$PREY" in program.source) as world:
        process = subprocess.run(
            [sys.executable, "-E", "-s", "-P", "-c", world.source(program)],
            input=program.suite.tests[0][0],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            cwd=world.room / "open",
        )
    return process.stdout or process.stderr[-500:]


@pytest.mark.parametrize("check", sandbox_checks(fork_server), ids=lambda check: check.__name__)
def test_the_fork_server_keeps_its_promises(check):
    asyncio.run(asyncio.wait_for(check(lambda: fork_server(slots=2, require="C")), 120))


def test_eight_at_once_have_their_seconds_of_cpu():
    """A program that takes half of what it may is not late because others are at work."""
    source = "import time\nwhile time.process_time() < 1.0:\n    pass\nprint(7)"
    suite = StdinSuite(tests=STDIN.tests, allowance=Allowance(cpu=2.0))

    async def run(sandbox):
        grader = Grader(sandbox)
        return await asyncio.gather(*(grader.grade(f"{source}\n# {number}", suite) for number in range(8)))

    found = _in(run, slots=8)
    assert [judgement.verdict for judgement in found] == [Verdict.ACCEPTED] * 8, found


def test_no_forbidden_system_call_gets_through():
    """Each ends in EPERM, ENOSYS or SIGSYS, with arguments that would otherwise make it fail in another way."""
    if platform.machine() != "x86_64":
        pytest.skip("the numbers are those of x86-64")
    calls = dict(row.split(":") for row in FORBIDDEN.split())

    async def run(sandbox):
        jobs = [sandbox.run(Script(source=SWEEP, stdin=number.encode()), STANDARD) for number in calls.values()]
        return await asyncio.gather(*jobs)

    through = {
        name: (execution.program.signal, execution.stdout, execution.stderr[-200:])
        for name, execution in zip(calls, _in(run), strict=True)
        if execution.program.signal != signal.SIGSYS and execution.stdout not in (b"-1\n", b"-38\n")
    }
    assert through == {}


def test_a_spoiled_interpreter_is_not_the_next_programs():
    """The same slot, one program after another."""
    spoiler = next(program for program in HOSTILE if program.name == "breaks_the_builtins")

    async def run(sandbox):
        grader = Grader(sandbox)
        verdicts = []
        for source in (spoiler.source, "import json, math\nprint(int(math.sqrt(json.loads('49'))))") * 2:
            verdicts.append((await grader.grade(source, STDIN)).verdict)
        return verdicts

    verdicts = _in(run, slots=1)
    assert verdicts[1::2] == [Verdict.ACCEPTED] * 2
    assert set(verdicts[::2]) <= spoiler.verdicts


def test_a_program_finds_nothing_of_the_one_before_it():
    """Not its text, its input, its arguments or its result, in the memory of the same slot."""
    seeker = next(program for program in HOSTILE if program.name == "looks_for_the_answer").source
    told = f"told = {HIDDEN!r}\n"

    async def run(sandbox):
        found = []
        for job in (
            Script(source=f"{told}data = input()\nprint(data)", stdin=HIDDEN.encode()),
            FunctionCall(source=f"{told}def f(x):\n    return x", function="f", arguments=(HIDDEN,)),
            Exam(source=f"{told}def f(x):\n    return x", function="f", exam=f"assert f({HIDDEN!r}) == {HIDDEN!r}"),
        ):
            await sandbox.run(job, STANDARD)
            found.append((await sandbox.run(Script(source=seeker), STANDARD)).stdout)
        return found

    assert _in(run, slots=1) == [b"None\n"] * 3


def test_programs_that_run_together_do_not_find_each_other():
    """Neither through /proc nor by signals, whichever is first."""
    with World() as world:
        names = ("opens_the_files_of_others", "scans_all_environments", "signals_the_examiner")
        nosy = [world.source(program) for program in HOSTILE if program.name in names[:2]]
        nosy.append(
            "import os\nfound = 0\nfor step in range(-60, 60):\n    try:\n"
            "        step and os.kill(os.getpid() + step, 0)\n"
            "        found += step != 0\n    except OSError:\n        pass\nprint(7 if found else 0)"
        )

        async def run(sandbox):
            sleeper = [asyncio.ensure_future(sandbox.run(SLEEP, LONG)) for _ in range(3)]
            await asyncio.sleep(0.3)
            found = [(await sandbox.run(Script(source=source), STANDARD)).stdout for source in nosy]
            alive = [not task.done() for task in sleeper]
            for task in sleeper:
                task.cancel()
            await asyncio.gather(*sleeper, return_exceptions=True)
            return found, alive

        assert _in(run, slots=4) == ([b"0\n"] * 3, [True] * 3)


@pytest.mark.parametrize("count", [*range(198, 203), 264, 268, 330, 700])
def test_no_descriptor_of_a_parent_with_many_reaches_a_program(count):
    """Wherever in the parent's numbers those of the sandbox come to lie."""
    source = (
        "import os\nfor fd in range(3, 3000):\n    try:\n        os.fstat(fd)\n        os.write(1, b'%d ' % fd)\n"
        "    except OSError:\n        pass"
    )
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < count + 100:
        pytest.skip(f"this process may not have {count + 100} open files")
    with contextlib.ExitStack() as stack:
        while (opened := os.open("/dev/null", os.O_RDONLY)) < count:
            stack.callback(os.close, opened)
        os.close(opened)

        async def run(sandbox):
            exam = Exam(source=f"def f(x):\n    pass\n{source}", function="f", exam="f(1)")
            return [(await sandbox.run(job, STANDARD)).stdout for job in (Script(source=source), exam)]

        script, exam = _in(run, slots=1)
    assert (script, exam) == (b"", b"3 ")


def test_no_result_costs_the_parent_much():
    """To read what a program says is a result takes no longer than some times an honest one that is as large."""
    honest = b"[" + b",".join(b"%d" % number for number in range(400_000)) + b"]"
    allowed = 30 * _seconds_to_decode(honest)
    parts = {"lists": b"[],", "numbers": b"7,", "tuples": b'{"tuple":[]},', "complex numbers": b'{"complex":[0,0]},'}
    results = {name: b"[" + part * (len(honest) // len(part)) + b"7]" for name, part in parts.items()}
    names = ("a_plain_long_int", "a_long_float", "a_too_long_int", "deep_tags", "a_deep_list")
    results |= {name: eval(hostile.REPLIES[name]) for name in names}
    crowd = [(2**61 - 1) * (number + 1) for number in range(40_000)]
    for kind, form in (("set", "%d"), ("frozenset", '{"int":"%x"}'), ("dict", "[%d,0]"), ("set", '{"tuple":[%d]}')):
        results[f"{kind} of {form}"] = (f'{{"{kind}":[' + ",".join(form % one for one in crowd) + "]}").encode()
    took = {name: _seconds_to_decode(data) for name, data in results.items()}
    assert {name: f"{seconds:.2f} s" for name, seconds in took.items() if seconds > allowed} == {}


def _seconds_to_decode(data: bytes) -> float:
    gc.collect()
    began = time.process_time()
    with contextlib.suppress(CodecError):
        decode(data)
    return time.process_time() - began


def test_many_jobs_leave_everything_where_it_was(tmp_path):
    _run_many(600)


@pytest.mark.slow
def test_ten_thousand_jobs_leave_everything_where_it_was():
    _run_many(10_000)


def _run_many(count: int) -> None:
    """Memory, descriptors, processes, threads, shared memory and files are as they were after the first jobs."""
    jobs = [
        Script(source="print(input())", stdin=b"7\n"),
        Script(source="1 / 0"),
        FunctionCall(source="def f(x):\n    return [x] * 100", function="f", arguments=(7,)),
        Exam(source="def f(x):\n    return x", function="f", exam="assert f(7) == 7"),
        Script(source="import os\nos.kill(os.getpid(), 9)"),
        Script(source="import ctypes\nctypes.string_at(0)"),
        Script(source="import threading\n[threading.Thread(target=input).start() for _ in range(9)]"),
        Script(source="print('x' * 10**6)"),
    ]

    async def run(sandbox):
        async def some(number):
            for start in range(0, number, 100):
                await asyncio.gather(*(sandbox.run(jobs[(start + at) % len(jobs)], STANDARD) for at in range(100)))

        await some(200)
        before = _use()
        await some(count)
        return before, _use()

    with World() as world:
        before, after = _in(run, slots=4)
        assert world.damage() == []
    grown = {name: (before[name], after[name]) for name in before if after[name] > before[name] + _SLACK.get(name, 0)}
    assert grown == {}


_SLACK = {"MiB here": 24, "MiB in servers": 24}
"""What the allocator may keep."""


def _use() -> dict[str, int]:
    """What this process and those it started use."""
    gc.collect()
    servers = descendants()
    return {
        "MiB here": _resident(os.getpid()),
        "MiB in servers": sum(map(_resident, servers)),
        "descriptors here": len(os.listdir("/proc/self/fd")),
        "descriptors in servers": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in servers),
        "processes": len(servers),
        "threads": len(os.listdir("/proc/self/task")),
        "shared files": len([one for one in os.listdir("/dev/shm") if "counterpoint" in one or "job" in one]),
    }


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() // 2**20


def test_a_server_that_is_killed_is_replaced():
    """Its job is run again or ends in a SandboxError, and the next jobs are served."""

    async def run(sandbox):
        await asyncio.gather(*(sandbox.run(Script(source="print(7)"), STANDARD) for _ in range(4)))
        outcomes = []
        for pause in (0.0, 0.02, 0.2):
            slow = Script(source="import time\ntime.sleep(0.5)\nprint(7)")
            running = [asyncio.ensure_future(sandbox.run(slow, STANDARD)) for _ in range(2)]
            await asyncio.sleep(pause)
            _kill(_servers())
            outcomes += await asyncio.gather(*running, return_exceptions=True)
            after = await asyncio.gather(*(sandbox.run(Script(source="print(8)"), STANDARD) for _ in range(6)))
            assert [one.stdout for one in after] == [b"8\n"] * 6
        return outcomes

    for outcome in _in(run, slots=2):
        assert isinstance(outcome, SandboxError) or (outcome.stdout, outcome.program.exit_code) == (b"7\n", 0), outcome


def test_a_server_that_is_always_killed_is_no_verdict():
    """A program is not judged where the sandbox fails, neither right nor wrong."""

    async def run(sandbox):
        await sandbox.start()

        async def kill():
            while True:
                _kill(_servers())
                await asyncio.sleep(0.01)

        killing = asyncio.ensure_future(kill())
        try:
            judging = Grader(sandbox).grade("import time\ntime.sleep(0.5)\nprint(7)", STDIN)
            return await asyncio.wait_for(judging, 60)
        finally:
            killing.cancel()

    judgement = _in(run, slots=1)
    assert judgement.verdict is Verdict.NOT_JUDGED
    assert judgement.score("").reward is None


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.15, 0.3])
def test_every_program_is_judged_or_not_when_the_sandbox_is_closed(pause):
    """Nobody waits for ever, also where it was just being started."""

    async def run(sandbox):
        grader = Grader(sandbox)
        judging = [
            asyncio.ensure_future(grader.grade(f"import time\ntime.sleep(0.2)\nprint(7) # {n}", STDIN))
            for n in range(5)
        ]
        await asyncio.sleep(pause)
        await grader.close()
        return await asyncio.wait_for(asyncio.gather(*judging), 30)

    verdicts = {judgement.verdict for judgement in _in(run)}
    assert verdicts <= {Verdict.ACCEPTED, Verdict.NOT_JUDGED}


def _servers() -> set[int]:
    """The fork servers, without what they run: a program that is killed from outside has ended by a signal."""
    found = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children()}
    return {pid for pid, command in found.items() if b"inside.server" in command}


def _kill(pids) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


PARENT = r'''
import asyncio
from counterpoint.sandboxes.base import Allowance, Exam, Script
from counterpoint.sandboxes.fork_server import fork_server
spin = """import threading
def f():
    while True:
        pass
for _ in range(3):
    threading.Thread(target=f).start()"""
async def main():
    sandbox = fork_server(slots=4, require="C")
    await sandbox.start()
    sleep = "import os, time\nos.close(1)\nwhile True:\n    time.sleep(100)"
    jobs = [Script(source=sleep), Script(source=spin), Exam(source=sleep, function="f", exam="f(1)")]
    jobs.append(Exam(source="def f(x):\n    return x", function="f", exam="f(1)\nimport time\ntime.sleep(100)"))
    running = [asyncio.ensure_future(sandbox.run(job, Allowance(cpu=300.0))) for job in jobs]
    print("ready", flush=True)
    await asyncio.gather(*running)
asyncio.run(main())
'''


def test_nothing_outlives_a_parent_that_is_killed():
    """At work, or while its servers and their children are being started."""
    generator = random.Random(0)
    with _orphans():
        before = children()
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
            assert process.stdout.readline() == b"ready\n"
            time.sleep(generator.uniform(0.0, 0.4))
            process.kill()
            process.wait()
            process.stdout.close()
            assert _survivors(before) == []


def _survivors(before: set[int]) -> list[str]:
    """The orphans that are still there after three seconds, by what they run; those that have ended are waited for."""
    deadline = time.monotonic() + 3.0
    while left := children() - before:
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            names = [f"{pid} {Path(f'/proc/{pid}/status').read_text()[:200]!r}" for pid in left]
            _kill(left)
            return names
        time.sleep(0.02)
    return []


@contextlib.contextmanager
def _orphans():
    """Processes whose parents end become children of this one for the time being."""
    adopt_orphans()
    try:
        yield
    finally:
        adopt_orphans(False)


ODD_PARENT = """
import asyncio, os, resource, signal, sys
from counterpoint.errors import SandboxError
from counterpoint.sandboxes.base import STANDARD, Exam, Script
from counterpoint.sandboxes.fork_server import fork_server
exec(sys.argv[1])
alarm = "from signal import *\\nsignal(SIGALRM, print)\\nsetitimer(ITIMER_REAL, 0.05)\\npause()"
jobs = [Script(source=alarm), Script(source="import numpy\\nprint(numpy.arange(8)[7])")]
jobs.append(Exam(source="def f(x):\\n    return x", function="f", exam="assert f(1) == 1"))
async def main():
    sandbox = fork_server(slots=2, require="C")
    try:
        done = await asyncio.gather(*(sandbox.run(job, STANDARD) for job in jobs))
        print([(one.examiner or one.program).exit_code for one in done], done[1].stdout)
    except SandboxError as error:
        print("SandboxError", error)
    finally:
        await sandbox.close()
asyncio.run(main())
"""


ODDITIES = (
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))",
    "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGALRM, signal.SIGPIPE, signal.SIGTERM)]",
    "os.umask(0o777)",
    "os.close(0)",
    "os.mkdir(folder := f'/tmp/{os.getpid()}'); os.chdir(folder); os.rmdir(folder)",
    "os.environ.update(dict.fromkeys(('LD_PRELOAD', 'PYTHONHOME', 'PYTHONPATH', 'PYTHONSTARTUP'), '/none'))",
    "resource.setrlimit(resource.RLIMIT_STACK, (2**20, 2**20))",
)
LIMITS = ("CPU, (5, 5)", "FSIZE, (10**6, 10**6)", "NOFILE, (128, 128)", "AS, (2**30, 2**30)")


def test_what_is_odd_about_the_parent_is_not_the_programs_fault():
    """Programs run as ever, or, where that cannot be, the sandbox says that it cannot."""
    limits = [f"resource.setrlimit(resource.RLIMIT_{limit})" for limit in LIMITS]
    with ThreadPoolExecutor(3) as pool:
        said = dict(zip((*ODDITIES, *limits), pool.map(_said_under, (*ODDITIES, *limits)), strict=True))
    well = "[0, 0, 0] b'7\\n'"
    wrong = {one: text for one, text in said.items() if text != well}
    assert {one: text for one, text in wrong.items() if one in ODDITIES or not text.startswith("SandboxError")} == {}


def _said_under(setting: str) -> str:
    command = [sys.executable, "-c", ODD_PARENT, setting]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return process.stdout.strip() or process.stderr[-500:]


def test_a_program_that_passes_some_tests_is_told_the_first_it_fails():
    suites = {
        "print(int(input()) ** 2)": StdinSuite(tests=(("2", "4"), ("3", "9"), ("4", "17"), ("5", "26"))),
        "def f(x):\n    return x * x": CallSuite(function="f", tests=(((2,), 4), ((3,), 9), ((4,), 17))),
        "def f(x):\n    return x + x - x": AssertSuite(
            function="f", exams=("f(1)", "assert f(2) == 2", "assert not f(1)")
        ),
    }

    async def run(sandbox):
        grader = Grader(sandbox)
        return await asyncio.gather(*(grader.grade(source, suite) for source, suite in suites.items()))

    for judgement in _in(run):
        assert (judgement.verdict, judgement.passed) == (Verdict.WRONG_ANSWER, 2)
        assert judgement.reason.startswith("test 3 of ")


def test_suites_of_this_file_judge_what_is_right():
    """The suites that hostile programs fail can be passed."""

    async def run(sandbox):
        grader = Grader(sandbox)
        right = {"print(7)": STDIN, "def f(x):\n    return 7": CALL, "def f(x):\n    return x + 4": EXAM}
        return [(await grader.grade(source, suite)).verdict for source, suite in right.items()]

    assert _in(run) == [Verdict.ACCEPTED] * 3


def _check(judged, program: Program) -> None:
    tier, outcomes, _ = judged
    if program.name not in outcomes:
        pytest.skip(f"there is no {program.needs}")
    wrong = fault(program, outcomes[program.name], tier)
    assert not wrong, textwrap.shorten(wrong, 1000)


def _in(run, *, slots: int = 2):
    """What `run` gives with a sandbox that is closed afterwards."""

    async def inside():
        sandbox = fork_server(slots=slots, require="C")
        try:
            return await run(sandbox)
        finally:
            await sandbox.close()

    return asyncio.run(inside())
