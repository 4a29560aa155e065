"""What overlap saves: a step with `run.overlap = 1` against one without, where sampling and learning take equally long.

The real `train`, on a small model that costs little on either side. How long the two take is scripted: every call waits
before it is generated, and every gradient before it is computed. Waiting stands for hardware of their own, which one
machine does not have; what is measured is how much of the two `train` does at the same time.
"""

import asyncio
import copy
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks._timing import in_turns, ratio
from benchmarks._training import Training, stepwise
from benchmarks.base import Figure, Setting, Target
from counterpoint.config import Config
from counterpoint.learners.peft import Peft
from counterpoint.samplers.base import Completion, Request, Sampler, Session
from counterpoint.samplers.in_process import in_process

TARGET = Target("<=", 0.75)


def overlap(setting: Setting) -> Iterator[Figure]:
    seconds = setting.size(2.0, 0.05, 1.0)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.enter_context(_slow_gradients(seconds))
        runs = {
            name: stack.enter_context(Training(_recipe(setting, steps_ahead, seconds), Path(folder) / name))
            for name, steps_ahead in {"in turn": 0, "overlap": 1}.items()
        }
        taken = in_turns({name: run.step for name, run in runs.items()}, setting.repeats)
    work = f"a step of which sampling waits {seconds:g} s and learning waits {seconds:g} s"
    yield ratio("overlap / in turn", taken, over="overlap", under="in turn", target=TARGET, work=work)


def slow(bases: Sequence[Any], *, seconds: float) -> Sampler:
    """The sampler of this process on copies of the bases, so that it shares nothing with the learner."""
    return _Slow(in_process([_Copy(base) for base in bases]), seconds)


class _Slow:
    def __init__(self, inner: Sampler, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds
        self.load, self.digests = inner.load, inner.digests

    def session(self) -> AbstractContextManager[Session]:
        return self._waiting()

    @contextmanager
    def _waiting(self) -> Iterator[Session]:
        with self._inner.session() as session:
            yield _Waiting(session, self._seconds)


class _Waiting:
    def __init__(self, session: Session, seconds: float) -> None:
        self._session = session
        self._seconds = seconds

    async def sample(self, request: Request) -> Completion:
        await asyncio.sleep(self._seconds)
        return await self._session.sample(request)


class _Copy:
    def __init__(self, base: Any) -> None:
        self._base = base
        self.has_learner = False
        self.model = copy.deepcopy(base.model)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)


@contextmanager
def _slow_gradients(seconds: float) -> Iterator[None]:
    """Every gradient of every learner takes this much longer; the processor is free meanwhile."""
    backward: Any = Peft.backward

    def waited(*arguments: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return backward(*arguments, **options)

    Peft.backward = waited  # type: ignore[method-assign]
    try:
        yield
    finally:
        Peft.backward = backward  # type: ignore[method-assign]


def _recipe(setting: Setting, steps_ahead: int, seconds: float) -> Config:
    return stepwise(
        {
            "task": {"name": "arithmetic", "operands": 3, "high": 30},
            "workflow": "single",
            "model": {"path": "micro-small"},
            "policies": {"sharing": "shared", "learning_rate": 1e-9},
            "rollout": {"tasks_per_step": 2, "group_size": 4, "max_tokens": setting.size(16, 4)},
            "algorithm": {"old_logprobs": "sampler", "without_signal": "keep"},
            "sampler": {"name": "benchmarks.overlap:slow", "seconds": seconds},
            "run": {"overlap": steps_ahead},
        },
        threads=setting.threads,
    )
