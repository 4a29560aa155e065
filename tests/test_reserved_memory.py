"""A memory limit is one of what a program uses, not of what it reserves."""

import asyncio
import json
import subprocess
import sys

import pytest

from counterpoint.sandboxes.base import MEBIBYTE, Allowance, Ending, Execution, Script, Verdict, fault
from counterpoint.sandboxes.fork_server import fork_server
from counterpoint.sandboxes.inside import shipped

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined by what Linux has"),
    pytest.mark.filterwarnings("ignore:only .* confine:UserWarning"),
]

LIMIT = Allowance(memory=64)
DEEP = "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size({size})\n"
DEEP += "def f(n):\n    return 7 if n == 0 else f(n - 1)\n"
DEEP += "one = threading.Thread(target=lambda: print(f(10**5)))\none.start()\none.join()"
MAP = "import mmap\nx = mmap.mmap(-1, {size} << 20, flags={flags})\n"
WRITE = "for at in range(0, len(x), 4096):\n    x[at] = 1\n"
FITS = [
    *(DEEP.format(size=size) for size in ("2**26", "2**27", "2**28", "2**29", "10**8", "512 * 1024 * 1024")),
    MAP.format(size=900, flags="mmap.MAP_SHARED") + "print(7)",
    MAP.format(size=900, flags="mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS") + "x[5] = 1\nprint(7)",
    MAP.format(size=40, flags="mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS") + WRITE + "print(7)",
    "x = b'x' * (48 << 20)\nprint(7)",
    "for _ in range(5):\n    x = b'x' * (40 << 20)\n    del x\nprint(7)",
    "x = list(range(5 * 10**5))\nprint(7)",
    "import threading\nthreading.stack_size(2**25)\n"
    "all = [threading.Thread(target=len, args=('',)) for _ in range(8)]\n"
    "for one in all:\n    one.start()\nfor one in all:\n    one.join()\nprint(7)",
    "import numpy\nx = numpy.zeros(10**8)\nprint(int(x[9]) + 7)",
    "import numpy as np\nprint(int(np.ones((500, 500)).sum()) // 250_000 + 6)",
]
EXCEEDS = [
    "x = b'x' * (90 << 20)\nprint(7)",
    "x = b'x' * (90 << 20)\ndel x\nprint(7)",
    "x = bytearray(120 << 20)\nprint(7)",
    "x = []\nwhile True:\n    x.append(bytearray(2**20))",
    "x = [0]\nwhile True:\n    x += x",
    "x = 'a'\nwhile True:\n    x += x",
    "x = {}\nwhile True:\n    x[len(x)] = [0] * 100",
    "import os\nx = b'x' * (90 << 20)\nprint(7, flush=True)\nos._exit(0)",
    MAP.format(size=120, flags="mmap.MAP_SHARED") + WRITE + "print(7)",
    MAP.format(size=120, flags="mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS") + WRITE + "print(7)",
    DEEP.format(size="2**29")
    .replace("10**6", "10**9")
    .replace("f(10**5)", "f(10**9)")
    .replace("f(n - 1)", "max(0, f(n - 1))"),
    "import threading\ndef grow():\n    x = []\n    while True:\n        x.append(b'x' * 2**20)\n"
    "for _ in range(4):\n    threading.Thread(target=grow).start()",
    "import resource\nresource.setrlimit(resource.RLIMIT_AS, (resource.getrlimit(resource.RLIMIT_AS)[1],) * 2)\n"
    "x = b'x' * (90 << 20)\nprint(7)",
    "x = bytearray(2 << 30)\nprint(7)",
    "x = bytearray(10 << 30)\nprint(7)",
]


def test_memory_that_is_only_reserved_does_not_count_and_what_is_used_does():
    async def run_all():
        sandbox = fork_server(slots=2, require="C")
        try:
            return await asyncio.gather(*(sandbox.run(Script(source=one), LIMIT) for one in (*FITS, *EXCEEDS)))
        finally:
            await sandbox.close()

    ended = asyncio.run(run_all())
    told = [(fault(one, LIMIT), one.stdout, one.stderr[-200:]) for one in ended]
    assert told[: len(FITS)] == [(None, b"7\n", b"")] * len(FITS)
    assert [verdict for verdict, _, _ in told[len(FITS) :]] == [Verdict.MEMORY_LIMIT] * len(EXCEEDS)


def test_what_was_seen_counts_where_the_kernels_maximum_is_below_it():
    """As in a program that grows in several threads: it was so of 4 in 160 on a busy machine."""
    growing = EXCEEDS[11]

    async def run_all():
        sandbox = fork_server(slots=4, require="C")
        try:
            return await asyncio.gather(*(sandbox.run(Script(source=growing), LIMIT) for _ in range(120)))
        finally:
            await sandbox.close()

    assert {fault(one, LIMIT) for one in asyncio.run(run_all())} == {Verdict.MEMORY_LIMIT}


def test_too_much_memory_is_a_fault_however_the_program_ended():
    for exit_code, signal in ((0, None), (None, 9), (1, None), (113, None)):
        ending = Ending(
            exit_code=exit_code,
            signal=signal,
            out_of_time=False,
            dismissed=False,
            cpu=0.1,
            wall=0.1,
            out_of_memory=True,
        )
        assert fault(Execution(program=ending), LIMIT) is Verdict.MEMORY_LIMIT
        assert fault(Execution(program=ending, output_exceeded=True), LIMIT) is Verdict.MEMORY_LIMIT


_BLIND = """import json, sys
from counterpoint.sandboxes.inside import shipped
shipped.memory.exceeded = lambda usage, limit: False
shipped.main(json.loads(sys.argv[1]))
"""


def test_what_was_seen_counts_on_another_machine_too():
    source = f"import time\nx = b'x' * {200 * MEBIBYTE}\ntime.sleep(60)"
    limits = {"cpu": 6.0, "wall": 60.0, "memory": 100 * MEBIBYTE, "output": MEBIBYTE}
    job = json.dumps({"source": source, "function": "", "stdin": "", **limits})
    # In an interpreter of its own, as there: what this one has reserved would be usable too.
    ran = subprocess.run([sys.executable, "-c", _BLIND, job], capture_output=True, text=True, timeout=90, check=True)
    facts = json.loads(ran.stdout.partition(shipped.MARK)[2])
    assert fault(Execution(program=Ending(**facts["ending"])), LIMIT) is Verdict.MEMORY_LIMIT
