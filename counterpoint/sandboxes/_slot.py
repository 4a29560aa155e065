"""One slot: a fork server as a child process, the files of its jobs, and the facts that it reports."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from counterpoint.errors import SandboxError
from counterpoint.sandboxes.base import MEBIBYTE, Allowance, Ending, Exam, Execution, FunctionCall, Job, Script
from counterpoint.sandboxes.inside.codec import CodecError, encode
from counterpoint.sandboxes.inside.server import MAX_MESSAGE, PATIENCE

_START_SECONDS = 60.0
_GRACE_SECONDS = 10.0
_CLOSE_TRIES = 100
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Slot:
    """A fork server that runs one job at a time. Made by `start`."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self.facts: dict[str, Any] = {}
        self.jobs = 0

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], setting: Mapping[str, Any]) -> "Slot":
        """Start a server and wait until it is ready.

        `{}` in the command's last word is replaced by the descriptor of its socket.

        Raises SandboxError if it does not start.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                process = subprocess.Popen(
                    [*command[:-1], command[-1].format(theirs.fileno())],
                    env=dict(environment),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise SandboxError(f"the fork server cannot be started: {error}") from error
        ours.setblocking(False)
        slot = cls(process, ours)
        try:
            slot._send(setting)
            slot.facts = await slot._answer(_START_SECONDS)
            if "error" in slot.facts:
                raise SandboxError(f"the fork server cannot start: {slot.facts['error']}")
        except BaseException:
            await slot.close()
            raise
        return slot

    async def run(self, job: Job, allowance: Allowance) -> Execution:
        """Run the job and return the facts about it. Cancelling kills the job's processes and frees the slot.

        Raises SandboxError if the server has ended or does not answer; the slot cannot be used any more then.
        """
        self.jobs += 1
        limit = allowance.output * MEBIBYTE
        with _Files(job) as files:
            self._ask(job, allowance, files)
            try:
                told = await self._answer((1 + PATIENCE) * allowance.wall + _GRACE_SECONDS)
            except asyncio.CancelledError:
                with suppress(SandboxError):
                    self._send({"kind": "cancel"})
                raise
            if "error" in told:
                raise SandboxError(f"the job cannot be run: {told['error']}")
            endings = [Ending(**ending) for ending in told["endings"]]
            sizes = [os.fstat(file).st_size for file in files.written]
            return Execution(
                program=endings[0],
                examiner=endings[1] if len(endings) > 1 else None,
                stdout=os.pread(files.stdout, limit, 0),
                stderr=os.pread(files.stderr, limit, 0),
                reply=b"" if files.reply is None else os.pread(files.reply, limit, 0),
                output_exceeded=max(sizes) >= limit,
            )

    async def close(self) -> None:
        """End the server and the processes that it started."""
        self._channel.close()
        for _ in range(_CLOSE_TRIES):
            if self._process.poll() is not None:
                return
            await asyncio.sleep(0.01)
        self.kill()
        await asyncio.to_thread(self._process.wait)

    def alive(self) -> bool:
        """True while the server is running."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Send SIGKILL to the server, and to what its wrapper has started so far.

        A child of bwrap that has not heard from its parent yet would wait for ever.
        """
        if self.alive():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _ask(self, job: Job, allowance: Allowance, files: "_Files") -> None:
        limits = {
            "cpu": allowance.cpu,
            "wall": allowance.wall,
            "memory": allowance.memory * MEBIBYTE,
            "output": allowance.output * MEBIBYTE,
            "threads": allowance.threads,
        }
        kind = {Script: "script", FunctionCall: "call", Exam: "exam"}[type(job)]
        named = {"job": self.jobs, "kind": kind, "function": getattr(job, "function", ""), "limits": limits}
        self._send(named, files.all)

    def _send(self, message: Mapping[str, Any], files: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._channel, [json.dumps(message).encode()], files)
        except OSError as error:
            raise SandboxError(f"the fork server has ended: {error}") from error

    async def _answer(self, seconds: float) -> dict[str, Any]:
        """The server's answer to the last job or, before the first job, about itself.

        Answers to earlier jobs, which were cancelled, are skipped.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    data = await loop.sock_recv(self._channel, MAX_MESSAGE)
                    if not data:
                        raise SandboxError(f"the fork server has ended, with code {self._process.poll()}")
                    told = json.loads(data)
                    if told.get("job", 0) == self.jobs:
                        return dict(told)
        except TimeoutError:
            raise SandboxError(f"the fork server has not answered for {seconds:g} s") from None
        except OSError as error:
            raise SandboxError(f"the fork server has ended: {error}") from error


class _Files:
    """The anonymous files of one job: its inputs, sealed against writing, and empty files for its outputs."""

    def __init__(self, job: Job) -> None:
        self.all: list[int] = []
        try:
            self._fill(job)
        except BaseException as error:
            self.__exit__()
            if isinstance(error, OSError | CodecError):
                raise SandboxError(f"the files of a job cannot be created: {error}") from error
            raise

    def _fill(self, job: Job) -> None:
        self._add(_text(job.source))
        self._add(encode(list(job.arguments)) if isinstance(job, FunctionCall) else getattr(job, "stdin", b""))
        self.stdout, self.stderr = self._add(), self._add()
        self.written = [self.stdout, self.stderr]
        self.reply: int | None = None
        if isinstance(job, FunctionCall):
            self.reply = self._add()
            self.written.append(self.reply)
        if isinstance(job, Exam):
            self._add(_text(job.exam))
            self._add()
            self._add()

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.all:
            os.close(file)

    def _add(self, content: bytes | None = None) -> int:
        file = os.memfd_create("job", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.all.append(file)
        if content is not None:
            view = memoryview(content)
            while view:
                view = view[os.write(file, view) :]
            os.lseek(file, 0, os.SEEK_SET)
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        return file


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
