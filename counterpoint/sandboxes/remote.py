"""Programs run by a server with the interface of SandboxFusion, on another machine or in another container.

The server is responsible for confinement. Expected outputs are never sent to it.
"""

import asyncio
import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from counterpoint.errors import SandboxError
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
)
from counterpoint.sandboxes.inside import clock, codec, exits, memory, program, shipped

if TYPE_CHECKING:
    import httpx2

_GRACE_SECONDS = 60.0
_PAUSES = (0.0, 0.5, 2.0, 8.0)
"""Seconds before each attempt."""
_SHIPPED = {
    one.__name__.rpartition(".")[2]: Path(str(one.__file__)).read_text(encoding="utf-8")
    for one in (exits, clock, memory, codec, program, shipped)
}
"""The source of the modules that the server runs, in the order of their imports."""
_BOOT = """
import json, sys, types
sources, job = json.loads(GIVEN)
inside = sys.modules["inside"] = types.ModuleType("inside")
for name, source in sources.items():
    module = sys.modules["inside." + name] = types.ModuleType("inside." + name)
    module.__package__, module.__file__ = "inside", "inside/" + name + ".py"
    setattr(inside, name, module)
    exec(compile(source, module.__file__, "exec"), module.__dict__)
inside.shipped.main(job)
"""


def remote(*, url: str, slots: Annotated[int, Field(ge=1, le=4096)] = 16, key: str = "") -> Sandbox:
    """A server at `url`, such as `http://localhost:8080`, that runs `slots` programs at once.

    A `key` is sent as a bearer token. Exams are not supported, since program and exam could reach each other there:
    tasks whose tests are assertions need another sandbox.
    """
    return Remote(url, slots, key)


class Remote:
    """A `Sandbox` on a server; see `counterpoint.sandboxes.base`."""

    kinds: tuple[type[Job], ...] = (Script, FunctionCall)

    def __init__(self, url: str, slots: int, key: str) -> None:
        self._url = url.rstrip("/")
        self._slots = slots
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client: httpx2.AsyncClient | None = None
        self._turns = asyncio.Semaphore(slots)
        self._jobs: set[asyncio.Task[Execution]] = set()

    @property
    def slots(self) -> int:
        return self._slots

    def facts(self) -> Mapping[str, str]:
        return {"name": "remote", "tier": str(Tier.D), "layers": f"those of {self._url}"}

    async def start(self) -> Tier:
        if self._client is None:
            import httpx2  # takes 0.12 s, which would slow the start of every command

            limits = httpx2.Limits(max_connections=self._slots)
            self._client = httpx2.AsyncClient(base_url=self._url, headers=self._headers, limits=limits)
            self._turns = asyncio.Semaphore(self._slots)
            try:
                harmless = await self.run(Script(source="print(int(input()) * 2)", stdin=b"21\n"), STANDARD)
            except BaseException:
                await self.close()
                raise
            if harmless.stdout != b"42\n":
                await self.close()
                raise SandboxError(
                    f"{self._url} cannot run a harmless program: {harmless.stderr[-500:].decode(errors='replace')}"
                )
        return Tier.D

    async def run(self, job: Job, allowance: Allowance) -> Execution:
        await self.start()
        task = asyncio.ensure_future(self._run(job, allowance))
        self._jobs.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._jobs.discard(task)
            task.cancel()
        if task.cancelled():
            raise SandboxError("the sandbox was closed while a job was running")
        return task.result()

    async def _run(self, job: Job, allowance: Allowance) -> Execution:
        body = {"code": _code(job, allowance), "language": "python", "run_timeout": allowance.wall + _GRACE_SECONDS / 2}
        async with self._turns:
            answer = ""
            for pause in _PAUSES:
                await asyncio.sleep(pause)
                execution, answer = await self._attempt(body, allowance)
                if execution is not None:
                    return execution
        raise SandboxError(f"{self._url}/run_code: {answer}")

    async def _attempt(self, body: Mapping[str, object], allowance: Allowance) -> tuple[Execution | None, str]:
        """The facts, or None and a description of the server's answer."""
        if self._client is None:
            raise SandboxError("the sandbox was closed while a job was running")
        import httpx2

        try:
            seconds = allowance.wall + _GRACE_SECONDS
            response = await self._client.post("/run_code", json=body, timeout=seconds)
            told = response.json()
            answer = f"status {response.status_code}, {str(told)[:300]}"
            return _execution(told, allowance), answer
        except (httpx2.HTTPError, ValueError, TypeError, KeyError, AttributeError, zlib.error) as error:
            return None, f"{type(error).__name__}: {error}"

    async def close(self) -> None:
        for job in self._jobs:
            job.cancel()
        if self._client is not None:
            await self._client.aclose()
        self._client = None


def _code(job: Job, allowance: Allowance) -> str:
    """A program that runs the job and prints the facts about it."""
    if isinstance(job, Exam):
        raise SandboxError("a remote sandbox does not support exams")
    stdin = codec.encode(list(job.arguments)) if isinstance(job, FunctionCall) else job.stdin
    given = {
        "source": job.source,
        "function": job.function if isinstance(job, FunctionCall) else "",
        "stdin": base64.b64encode(stdin).decode(),
        "cpu": allowance.cpu,
        "wall": allowance.wall,
        "memory": allowance.memory * MEBIBYTE,
        "output": allowance.output * MEBIBYTE,
    }
    return f"GIVEN = {json.dumps(json.dumps([_SHIPPED, given]))}\n{_BOOT}"


def _execution(told: Mapping[str, Any], allowance: Allowance) -> Execution:
    """The facts in the server's answer. Raises ValueError, KeyError or TypeError if it has none."""
    if told["status"] == "SandboxError":
        raise ValueError(f"the server could not run it: {told.get('message', '')[:300]}")
    result = told["run_result"]
    if result["status"] == "TimeLimitExceeded":
        return Execution(program=_late(allowance))
    before, mark, after = str(result["stdout"]).rpartition(shipped.MARK)
    if not mark:
        raise ValueError(f"no facts in {before[-300:] + after[-300:]!r}, {str(result.get('stderr'))[-300:]!r}")
    facts = json.loads(after.splitlines()[0])
    limit = allowance.output * MEBIBYTE
    stdout, stderr, reply = (_unpacked(one, limit) for one in facts["files"])
    return Execution(
        program=Ending(**facts["ending"]),
        stdout=stdout,
        stderr=stderr,
        reply=reply,
        output_exceeded=bool(facts["exceeded"]),
    )


def _unpacked(text: str, limit: int) -> bytes:
    """The first `limit` bytes of the packed data; the rest is not decompressed."""
    return zlib.decompressobj().decompress(base64.b64decode(text), limit)


def _late(allowance: Allowance) -> Ending:
    return Ending(exit_code=None, signal=9, out_of_time=True, dismissed=False, cpu=0.0, wall=allowance.wall)
