"""A fork server: an interpreter that is started once and forks a confined child for every job.

It never runs a program or parses its input: the child does, once it is confined. It reports the kernel's facts about
the child. It has one thread, since Landlock and `fork` affect only the calling thread.

Started as `python -s -S -P -c "..."`, where the code calls `main` with the descriptor of a SOCK_SEQPACKET socket.
"""

import fcntl
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from . import confinement, exam, kernel, landlock, memory, program, seccomp
from .clock import cpu_seconds
from .exits import DISMISSED, NOT_CONFINED

MAX_MESSAGE = 65_536
_TICK = 0.02
_CHANNEL = 3
"""A low number, so that it is among the descriptors that a child closes."""
PATIENCE = 10
"""A program may wait for a core for this many times its wall limit before waiting counts as wall time."""
_PRELOADED = """
array bisect cmath codecs collections contextlib copy dataclasses datetime decimal enum fractions functools heapq io
itertools json math numbers operator random re string struct textwrap threading time traceback types typing
"""
_REST = """
__future__ asyncio calendar concurrent.futures.thread csv difflib encodings.ascii encodings.latin_1 encodings.utf_16_be
encodings.utf_16_le hashlib mmap pickle pprint queue secrets statistics unicodedata unittest uuid zoneinfo
"""
"""Preloaded only where programs cannot open files: every loaded module makes each fork a little slower."""


def main(descriptor: int) -> NoReturn:
    """Serve jobs until the other end of the socket is closed."""
    if descriptor != _CHANNEL:
        os.dup2(descriptor, _CHANNEL, inheritable=False)
    os.closerange(_CHANNEL + 1, max(descriptor, confinement.RULES) + 1)
    channel = socket.socket(fileno=_CHANNEL)
    setting = json.loads(channel.recv(MAX_MESSAGE))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    namespaces = setting["namespaces"] == "around"
    if setting["namespaces"] == "own" and os.geteuid() != 0 and confinement.enter_namespaces():
        _continue_in_a_child(channel)
        namespaces = True
    try:
        server = _Server(channel, setting, namespaces=namespaces)
    except Exception as error:
        channel.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        sys.exit(1)
    channel.send(json.dumps({"tier": server.layers.tier, "layers": server.layers.names()}).encode())
    while True:
        server.serve()


def _continue_in_a_child(channel: socket.socket) -> None:
    """Return in a child, the first process of the new namespace; this process waits for it and exits.

    When the first process of a namespace ends, the kernel kills all others in it.
    """
    child = os.fork()
    if child == 0:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    channel.close()
    os.waitpid(child, 0)
    os._exit(0)


