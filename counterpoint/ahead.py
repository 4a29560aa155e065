"""Overlap: the next step is played while this one is learned. With `run.overlap = 0` everything is done in turn.

Step k + 1 begins to be played once the episodes of step k are in, with the weights that played step k or, after a
pause, with those that step k - 1 led to. Three rules keep it as simple as training in turn:

* Publishing is a barrier: everything that is under way ends before the sampler gets new weights, so that no episode
  sees two versions of a policy.
* Nothing is played ahead across a step that evaluates or saves, or is the last: a checkpoint needs nothing that was
  sampled before it, so that a resumed run is the unbroken one, bit for bit.
* An interrupt cancels what is under way, and its checkpoint has the weights with which that was played. A run that is
  resumed from it plays the same episodes again first.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from counterpoint.adapter import Adapter
from counterpoint.clock import Clock
from counterpoint.config import Config
from counterpoint.episode import Group
from counterpoint.errors import EngineError, counted
from counterpoint.event_loop import Aside, undisturbed
from counterpoint.proof import NO_ADAPTERS, Adapters, check_published
from counterpoint.run import Stateful
from counterpoint.runtimes.base import Runtime

P = ParamSpec("P")
T = TypeVar("T")
_STATE = "ahead.json"


class Play(Protocol):
    """Plays the episodes of a training step."""

    def __call__(self, *, step: int) -> Coroutine[Any, Any, list[Group]]: ...


def looks_ahead(config: Config, step: int) -> bool:
    """True if the step after `step` is played while `step` is learned."""
    runs = config.run
    pauses = step % config.evaluation.every == 0 or step % runs.save_every == 0 or step >= runs.steps
    return runs.overlap > 0 and not pauses


def bubbles(config: Config) -> int:
    """The number of steps during whose playing nothing is learned: the first, and each after a pause."""
    return sum(not looks_ahead(config, step - 1) for step in range(1, config.run.steps + 1))


def lines_about_overlap(config: Config) -> list[str]:
    """The line of a plan about overlap; none without it."""
    if not config.run.overlap:
        return []
    steps, alone = config.run.steps, bubbles(config)
    return [
        f"overlap     {steps - alone} of {counted(steps, 'step')} played while the one before is learned; {alone} not:"
        " the first, and those after an evaluation or a checkpoint"
    ]


class Ahead:
    """The episodes that are under way beside the step that is learned: those of the next one, or none.

    To be entered. When it is left, whatever is under way has been cancelled and has ended.
    """

    def __init__(self, config: Config, runtime: Runtime) -> None:
        self._config = config
        self._learner = runtime.learner
        self._sampler = runtime.sampler
        self._aside = Aside("counterpoint-learner")
        self._playing: asyncio.Task[tuple[list[Group], float]] | None = None
        """The step that is played ahead, or was and has not been taken yet."""
        self._step = 0
        """Its number."""
        self._published: Sequence[Adapter] = ()
        """The weights with which the sampler generates; none are kept without overlap."""
        self._speaking: Sequence[Adapter] = ()
        """Those with which the step that is played ahead was begun."""
        self._seconds = 0.0
        self._lags: dict[str, int] = {}
        """Policy -> the versions that it was ahead of those that generated the step, when the step was taken."""
        self.under: Adapters = NO_ADAPTERS
        """Policy -> the weights that generated the step that was last taken, if it was played ahead."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._aside.close()
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.wait([self._playing])
            self.drop()

    # A step

    async def take(self, play: Play, step: int) -> list[Group]:
        """The episodes of a step: those that were played ahead, or else played now. Raises what playing them raised."""
        self.under = NO_ADAPTERS
        self._lags = {adapter.policy: 0 for adapter in self._published}
        if self._playing is None:
            return await play(step=step)
        if self._step != step:
            raise RuntimeError(f"step {self._step} was played ahead, but step {step} is to be learned")
        await asyncio.sleep(0)  # here an interrupt takes effect that came after the step had begun to be played
        groups, self._seconds = self._playing.result()
        self.under = {adapter.policy: adapter for adapter in self._speaking}
        self._lags = {now.policy: now.version - self.under[now.policy].version for now in self._published}
        self.drop()
        return groups

    def start(self, play: Play, step: int) -> None:
        """The episodes of `step` are under way from here on, unless there is a pause before it."""
        if looks_ahead(self._config, step - 1):
            self._begin(play, step, self._published)

    async def beside(self, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        """The result of `work`, which a thread of its own computes if episodes are under way, so that they go on.

        It is computed to its end even if this task is cancelled, which takes effect afterwards; what is under way is
        cancelled at once. A second cancellation does not wait. Raises what `work` raises.
        """
        if self._playing is None or self._playing.done():
            return work(*arguments, **options)
        computed = self._aside.begin(_as_here(lambda: work(*arguments, **options)))
        await self._end_of(computed)
        return computed.result()

    async def ended(self) -> None:
        """Nothing is under way any more. Raises EngineError if the sampler died; any other error is left to `take`.

        If this task is cancelled, what is under way is cancelled first; the cancellation takes effect afterwards.
        """
        if self._playing is not None:
            await self._end_of(self._playing)
            if not self._playing.cancelled() and isinstance(error := self._playing.exception(), EngineError):
                raise error

    async def publish(self, adapters: Sequence[Adapter]) -> None:
        """The sampler generates with these weights. Nothing may be under way."""
        await undisturbed(self._sampler.load(adapters))
        self._publishes(adapters)

    def drop(self) -> None:
        """Episodes that were played ahead are forgotten. None is under way."""
        if self._playing is not None and not self._playing.cancelled():
            self._playing.exception()  # which is thereby known, and not complained about
        self._playing, self._speaking = None, ()

    def numbers(self) -> dict[str, float]:
        """The numbers of the step that was last taken.

        They are the updates by which its weights were behind those that learn from it, and the seconds that it was
        played ahead.
        """
        lags = {f"policy/{policy}/lag": float(lag) for policy, lag in self._lags.items()}
        return lags | ({"time/ahead": self._seconds} if self.under else {})

    # Beginning and resuming

    def parts(self) -> dict[str, Stateful]:
        """The part of a checkpoint that this is, with overlap."""
        return {"ahead": self} if self._config.run.overlap else {}

    def save(self, folder: Path) -> None:
        """`folder` holds the weights with which the step that is under way was begun; it stays empty if none is."""
        if self._playing is None:
            return
        for adapter in self._speaking:
            adapter.write(folder / adapter.policy)
        known = {adapter.policy: {"version": adapter.version, "scale": adapter.scale} for adapter in self._speaking}
        (folder / _STATE).write_text(json.dumps({"step": self._step, "adapters": known}, indent=2), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """`begin` will play what was under way when `folder` was saved. Raises AdapterError if it is damaged."""
        if (folder / _STATE).is_file():
            state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            known = state["adapters"].items()
            self._step = state["step"]
            self._speaking = [Adapter.read(folder / policy, policy=policy, **fields) for policy, fields in known]

    async def begin(self, play: Play) -> None:
        """The episodes that were under way at the interrupt, if any were, are played again, with the weights of then.

        Afterwards the learner's weights are to be published. Raises ProofError if the sampler does not take those of
        then, and what playing raises.
        """
        if self._config.run.overlap:
            self._publishes(self._learner.adapters())
        if self._speaking:
            await self._sampler.load(self._speaking)
            check_published({adapter.policy: adapter.digest for adapter in self._speaking}, self._sampler.digests())
            await self._begin(play, self._step, self._speaking)

    def _publishes(self, adapters: Sequence[Adapter]) -> None:
        self._published = adapters if self._config.run.overlap else ()

    def _begin(self, play: Play, step: int, speaking: Sequence[Adapter]) -> "asyncio.Task[tuple[list[Group], float]]":
        self._step, self._speaking = step, speaking
        self._playing = asyncio.create_task(self._played(play, step))
        return self._playing

    async def _played(self, play: Play, step: int) -> tuple[list[Group], float]:
        """The episodes of the step, and the seconds that they took."""
        # A clock of its own: the learner's thread moves the other one meanwhile, and no moment may count twice.
        Clock.started()
        began = perf_counter()
        return await play(step=step), perf_counter() - began

    async def _end_of(self, work: "asyncio.Future[Any]") -> None:
        """`work` has ended. A cancellation of this task ends what is under way, and takes effect afterwards."""
        me, is_cancelled = asyncio.current_task(), False
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                if is_cancelled:
                    raise
                is_cancelled = True
                if self._playing is not None:
                    self._playing.cancel()
        if is_cancelled and me is not None:
            me.uncancel()
            me.cancel()


def _as_here(work: Callable[[], T]) -> Callable[[], T]:
    """`work`, to be done in another thread with what torch keeps for each thread: how many it uses, and gradients."""
    import torch  # not above: what counts the steps of a plan does without it

    threads, has_gradients = torch.get_num_threads(), torch.is_grad_enabled()

    def done() -> T:
        torch.set_num_threads(threads)
        with torch.set_grad_enabled(has_gradients):
            return work()

    return done
