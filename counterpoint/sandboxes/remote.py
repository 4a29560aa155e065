"""Programs run by a server with the interface of SandboxFusion, on another machine or in another container.

How well it confines them is the server's affair. What is expected never goes there either.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx2
from pydantic import Field

from counterpoint.errors import SandboxError
from counterpoint.sandboxes.base import (
    MEBIBYTE,
    STANDARD,
    Allowance,
    Ending,
    Execution,
    FunctionCall,
    Job,
    Sandbox,
    Script,
    Tier,
)
from counterpoint.sandboxes.inside import codec, exits

_GRACE_SECONDS = 60.0
_PAUSES = (0.5, 2.0, 8.0)
"""Seconds before each further attempt."""
_DRIVER = """
import os, sys, types
codec = types.ModuleType("codec")
exec(compile(CODEC, "codec.py", "exec"), codec.__dict__)
main = types.ModuleType("__main__")
sys.modules["__main__"] = main
try:
    exec(compile(SOURCE, "program.py", "exec"), main.__dict__)
    holder = main if hasattr(main, FUNCTION) or not hasattr(main, "Solution") else main.Solution()
    value = getattr(holder, FUNCTION)(*codec.decode(ARGUMENTS.encode()))
except MemoryError:
    os._exit(OUT_OF_MEMORY)
try:
    reply = codec.encode(value).decode()
except (codec.CodecError, RecursionError):
    os._exit(BAD_VALUE)
sys.stdout.write("\\n" + MARK + reply)
"""


@dataclass(frozen=True, slots=True)
class _Text:
    """A program as the server gets it, and what its standard output has before the reply, if it gives one."""

    code: str
    mark: str = ""


def remote(
    *,
    url: str,
    slots: Annotated[int, Field(ge=1, le=4096)] = 16,
    key: str = "",
) -> Sandbox:
    """A server at `url`, such as `http://localhost:8080`, that runs `slots` programs at once.

    With a `key` it is sent as a bearer token. It cannot hold exams: tasks whose tests are asserts need another sandbox.
    """
    return Remote(url, slots, key)


class Remote:
    """See `counterpoint.sandboxes.base.Sandbox`."""

    kinds: tuple[type[Job], ...] = (Script, FunctionCall)

    def __init__(self, url: str, slots: int, key: str) -> None:
        self._url = url.rstrip("/")
        self._slots = slots
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client: httpx2.AsyncClient | None = None
        self._turns: asyncio.Semaphore | None = None

    @property
    def slots(self) -> int:
        return self._slots

    def facts(self) -> Mapping[str, str]:
        return {"name": "remote", "tier": str(Tier.D), "layers": f"those of {self._url}"}

    async def start(self) -> Tier:
        if self._client is None:
            self._client = httpx2.AsyncClient(base_url=self._url, headers=self._headers)
            self._turns = asyncio.Semaphore(self._slots)
            harmless = await self.run(Script(source="print(int(input()) * 2)", stdin=b"21\n"), STANDARD)
            if harmless.stdout.strip() != b"42":
                await self.close()
                raise SandboxError(f"{self._url} runs no programs: {harmless.stderr[-500:].decode(errors='replace')}")
        return Tier.D

    async def run(self, job: Job, allowance: Allowance) -> Execution:
        await self.start()
        assert self._turns is not None
        text = _text(job)
        body = {
            "code": text.code,
            "language": "python",
            "stdin": job.stdin.decode("utf-8", "surrogateescape") if isinstance(job, Script) else "",
            "run_timeout": allowance.wall,
            "memory_limit_MB": allowance.memory,
        }
        async with self._turns:
            told = await self._post(body, allowance.wall + _GRACE_SECONDS)
        return _execution(told, text, allowance)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
        self._client = None

    async def _post(self, body: Mapping[str, object], seconds: float) -> dict[str, Any]:
        """What the server says. Raises SandboxError if it says nothing of use after all attempts."""
        assert self._client is not None
        said = ""
        for pause in (0.0, *_PAUSES):
            await asyncio.sleep(pause)
            try:
                response = await self._client.post("/run_code", json=body, timeout=seconds)
                told = response.json()
                if response.status_code == httpx2.codes.OK and told.get("status") in ("Success", "Failed"):
                    return dict(told)
                said = f"status {response.status_code}, {str(told)[:300]}"
            except (httpx2.HTTPError, ValueError, AttributeError) as error:
                said = f"{type(error).__name__}: {error}"
        raise SandboxError(f"{self._url}/run_code: {said}")


def _text(job: Job) -> _Text:
    if isinstance(job, Script):
        return _Text(job.source)
    if not isinstance(job, FunctionCall):
        raise SandboxError("a remote sandbox cannot hold exams")
    mark = secrets.token_hex(8)
    names = {
        "CODEC": Path(codec.__file__).read_text(),
        "SOURCE": job.source,
        "FUNCTION": job.function,
        "ARGUMENTS": codec.encode(list(job.arguments)).decode(),
        "MARK": mark,
        "OUT_OF_MEMORY": exits.OUT_OF_MEMORY,
        "BAD_VALUE": exits.BAD_VALUE,
    }
    given = "".join(f"{name} = {json.dumps(value)}\n" for name, value in names.items())
    return _Text(given + _DRIVER, mark)


def _execution(told: Mapping[str, Any], text: _Text, allowance: Allowance) -> Execution:
    result = told.get("run_result") or {}
    limit = allowance.output * MEBIBYTE
    stdout = str(result.get("stdout") or "").encode("utf-8", "surrogatepass")
    stderr = str(result.get("stderr") or "").encode("utf-8", "surrogatepass")
    late = result.get("status") == "TimeLimitExceeded"
    code = result.get("return_code")
    seconds = float(result.get("execution_time") or 0.0)
    reply = stdout.rpartition(f"\n{text.mark}".encode())[2] if text.mark and text.mark.encode() in stdout else b""
    return Execution(
        program=Ending(
            exit_code=None if late or code is None or code < 0 else int(code),
            signal=-int(code) if code is not None and code < 0 else None,
            out_of_time=late,
            dismissed=False,
            cpu=0.0,
            wall=seconds,
        ),
        stdout=stdout,
        stderr=stderr,
        reply=reply,
        output_exceeded=max(len(stdout), len(stderr)) >= limit,
    )
