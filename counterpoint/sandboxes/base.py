"""What a sandbox is: it runs one job at a time in each of its slots and tells facts. It never says who is right."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from counterpoint.sandboxes.inside.codec import Value
from counterpoint.sandboxes.inside.exits import BAD_VALUE, OUT_OF_MEMORY

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a process may use before it is stopped."""

    cpu: float = 6.0
    """Seconds of CPU time."""
    memory: int = 1024
    """MiB of address space beyond what the interpreter has before the program starts."""
    output: int = 16
    """MiB of standard output, and as much of standard error and of a result."""
    threads: int = 64
    """Threads at a time, where a process has an identity of its own (tier A)."""

    @property
    def wall(self) -> float:
        """Seconds it may take, not counting those in which it was ready to run and no core was free."""
        return 2 * self.cpu + 1


STANDARD = Allowance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Run `source` as `__main__` with `stdin`; what counts is its standard output."""

    source: str
    stdin: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """Run `source`, then call its `function` (or the method `function` of its class `Solution`) with `arguments`.

    What counts is the `reply`: the encoded result.
    """

    source: str
    function: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """Run `source` in one process and `exam` in another, in which `function` calls the first one's.

    `exam` is text of asserts; it sees nothing of the program but the values that come back. What counts is how it ends.
    """

    source: str
    function: str
    exam: str


Job = Script | FunctionCall | Exam


class Tier(StrEnum):
    """How well processes are confined; the earlier, the better."""

    A = "A"
    """Landlock, seccomp, limits, and an identity of its own: another user, or user, process and network namespaces."""
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
    """How a process ended, as the kernel tells it."""

    exit_code: int | None
    """None if a signal ended it."""
    signal: int | None
    out_of_time: bool
    """It was killed for the seconds it took, of CPU or by the clock."""
    dismissed: bool
    """It was waiting for calls, or still about something, when the other process of its job had ended."""
    cpu: float
    """Seconds."""
    wall: float
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What a job left behind, read once its processes were dead. Everything in bytes is the program's own word."""

    program: Ending
    examiner: Ending | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    reply: bytes = b""
    output_exceeded: bool = False
    """It wrote as much as it may, or more."""


class Verdict(StrEnum):
    """What became of a program. The last two say nothing about it."""

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
    """Why the program failed whatever it answered; None if it ran to its end.

    Exit code 0 earns nothing: it only means that the answer is worth looking at.
    """
    ending = execution.program
    if ending.out_of_time or ending.cpu >= allowance.cpu:
        return Verdict.TIME_LIMIT
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
    """Runs jobs. Not started until its first job, or `start`."""

    @property
    def slots(self) -> int:
        """Jobs that run at once; more wait for their turn."""

    @property
    def kinds(self) -> tuple[type[Job], ...]:
        """The jobs it can run."""

    async def start(self) -> Tier:
        """It is ready and its canaries were caught; raises SandboxError if not, or if its tier is not good enough."""

    async def run(self, job: Job, allowance: Allowance) -> Execution:
        """The facts about one job. Cancelling it kills its processes.

        Raises SandboxError if the sandbox itself failed, which says nothing about the program.
        """

    def facts(self) -> Mapping[str, str]:
        """What it is and how it confines, for a run's metadata: `name`, `tier`, `layers`."""

    async def close(self) -> None:
        """No process of it is left. It may be started again."""
