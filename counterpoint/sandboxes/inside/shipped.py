"""Run one job in an interpreter that a remote server started, and print the facts about it.

The server is responsible for confinement; this module sets limits and separate files, and reports the same facts as a
fork server. A program that forges the facts gains nothing: they contain its answer, but not whether it is correct.
"""

import base64
import fcntl
import json
import os
import resource
import select
import signal
import sys
import time
import zlib
from typing import Any

from . import memory, program
from .clock import cpu_seconds
from .exits import NOT_CONFINED

MARK = "the facts: "
"""The beginning of the last line printed."""
_TICK = 0.02


def main(job: dict[str, Any]) -> None:
    """Run the job in a child and print how it ended and what it wrote."""
    files = [os.memfd_create("job") for _ in range(4)]
    os.write(files[0], base64.b64decode(job["stdin"]))
    os.lseek(files[0], 0, os.SEEK_SET)
    began = time.monotonic()
    usable = memory.address_space() + job["memory"]
    child = os.fork()
    if child == 0:
        try:
            _run(job, files, usable)
        finally:
            os._exit(NOT_CONFINED)
    end = _wait(child, job["cpu"], job["wall"], usable)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    facts = {
        "ending": {
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "out_of_time": end == "late",
            "out_of_memory": end == "full" or memory.exceeded(usage, usable),
            "dismissed": False,
            "cpu": usage.ru_utime + usage.ru_stime,
            "wall": time.monotonic() - began,
        },
        "files": [_packed(file, job["output"]) for file in files[1:]],
        "exceeded": any(os.fstat(file).st_size >= job["output"] for file in files[1:]),
    }
    sys.stdout.write(f"\n{MARK}{json.dumps(facts)}\n")


def _run(job: dict[str, Any], files: list[int], usable: int) -> None:
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, 100) for file in files]
    for number, file in enumerate(high):
        os.dup2(file, number)
    os.closerange(len(files), 200)
    seconds = -int(-job["cpu"] // 1) + 1
    addressable = memory.addressable(usable)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (addressable, addressable))
    resource.setrlimit(resource.RLIMIT_FSIZE, (job["output"], job["output"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.set_int_max_str_digits(0)
    program.add_exit_names()
    program.open_streams()
    if job["function"]:
        program.function_call(job["source"], job["function"], program.prelude())
    program.script(job["source"])


def _wait(child: int, cpu: float, wall: float, usable: int) -> str:
    """Wait for the child to end, or kill it: "full" when it was seen with too much memory, "late" when time is over.

    The kernel's own maximum, of a child that is killed in the middle of growing, can be below what was seen.
    """
    handle = os.pidfd_open(child)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + wall
    left, end = min(cpu, wall), ""
    while not end and not poll.poll(max(1, 1000 * min(left, _TICK))):
        left = min(cpu - cpu_seconds(child), deadline - time.monotonic())
        end = "full" if memory.resident(child) > usable else "late" if left <= 0.0 else ""
    os.close(handle)
    if end:
        os.kill(child, signal.SIGKILL)
    return end


def _packed(file: int, limit: int) -> str:
    return base64.b64encode(zlib.compress(os.pread(file, limit, 0), 1)).decode()
