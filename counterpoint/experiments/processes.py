"""The processes that a study's runner starts, and the places on this machine that they are given."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from counterpoint.errors import ConfigError


class Process(Protocol):
    """A process that was started, as `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Its return code, negative for a signal; None while it runs."""

    def terminate(self) -> None:
        """It is told to end in order."""

    def kill(self) -> None:
        """It is ended, with every process that it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A share of the machine: the cores and the GPU of one job at a time."""

    number: int
    cores: frozenset[int] = frozenset()
    """The cores that it may use; empty for all."""
    gpu: str = ""
    """The one that it sees; empty for all."""

    @property
    def threads(self) -> int:
        """The number of torch threads that suits it."""
        return len(self.cores) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to be started."""

    job: str
    """The name of the job."""
    arguments: tuple[str, ...]
    """The arguments of `counterpoint`."""
    log: Path
    """The file to which its output is appended."""
    place: Place
    lock: int
    """A descriptor that the process has to keep open until it ends."""


Start = Callable[[Command], Process]
"""A function that starts a process."""


def start_process(command: Command) -> Process:
    """`counterpoint` with these arguments, in a session of its own: an interrupt of the terminal does not reach it."""
    words = [sys.executable, "-m", "counterpoint", *command.arguments]
    return start_words(words, command)


def start_words(words: Sequence[str], command: Command) -> Process:
    """A program with its arguments, started as the command says."""
    environment = dict(os.environ)
    if command.place.gpu:
        environment["CUDA_VISIBLE_DEVICES"] = command.place.gpu
    command.log.parent.mkdir(parents=True, exist_ok=True)
    before = os.sched_getaffinity(0)
    with command.log.open("a", encoding="utf-8") as log:
        log.write(f"--- {shlex.join(words)}\n")
        log.flush()
        try:
            # A thread's cores are those of the processes that it starts.
            os.sched_setaffinity(0, command.place.cores or before)
            return _InSession(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=(command.lock,),
            )
        finally:
            os.sched_setaffinity(0, before)


def places(jobs: int | None, gpus: Sequence[str]) -> tuple[Place, ...]:
    """A place per job that runs at the same time: one per GPU if there are any named, else `jobs`, or 1 if None.

    The cores of this process are divided among them; with more jobs than cores, none is given cores of its own.
    Raises ConfigError for more jobs than GPUs, or a GPU that is named twice.
    """
    if gpus and jobs is not None and jobs > len(gpus):
        raise ConfigError(f"--jobs {jobs}: one job per GPU, and --gpus names {len(gpus)}")
    if len(set(gpus)) < len(gpus):
        raise ConfigError(f"--gpus {','.join(gpus)}: each GPU can be named once")
    count = (len(gpus) or 1) if jobs is None else jobs
    if count < 1:
        raise ConfigError(f"--jobs {count}: at least 1 is needed")
    cores = sorted(os.sched_getaffinity(0))
    share = len(cores) // count
    return tuple(
        Place(
            number=number,
            cores=frozenset(cores[number * share : (number + 1) * share]),
            gpu=gpus[number] if gpus else "",
        )
        for number in range(count)
    )


class _InSession(subprocess.Popen[bytes]):
    """A process that leads a session of its own; processes that it started are ended when it has ended."""

    def poll(self) -> int | None:
        if self.returncode is None:
            with suppress(ChildProcessError):
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    self.kill()  # before its number can be that of another: what it left would hold its locks
        return super().poll()

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