class _Server:
    def __init__(self, channel: socket.socket, setting: dict[str, Any], *, namespaces: bool) -> None:
        self._channel = channel
        folders = _load_packages(setting["packages"], setting["path"])
        may_open = landlock.version() > 0
        for name in (_PRELOADED + ("" if may_open else _REST)).split():
            importlib.import_module(name)
        self._prelude = program.prelude()
        program.add_exit_names()
        program.open_streams()
        sys.set_int_max_str_digits(0)
        confinement.grow_stack()
        self.layers = confinement.layers(namespaces=namespaces, packages=folders)
        self._template = seccomp.template(may_open=may_open) if self.layers.seccomp else b""
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Wait for a job, run it, and report how it ended."""
        message, files, _, _ = socket.recv_fds(self._channel, MAX_MESSAGE, 8)
        if not message:
            sys.exit(0)
        job = json.loads(message)
        if job["kind"] == "cancel":
            return
        told: dict[str, Any] = {"job": job["job"]}
        beyond = confinement.beyond(self.layers, job["limits"])
        if beyond:
            told["error"] = f"its limits are above those of this process: {beyond}"
        else:
            usable = self.layers.address_space + job["limits"]["memory"]
            told["endings"] = _Watch(self._channel, self._fork(job, files), job["limits"], usable).endings()
        for file in files:
            os.close(file)
        self._channel.send(json.dumps(told).encode())

    def _fork(self, job: dict[str, Any], files: list[int]) -> list[int]:
        """The children of a job; the first runs the program."""
        if job["kind"] != "exam":
            return [self._child(job, job["kind"], files)]
        ours, theirs = socket.socketpair()
        code, stdin, out, err, text, exam_out, exam_err = files
        try:
            return [
                self._child(job, "candidate", [code, stdin, out, err, theirs.fileno()]),
                self._child(job, "examiner", [text, stdin, exam_out, exam_err, ours.fileno()]),
            ]
        finally:
            ours.close()
            theirs.close()

    def _child(self, job: dict[str, Any], part: str, files: list[int]) -> int:
        server = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                self._run(job, part, files, server)
            finally:
                os._exit(NOT_CONFINED)
        return child

    def _run(self, job: dict[str, Any], part: str, files: list[int], server: int) -> NoReturn:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        source = _text_of(files[0])
        _arrange(files[1:])
        confinement.confine(self.layers, job["limits"], self._template, server)
        match part:
            case "script":
                program.script(source)
            case "call":
                program.function_call(source, job["function"], self._prelude)
            case "candidate":
                exam.answer_calls(source, job["function"], self._prelude)
            case _:
                exam.hold(source, job["function"])


class _Watch:
    """Waits until the children of one job end, exceed their time or memory, or are cancelled by the parent."""

    def __init__(self, channel: socket.socket, children: list[int], limits: dict[str, Any], usable: int) -> None:
        self._channel = channel
        self._children = children
        self._cpu: float = limits["cpu"]
        self._wall: float = limits["wall"]
        self._usable = usable
        self._began = time.monotonic()
        self._deadline: float = self._began + self._wall
        self._endings: dict[int, dict[str, Any]] = {}
        self._seen_beyond: set[int] = set()
        """Children that were seen with too much memory. The kernel's own maximum, of a child that is killed in the
        middle of growing in several threads, can be below what was seen."""
        self._waiting = {os.pidfd_open(child): child for child in children}

    def endings(self) -> list[dict[str, Any]]:
        """The ending of every child, in order; when one has ended, the others are killed."""
        late = self._wait()
        for child in self._waiting.values():
            os.kill(child, signal.SIGKILL)
        for descriptor in list(self._waiting):
            self._reap(descriptor, late=late, dismissed=bool(self._endings))
        return [self._endings[child] for child in self._children]

    def _wait(self) -> bool:
        """Wait until a child ends or exceeds its memory or the parent sends a message (False), or time is over (True).

        Memory is looked at in every tick; a child that used too much in between is found out when it has ended.
        """
        poll = select.poll()
        for descriptor in (self._channel.fileno(), *self._waiting):
            poll.register(descriptor, select.POLLIN)
        while True:
            cpu_left = self._cpu - max(map(cpu_seconds, self._waiting.values()))
            left = min(self._deadline - time.monotonic(), _TICK)
            ready = [descriptor for descriptor, _ in poll.poll(max(0.0, 1000 * left))]
            if ready:
                for descriptor in [one for one in ready if one in self._waiting]:
                    self._reap(descriptor, late=False, dismissed=False)
                return False
            self._seen_beyond |= {
                child for one, child in self._waiting.items() if memory.resident(_process_of(one)) > self._usable
            }
            if self._seen_beyond:
                return False
            if cpu_left <= 0.0 or (self._deadline <= time.monotonic() and self._put_off() <= time.monotonic()):
                return True

    def _put_off(self) -> float:
        """The deadline, extended by the seconds in which a child was ready but no core was free, up to a bound."""
        queued = max(_seconds_in_queue(descriptor) for descriptor in self._waiting)
        self._deadline = self._began + self._wall + min(queued, PATIENCE * self._wall)
        return self._deadline

    def _reap(self, descriptor: int, *, late: bool, dismissed: bool) -> None:
        child = self._waiting.pop(descriptor)
        os.close(descriptor)
        _, status, usage = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        self._endings[child] = {
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "out_of_time": late,
            "out_of_memory": child in self._seen_beyond or memory.exceeded(usage, self._usable),
            "dismissed": len(self._children) > 1 and (code == DISMISSED or (dismissed and code == -signal.SIGKILL)),
            "cpu": usage.ru_utime + usage.ru_stime,
            "wall": time.monotonic() - self._began,
        }


def _seconds_in_queue(descriptor: int) -> float:
    """Seconds that the process of a pidfd was ready but waited for a core; 0 if the kernel does not report them."""
    try:
        return int(_read(f"/proc/{_process_of(descriptor)}/schedstat").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _process_of(descriptor: int) -> str:
    """The name in /proc of the process of a pidfd; a name of none if the kernel does not report it."""
    try:
        lines = _read(f"/proc/self/fdinfo/{descriptor}").splitlines()
        return next(line.split()[1] for line in lines if line.startswith("Pid:"))
    except (OSError, StopIteration, IndexError):
        return "-1"


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _text_of(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode("utf-8", "surrogatepass")


def _arrange(files: list[int]) -> None:
    """Make the files descriptors 0, 1, 2 and so on, and close all others except that of the Landlock rules."""
    high = [fcntl.fcntl(file, fcntl.F_DUPFD, confinement.RULES + 1) for file in files]
    for number, file in enumerate(high):
        os.dup2(file, number)
    os.closerange(len(files), confinement.RULES)
    os.closerange(confinement.RULES + 1, confinement.RULES + 65)


def _load_packages(names: list[str], path: list[str]) -> list[str]:
    """Import the packages; their folders, which programs may read. Packages that are not installed are skipped."""
    folders = []
    sys.path.extend(path)
    for name in names:
        try:
            origin = importlib.import_module(name).__file__
        except ImportError:
            continue
        folder = os.path.dirname(origin or "")
        folders += [folder, f"{folder}.libs"] if os.path.basename(folder) == name else [str(origin)]
    del sys.path[len(sys.path) - len(path) :]
    return folders
