"""An event loop in a thread of its own: what computes or hangs there does not keep the web server from answering."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class EngineThread(Generic[T]):
    """Holds an asynchronous context open in its thread, and runs coroutines there."""

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._opened: Future[T] = Future()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="counterpoint-engine", daemon=True)

    def open(self) -> T:
        """The value of the context, once it is entered. Raises what entering it raises."""
        self._thread.start()
        return self._opened.result()

    def submit(self, work: Coroutine[Any, Any, R]) -> "Future[R]":
        """The future result of a coroutine that runs in the thread; cancelling it cancels the coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, seconds: float) -> bool:
        """Everything that runs is cancelled and the context is left; False if that takes longer than `seconds`."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._hold())

    async def _hold(self) -> None:
        try:
            async with self._context as value:
                self._opened.set_result(value)
                await self._end.wait()
                await _cancel_others()
        except BaseException as error:  # whatever it is, whoever waits for the context must get it
            if self._opened.done():
                raise
            self._opened.set_exception(error)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
