"""`counterpoint serve`: a trained workflow behind OpenAI's interface for chat completions."""

import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from counterpoint.cli.engine import import_without_scipy
from counterpoint.episode import Episode
from counterpoint.errors import ConfigError
from counterpoint.family import GIVEN
from counterpoint.options import Spec
from counterpoint.run import Run, Step
from counterpoint.serve.asking import Ask
from counterpoint.serve.engine_thread import EngineThread
from counterpoint.serve.service import Service
from counterpoint.task import Problem
from counterpoint.tasks.base import Splits
from counterpoint.web import address, bound, ends_on_sigterm, is_loopback

_PATIENCE = "sampler.patience=0.2"
"""An episode that waits for something else does not hold up the calls of the others for longer."""
_CLOSING = 5.0
"""Seconds in which the engine must have closed."""


def serve_run(
    path: Path, overrides: Sequence[str], step: Step | None, host: str, port: int, key: str | None = None
) -> None:
    """The workflow of the run at `path`, with the policies of a checkpoint, answers until SIGINT or SIGTERM.

    Raises RunError if there is no such run or checkpoint, ConfigError if the port is not available or no request could
    have the key; all before anything is loaded.
    """
    _check_key(key)
    run = to_be_served(path)
    run.checkpoint_path(run.saved_step(step))
    with bound(host, port) as listening, ends_on_sigterm():
        engine = EngineThread(_opened(run, overrides, step))
        try:
            service = engine.open()
            _answer(service, engine, listening, host, key)
        except KeyboardInterrupt:
            pass
        finally:
            if not engine.close(_CLOSING):  # it computes, and a thread that computes cannot be ended by itself
                sys.stdout.flush()
                os._exit(0)


def _check_key(key: str | None) -> None:
    """Raises ConfigError for a key that keeps nobody out, or that no header can hold."""
    if key is not None and not (key and key.isascii() and key.isprintable() and key == key.strip()):
        raise ConfigError("--api-key: printable ASCII characters, without spaces around them; leave it out for no key")


def to_be_served(path: Path) -> Run:
    """The run at `path`, without a judge that was passed from Python: nothing is judged here. Raises RunError."""
    run = Run.read(path)
    if run.config.judge.name.startswith(f"{GIVEN}:"):
        run.config = run.config.model_copy(update={"judge": Spec(name="task")})
    return run


def _answer(
    service: Service, engine: EngineThread[Service], listening: socket.socket, host: str, key: str | None
) -> None:
    from counterpoint.serve.web import Web, server_of

    def play(ask: Ask) -> "Future[list[Episode]]":
        return engine.submit(service.play(ask))

    line = f"{address(host, listening.getsockname()[1])}/v1: model {service.name}"
    say = partial(Console(highlight=False, emoji=False).print, line, markup=False, soft_wrap=True)
    server_of(Web(service.name, play, key=key, any_host=not is_loopback(host)), say).run(sockets=[listening])


@asynccontextmanager
async def _opened(run: Run, overrides: Sequence[str], step: Step | None) -> AsyncIterator[Service]:
    import_without_scipy()
    from counterpoint.api import open_stage

    patient = [_PATIENCE] if run.config.sampler.name == "in_process" else []
    async with open_stage(run, *patient, *overrides, step=step) as stage:
        yield Service(name=run.path.resolve().name, stage=stage, limits=stage.limits, like=_like(stage.tasks))


def _like(splits: Splits) -> Problem:
    """A problem like all the others. Raises ConfigError if their answers are written in different ways."""
    ways = {task.problem.answer_format: task.problem for tasks in splits.named().values() for task in tasks}
    if len(ways) > 1:
        raise ConfigError(f"the run's problems want answers in {len(ways)} forms: {', '.join(map(repr, ways))}")
    return next(iter(ways.values()))
