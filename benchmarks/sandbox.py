"""What judging a program costs in the sandbox, compared with one plain subprocess per test, which confines nothing.

    python benchmarks/sandbox.py --repeats 5 --out sandbox.json

Prints a table and writes it as JSON. A scenario is 16 problems of 10 tests (the last: 8 of 5), judged at once: seconds,
and as a ratio to the same verdicts from subprocesses, as many at once as there are slots, that also stop at the first
failure. Everything of a row is measured in turn within one run.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter

from rich import box
from rich.console import Console
from rich.table import Table

from counterpoint.judges.programs.grader import Grader
from counterpoint.judges.programs.suite import CallSuite, StdinSuite, Suite
from counterpoint.options import Spec
from counterpoint.sandboxes import build_sandbox
from counterpoint.sandboxes.base import STANDARD, Script, Verdict

RIGHT = "a, b = map(int, input().split())\nprint(a + b)\n"
WRONG = "a, b = map(int, input().split())\nprint(a - b - 1)\n"
SLOW = "import time\ntime.sleep(0.5)\n" + RIGHT
FUNCTION = "def f(a, b):\n    return a {} b\n"
PYTHON = [sys.executable, "-I", "-S", "-c"]
SINGLE = 100
MANY = 600

Work = list[tuple[str, Suite]]
"""Programs and the tests they are put to."""


def sums(count: int) -> StdinSuite:
    return StdinSuite(tests=tuple((f"{n} {n + 1}\n", f"{2 * n + 1}\n") for n in range(count)))


def calls(count: int) -> CallSuite:
    return CallSuite(function="f", tests=tuple(((n, n + 1), 2 * n + 1) for n in range(count)))


SCENARIOS: dict[str, Work] = {
    "4 right, 12 wrong": [(RIGHT, sums(10))] * 4 + [(WRONG, sums(10))] * 12,
    "functions, 4 right, 12 wrong": [(FUNCTION.format("+"), calls(10))] * 4 + [(FUNCTION.format("-"), calls(10))] * 12,
    "all right": [(RIGHT, sums(10))] * 16,
    "all wrong": [(WRONG, sums(10))] * 16,
    "2 slow and right, 6 wrong": [(SLOW, sums(5))] * 2 + [(WRONG, sums(5))] * 6,
}


async def judge(grader: Grader, work: Work) -> list[bool]:
    judged = await asyncio.gather(*(grader.grade(program, suite) for program, suite in work))
    return [one.verdict is Verdict.ACCEPTED for one in judged]


async def by_subprocess(program: str, suite: Suite, turns: asyncio.Semaphore) -> bool:
    """Right on every test, by a fresh interpreter each; the first failure ends it."""
    if isinstance(suite, CallSuite):
        tests = [(f"{program}\nprint(f(*{given!r}))", "", str(value)) for given, value in suite.tests]
    else:
        assert isinstance(suite, StdinSuite)
        tests = [(program, given, right) for given, right in suite.tests]
    for text, given, right in tests:
        async with turns:
            process = await asyncio.create_subprocess_exec(
                *PYTHON, text, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            out, _ = await process.communicate(given.encode())
        if out.decode().split() != right.split():
            return False
    return True


async def plainly(work: Work, slots: int) -> list[bool]:
    turns = asyncio.Semaphore(slots)
    return list(await asyncio.gather(*(by_subprocess(program, suite, turns) for program, suite in work)))


async def seconds(run: Callable[[], Awaitable[object]]) -> float:
    began = perf_counter()
    await run()
    return perf_counter() - began


async def measure(repeats: int, slots: int) -> dict[str, dict[str, list[float]]]:
    """Row -> kind -> a figure a repeat."""
    sandbox = build_sandbox(Spec(name="fork_server", slots=slots))
    grader = Grader(sandbox)
    job = Script(source=RIGHT, stdin=b"1 2\n")
    figures: dict[str, dict[str, list[float]]] = {}

    def note(row: str, kind: str, value: float) -> None:
        figures.setdefault(row, {}).setdefault(kind, []).append(value)

    async def one_by_one() -> None:
        for _ in range(SINGLE):
            await sandbox.run(job, STANDARD)

    async def one_by_one_plainly() -> None:
        for _ in range(SINGLE):
            await plainly([(RIGHT, sums(1))], 1)

    async def at_once() -> None:
        await asyncio.gather(*(sandbox.run(job, STANDARD) for _ in range(MANY)))

    async with grader:
        await at_once()
        for _ in range(repeats):
            note("one test at a time, ms", "sandbox", 1000 * await seconds(one_by_one) / SINGLE)
            note("one test at a time, ms", "subprocess", 1000 * await seconds(one_by_one_plainly) / SINGLE)
            note("a test, many at once, ms", "sandbox", 1000 * await seconds(at_once) / MANY)
            many = [(RIGHT, sums(1))] * (MANY // 4)
            plain = await seconds(lambda many=many: plainly(many, sandbox.slots))  # type: ignore[misc]
            note("a test, many at once, ms", "subprocess", 1000 * plain / len(many))
            for name, work in SCENARIOS.items():
                expected = ["+" in program or "a + b" in program for program, _ in work]
                for kind, run in {"sandbox": judge(grader, work), "subprocess": plainly(work, sandbox.slots)}.items():
                    began = perf_counter()
                    found = await run
                    note(f"{name}, s", kind, perf_counter() - began)
                    if found != expected:
                        raise SystemExit(f"{name}: {kind} gave other verdicts: {found}")
    return figures


def table(figures: dict[str, dict[str, list[float]]]) -> Table:
    shown = Table(
        title="medians, with the lowest and highest", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column in ("", "sandbox", "subprocess", "subprocess / sandbox"):
        shown.add_column(column, justify="left" if column == "" else "right", no_wrap=True)
    for row, kinds in figures.items():
        ours, plain = kinds["sandbox"], kinds["subprocess"]
        shown.add_row(row, spread(ours), spread(plain), f"{median(plain) / median(ours):.1f}")
    return shown


def spread(values: list[float]) -> str:
    return f"{median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slots", type=int, default=0, help="0: as many as cores")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    figures = asyncio.run(measure(arguments.repeats, arguments.slots))
    Console(highlight=False, width=110).print(table(figures))
    machine = {"cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "python": platform.python_version()}
    if arguments.out is not None:
        arguments.out.write_text(
            json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
