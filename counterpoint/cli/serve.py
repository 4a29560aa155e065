"""`counterpoint serve`: HTTP around a workflow, a request at a time; the others wait."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers.utils import logging as transformers_logging

from counterpoint.cli.train import with_threads
from counterpoint.controls import routes_of
from counterpoint.errors import ConfigError, CounterpointError, EndpointError
from counterpoint.play import Stage
from counterpoint.recipe import load_config
from counterpoint.run import Run
from counterpoint.runtimes import open_runtime
from counterpoint.serve import Service
from counterpoint.task import Problem
from counterpoint.tasks import load_tasks
from counterpoint.tasks.base import Splits
from counterpoint.training import limits_of
from counterpoint.workflows import load_workflow

_PLACE = "/v1/chat/completions"
_LARGEST = 2**20
"""Bytes of a request."""
_LONGEST = 1000
"""Characters of a complaint, which may quote the request."""
_STATUS: Mapping[type[Exception], int] = {ConfigError: 400, EndpointError: 502}
"""Of errors; any other is the workflow's, and the same request would meet it again."""


class Handler(BaseHTTPRequestHandler):
    """Chat completions; whatever goes wrong is said in their way too."""

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


def serve_run(path: Path, overrides: Sequence[str], step: int | None, host: str, port: int) -> None:
    """The workflow of the run at `path`, with the policies of a checkpoint, answers until it is interrupted."""
    transformers_logging.disable_progress_bar()
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
async def _opened(path: Path, overrides: Sequence[str], step: int | None) -> AsyncIterator[Service]:
    run = Run.read(path)
    config = with_threads(load_config(path / "config.toml", overrides))
    step = run.saved_step(step)
    like, routes = _like(load_tasks(config.task, config.sandbox, config.judge)), routes_of(config)
    async with open_runtime(config, routes) as runtime:
        runtime.learner.load(run.checkpoint_path(step))
        await runtime.sampler.load(runtime.learner.adapters())
        workflow = load_workflow(config.workflow)
        stage = Stage(workflow=workflow, routing=routes, sampler=runtime.sampler, chats=runtime.chats)
        limits = limits_of(config, config.evaluation.temperature)
        yield Service(name=run.path.resolve().name, stage=stage, limits=limits, like=like)


def _like(splits: Splits) -> Problem:
    """A problem like all the others. Raises ConfigError if their answers are written in different ways."""
    ways = {task.problem.answer_format: task.problem for tasks in splits.named().values() for task in tasks}
    if len(ways) > 1:
        raise ConfigError(f"the run's problems want answers in {len(ways)} forms: {', '.join(map(repr, ways))}")
    return next(iter(ways.values()))
