"""Run a coroutine to its end, from a script or from a notebook, whose event loop is already running."""

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Any, TypeVar

from counterpoint.watchdog import interrupt, is_stuck, watchdog

T = TypeVar("T")
_POLL = 0.2
"""Seconds between two looks at whether the work is done: a wait without an end would not notice Ctrl-C."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LATER = "interrupted: the step is finished and saved first; interrupt again to end at once\n"
_orderly = 0


class Terminated(SystemExit):
    """The process was told to end, by SIGTERM, and the work has ended."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. Raises what it raises.

    Where this thread already runs an event loop, the coroutine gets a thread and a loop of its own, and this thread
    waits for it. An interrupt (Ctrl-C, or a notebook's stop button) cancels it, and KeyboardInterrupt is raised once it
    has cleaned up; after SIGTERM it is Terminated. Another interrupt ends it at once.
    """
    # Not inside the handler of the error: it would be the context of every error that the work raises.
    if _is_running():
        return _in_a_thread(work)
    if threading.current_thread() is threading.main_thread():
        return _in_the_main_thread(work)
    return asyncio.run(work)


@asynccontextmanager
async def orderly() -> AsyncIterator[None]:
    """An interrupt inside takes effect where the work next awaits, so that what is between two awaits is whole."""
    global _orderly
    _orderly += 1
    try:
        yield
    finally:
        _orderly -= 1


async def undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, even if this task is cancelled meanwhile; the cancellation takes effect afterwards."""
    task, me, is_cancelled = asyncio.ensure_future(work), asyncio.current_task(), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            is_cancelled = True
    if is_cancelled and me is not None:
        me.uncancel()
        me.cancel()
    return task.result()


class Aside:
    """A thread that computes one thing after the other while the event loop goes on; it is started when first needed.

    It is a daemon: a process that is told to end at once does not wait for what it computes.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] | None = None

    def begin(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """The future result of `work`, which sees the context variables of this moment."""
        if self._work is None:
            self._work = SimpleQueue()
            threading.Thread(target=_compute, args=(self._work,), name=self._name, daemon=True).start()
        result, context = Future[T](), contextvars.copy_context()

        def compute() -> None:
            try:
                found = context.run(work)
            except BaseException as error:
                result.set_exception(error)
            else:
                result.set_result(found)

        result.set_running_or_notify_cancel()  # whoever waits can give up, but the work goes on
        self._work.put(compute)
        return asyncio.wrap_future(result)

    def close(self) -> None:
        """The thread ends after what it computes."""
        if self._work is not None:
            self._work.put(None)
            self._work = None


def _compute(queue: "SimpleQueue[Callable[[], None] | None]") -> None:
    while (work := queue.get()) is not None:
        work()
        del work  # with its arguments and its result, which may be large


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_the_main_thread(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner() as runner:
        signals = _Signals(runner.get_loop())
        with signals.handled():
            try:
                return runner.run(signals.watched(work))
            except asyncio.CancelledError:
                if signals.number is None:
                    raise
        raise signals.error()


class _Signals:
    """The signals that end the work of an event loop in the main thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self.number: int | None = None
        """The signal that came; None if none did."""

    async def watched(self, work: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        return await work

    @contextmanager
    def handled(self) -> Iterator[None]:
        """The signals end the work. A signal that somebody else handles, or that is ignored, is left alone."""
        free = (signal.SIG_DFL, signal.default_int_handler)
        before = {number: found for number in _SIGNALS if (found := signal.getsignal(number)) in free}
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, found in before.items():
                signal.signal(number, found)

    def error(self) -> BaseException:
        return Terminated() if self.number == signal.SIGTERM else KeyboardInterrupt()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        is_first, self.number = self.number is None, number
        is_idle, is_watching = asyncio.current_task(self._loop) is None, watchdog().is_watching
        if not is_first or self._task is None or not (is_idle or is_watching or _orderly):
            raise self.error()
        self._task.cancel()
        self._loop.call_soon_threadsafe(lambda: None)  # it may wait for something that is far away
        watchdog().interrupt()
        if not (is_idle or is_watching):
            os.write(2, _LATER.encode())  # a print here could meet another one that it interrupts


def _in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    task: asyncio.Task[T] = loop.create_task(work)
    # The copied context lets output from the thread reach the notebook cell that waits for it.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(_run, loop, task), name="counterpoint", daemon=True)
    thread.start()
    caller = asyncio.current_task()
    try:
        while thread.is_alive():
            thread.join(_POLL)
            if caller is not None and caller.cancelling():
                raise asyncio.CancelledError  # the loop of the caller cannot raise it while this thread waits
    except BaseException:
        loop.call_soon_threadsafe(task.cancel)
        interrupt(thread)
        if _orderly:
            print(_LATER, end="")
        while thread.is_alive() and not is_stuck(thread):
            thread.join(_POLL)
        raise
    return task.result()


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_waited(task))


async def _waited(task: "asyncio.Task[Any]") -> None:
    await asyncio.wait([task])
