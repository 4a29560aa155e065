"""`counterpoint serve`: HTTP around a workflow, one request at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from rich.console import Console

from counterpoint.api import open_stage
from counterpoint.errors import ConfigError, CounterpointError, EndpointError, EngineError
from counterpoint.run import Run, Step
from counterpoint.serve import Service
from counterpoint.task import Problem
from counterpoint.tasks.base import Splits

_PLACE = "/v1/chat/completions"
_LARGEST = 2**20
"""Bytes of a request."""
_LONGEST = 1000
"""Characters of a complaint, which may quote the request."""
_STATUS: Mapping[type[Exception], int] = {ConfigError: 400, EngineError: 500, EndpointError: 502}
"""Error -> HTTP status; any other error is the workflow's, and would occur again for the same request."""


class Handler(BaseHTTPRequestHandler):
    """Chat completions; errors have the same format as those of OpenAI."""

    timeout = 30.0
    """Seconds for which a connection that says nothing keeps the others waiting."""

    def __init__(self, answer: Callable[[bytes], Mapping[str, Any]], *connection: Any) -> None:
        self._answer = answer
        super().__init__(*connection)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if self.path != _PLACE:
            self.send_error(404, f"there is no {self.path}; allowed: {_PLACE}")
        elif not (length.isascii() and length.isdigit()):
            self.send_error(411, "the request does not say its Content-Length")
        elif int(length) > _LARGEST:
            self.send_error(413, f"the request has {length} bytes; allowed: {_LARGEST}")
        else:
            self._complete(self.rfile.read(int(length)))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        kind = "invalid_request_error" if code < 500 else "server_error"
        about = {"message": (message or "")[:_LONGEST], "type": kind, "param": None, "code": None}
        self._send(code, {"error": about})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked is in nobody's log."""

    def _complete(self, body: bytes) -> None:
        try:
            self._send(200, self._answer(body))
        except CounterpointError as error:
            self.send_error(_STATUS.get(type(error), 422), str(error))

    def _send(self, status: int, content: Mapping[str, Any]) -> None:
        written = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)


def serve_run(path: Path, overrides: Sequence[str], step: Step | None, host: str, port: int) -> None:
    """The workflow of the run at `path`, with the policies of a checkpoint, answers until it is interrupted."""
    stack = AsyncExitStack()
    with asyncio.Runner() as runner, suppress(KeyboardInterrupt):
        service = runner.run(stack.enter_async_context(_opened(path, overrides, step)))
        try:
            with HTTPServer((host, port), partial(Handler, lambda body: runner.run(service.complete(body)))) as server:
                url = f"http://{host}:{server.server_port}/v1"
                Console(highlight=False).print(f"{url}: model {service.name}", markup=False, soft_wrap=True)
                server.serve_forever()
        finally:
            runner.run(stack.aclose())


@asynccontextmanager
async def _opened(path: Path, overrides: Sequence[str], step: Step | None) -> AsyncIterator[Service]:
    async with open_stage(Run.read(path), *overrides, step=step) as stage:
        like = _like(stage.tasks)
        yield Service(name=path.resolve().name, stage=stage, limits=stage.limits, like=like)


def _like(splits: Splits) -> Problem:
    """A problem like all the others. Raises ConfigError if their answers are written in different ways."""
    ways = {task.problem.answer_format: task.problem for tasks in splits.named().values() for task in tasks}
    if len(ways) > 1:
        raise ConfigError(f"the run's problems want answers in {len(ways)} forms: {', '.join(map(repr, ways))}")
    return next(iter(ways.values()))
