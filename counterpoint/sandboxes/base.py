"""The interface of a sandbox. It runs one job per slot at a time and reports facts; judges decide what is correct."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from counterpoint.sandboxes.inside.codec import Value
from counterpoint.sandboxes.inside.exits import BAD_VALUE, OUT_OF_MEMORY

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The limits of a process; beyond them it is stopped."""

    cpu: float = 6.0
    """Seconds of CPU time."""
    memory: int = 1024
    """MiB of memory beyond what the interpreter has before the program starts. Address space that is only reserved, as
    for large stacks, does not count up to 1 GiB."""
    output: int = 16
    """MiB of standard output; the same limit applies to standard error and to a result."""
    threads: int = 64
    """Threads at once; enforced only in tier A, where a process has its own user or namespaces."""

    @property
    def wall(self) -> float:
        """Seconds of wall time, not counting those in which the process was ready to run but no core was free."""
        return 2 * self.cpu + 1


STANDARD = Allowance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Run `source` as `__main__` with `stdin`; its result is its standard output."""

    source: str
    stdin: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """Run `source`, then call its `function` (or the method `function` of its class `Solution`) with `arguments`.

    Its result is the `reply`: the encoded return value.
    """

    source: str
    function: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """Run `source` in one process and `exam` in another, where `function` calls the program's function.

    `exam` is Python text with assertions; it sees nothing of the program except the values that come back. The exam is
    passed if the examiner exits with 0.
    """

    source: str
    function: str
    exam: str


Job = Script | FunctionCall | Exam


class Tier(StrEnum):
    """The strength of confinement, from A (strongest) to D."""

    A = "A"
    """Landlock, seccomp, limits, and a separate identity: another user, or user, process and network namespaces."""
    B = "B"
    """Landlock, seccomp and limits."""
    C = "C"
    """Seccomp and limits, and no file can be opened once a list of modules is loaded."""
    D = "D"
    """Less than that, or unknown."""

    def meets(self, required: "Tier") -> bool:
        return self.value <= required.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of a process, as the kernel reports it."""

    exit_code: int | None
    """None if a signal ended it."""
    signal: int | None
    out_of_time: bool
    """It was killed because it exceeded its CPU time or wall time."""
    dismissed: bool
    """It was still waiting or running when the other process of its exam ended."""
    cpu: float
    """Seconds."""
    wall: float
    """Seconds."""
    out_of_memory: bool = False
    """It used more memory than its limit; it was killed for that, unless it ended first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The results of a job, read after its processes ended. All bytes were written by the program and are untrusted."""

    program: Ending
    examiner: Ending | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    reply: bytes = b""
    output_exceeded: bool = False
    """It wrote at least as much as its limit."""


class Verdict(StrEnum):
    """The verdict on a program. The last two are not about the program itself."""

    ACCEPTED = "accepted"
    WRONG_ANSWER = "wrong_answer"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    NO_PROGRAM = "no_program"
    INVALID_TASK = "invalid_task"
    NOT_JUDGED = "not_judged"


def fault(execution: Execution, allowance: Allowance) -> Verdict | None:
    """The verdict on a program that failed regardless of its answer; None if it ended normally.

    Exit code 0 does not mean that the program is correct, only that its answer can be compared.
    """
    ending = execution.program
    if ending.out_of_time or ending.cpu >= allowance.cpu:
        return Verdict.TIME_LIMIT
    if ending.out_of_memory:
        return Verdict.MEMORY_LIMIT
    if execution.output_exceeded:
        return Verdict.OUTPUT_LIMIT
    if ending.dismissed:
        return None
    if ending.exit_code == OUT_OF_MEMORY:
        return Verdict.MEMORY_LIMIT
    if ending.exit_code == BAD_VALUE:
        return Verdict.WRONG_ANSWER
    return None if ending.exit_code == 0 else Verdict.RUNTIME_ERROR


@runtime_checkable
class Sandbox(Protocol):
    """Runs jobs. It starts with `start` or with its first job."""

    @property
    def slots(self) -> int:
        """The number of jobs that run at once; further jobs wait."""

    @property
    def kinds(self) -> tuple[type[Job], ...]:
        """The kinds of jobs that it can run."""

    async def start(self) -> Tier:
        """Start, run the canaries and return the tier. Raises SandboxError if this fails or the tier is too low."""

    async def run(self, job: Job, allowance: Allowance) -> Execution:
        """Run one job and return the facts about it. Cancelling kills its processes.

        Raises SandboxError if the sandbox itself failed, which says nothing about the program.
        """

    def facts(self) -> Mapping[str, str]:
        """`name`, `tier` and `layers` (of confinement), for a run's metadata."""

    async def close(self) -> None:
        """End all its processes. It can be started again."""
