"""Run a coroutine to its end, from a script or from a notebook, whose event loop is already running."""

import asyncio
import contextvars
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_POLL = 0.2
"""Seconds between two looks at whether the work is done: a wait without an end would not notice Ctrl-C."""


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result. Raises what it raises.

    Where this thread already runs an event loop, the coroutine gets a thread and a loop of its own, and this thread
    waits for it. An interrupt (Ctrl-C, or a notebook's stop button) cancels it, and is raised once it has cleaned up.
    """
    # Not inside the handler of the error: it would be the context of every error that the work raises.
    return _in_a_thread(work) if _is_running() else asyncio.run(work)


def _is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    task: asyncio.Task[T] = loop.create_task(work)
    # The copied context lets output from the thread reach the notebook cell that waits for it.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(_run, loop, task), name="counterpoint", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL)
    except BaseException:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    return task.result()


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[Any]") -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_waited(task))


async def _waited(task: "asyncio.Task[Any]") -> None:
    await asyncio.wait([task])
