"""The real `train`, one step at a time, so that two runs can take turns."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from transformers.utils import logging as transformers_logging

from counterpoint.config import Config
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.training import train

NEVER = 10**6
_PATIENCE = 1800
"""Seconds for one step."""


def stepwise(table: Mapping[str, Any], *, threads: int, proof_tolerance: float = 1e-4) -> Config:
    """The recipe with all its steps alike: a checkpoint and a small evaluation only before the first."""
    task = {"validation": 2, "test": 2, **table.get("task", {})}
    return config_from(
        {
            **table,
            "task": task,
            "evaluation": {"every": NEVER},
            "run": {
                "steps": NEVER,
                "save_every": NEVER,
                "threads": threads,
                "proof_tolerance": proof_tolerance,
                **table.get("run", {}),
            },
        }
    )


class Training:
    """A run in a thread of its own, which stands still but for the step that is asked for.

    `step` takes from the end of one step to the end of the next: everything that `train` does, writing and proofs
    included.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._go = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._stopping = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._train, daemon=True)
        self.numbers: Mapping[str, float] = {}
        """Of the last step."""

    def __enter__(self) -> "Training":
        self._thread.start()
        self._wait()  # for the evaluation before the first step
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._go.release()
        self._thread.join(_PATIENCE)

    def step(self) -> float:
        """Seconds of one more step. Raises whatever ended the run."""
        began = perf_counter()
        self._go.release()
        self._wait()
        return perf_counter() - began

    def _wait(self) -> None:
        if not self._done.acquire(timeout=_PATIENCE):
            raise TimeoutError(f"a step of {self._config.cell} took longer than {_PATIENCE} s")
        if self._failure is not None:
            raise self._failure

    def _train(self) -> None:
        transformers_logging.disable_progress_bar()
        try:
            with Run.create(self._folder, self._config, {}) as run:
                asyncio.run(train(run, self._watch))
        except _EnoughError:
            pass
        except BaseException as failure:
            self._failure = failure
            self._done.release()

    def _watch(self, step: int, numbers: Mapping[str, float]) -> None:
        self.numbers = numbers
        self._done.release()
        self._go.acquire()
        if self._stopping:
            raise _EnoughError


class _EnoughError(Exception):
    """As many steps as were asked for."""
