"""Ends code that does not give control back to the event loop: when its time is over, or when it is interrupted.

asyncio can end only what awaits. The code of a workflow or of a judge is therefore advanced by a `Steps`, which tells
the watchdog of its thread when that code begins and ends to run. In the main thread a timer of the kernel ends it,
through a signal, which also ends a blocking call and a regular expression. In any other thread, such as that of a
notebook, a second thread ends it; a call that never returns to Python cannot be ended there.
"""

import _signal  # type: ignore[import-not-found]
import asyncio
import ctypes
import inspect
import math
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any, Protocol

from counterpoint.ended import Ended, end_at_the_next_line

SOON = 0.5
"""Seconds that code gets to end by itself once it is interrupted, and between two attempts to end it."""
_LOOK = 0.1
"""Seconds between two looks at another thread."""
_STUCK = 3.0
"""Seconds after which code that does not end is given up."""
_LONG = 0.05
"""Seconds; a step that took longer is not charged to the other episodes, which had to wait for it."""

_CANCELLING = ("asyncio.runners", "uvicorn.server")
"""The modules whose handlers of SIGINT and SIGTERM end the work of the event loop, once it gets control back."""


_handler: Callable[[int], Any] = _signal.getsignal
"""The handler of a signal, which is asked for twice at every step of every episode. `signal.getsignal` first tries to
make it a member of an enumeration, which takes 30 times as long."""


class Allowance(Protocol):
    """The time that some code of the user's has, and what happens at its end."""

    is_over: bool
    """True once nothing of it may run any more."""

    def remaining(self) -> float:
        """Seconds left; infinite if its time is not limited."""
        ...

    def credit(self, seconds: float) -> None:
        """Add time in which other code blocked the event loop."""
        ...

    def started(self, task: "asyncio.Future[Any]") -> None:
        """Take notice of a task that the code started."""
        ...

    def overrun(self, ended: Ended, steps: "Steps") -> BaseException:
        """The error with which the code ends after `ended` was raised in it."""
        ...


class Watchdog:
    """Watches the code that runs in one thread."""

    def __init__(self) -> None:
        self.steps: Steps | None = None
        """Whose code runs; None outside of the user's code."""
        self.allowances: set[Allowance] = set()
        self.until: float | None = None
        """When the code that runs is ended, by `monotonic`; None while nothing runs that may be ended."""
        self.stop_at = math.inf
        """When whatever runs is ended, because of an interrupt."""
        self._attempts, self._began = 0, 0.0
        self._asked_at = 0.0
        self._is_main = threading.current_thread() is threading.main_thread()
        self._thread = ctypes.c_ulong(threading.get_ident())
        self._watching = 0
        self._period = 0
        self._alarm = self._on_alarm  # one object, so that the handler can be recognized
        self._before: Any = None
        self._others_at, self._others_every = math.inf, 0.0
        self._interrupts: dict[int, tuple[Callable[..., Any], Callable[..., Any]]] = {}

    @property
    def is_interrupted(self) -> bool:
        return self.stop_at < math.inf

    @property
    def is_watching(self) -> bool:
        return self._watching > 0

    @property
    def is_stuck(self) -> bool:
        return (
            self.is_interrupted and self.until is not None and monotonic() - max(self._began, self._asked_at) > _STUCK
        )

    def interrupt(self) -> None:
        """End code that runs and does not end by itself soon. May be called from any thread."""
        self._asked_at = monotonic()
        self.stop_at = self._asked_at + SOON
        if self._is_main and self._watching:
            self._set_timer()

    def enter(self, steps: "Steps | None", seconds: float) -> None:
        """Code runs from here on, of `steps` or of the engine, that may be ended after `seconds`."""
        self.steps = steps
        self._attempts, self._began = 0, monotonic()
        self.until = self._began + seconds
        if self._is_main and (seconds < math.inf or self.stop_at < math.inf):
            self._set_timer()

    def leave(self) -> None:
        """Nothing runs that may be ended."""
        timed = self.until is not None and self.until < math.inf
        self.until, steps, self.steps = None, self.steps, None
        if self._is_main and timed:
            self._set_timer()
        if steps is not None and (spent := monotonic() - self._began) > _LONG:
            for other in self.allowances - {steps.allowance}:
                other.credit(spent)

    @contextmanager
    def engine(self) -> Iterator[None]:
        """The code waits for a call: what runs inside may take as long as it needs, but is ended by an interrupt."""
        steps = self.steps
        if steps is None:
            yield
            return
        steps.in_engine += 1
        self._change(steps)
        try:
            yield
        finally:
            steps.in_engine -= 1
            if steps.is_running:  # not when the coroutine is thrown away
                self._change(steps)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Code inside may take as long as it needs, but is ended by an interrupt. It does not await."""
        if self.until is not None:
            yield
            return
        self.enter(None, math.inf)
        try:
            yield
        finally:
            self.leave()

    def _change(self, steps: "Steps") -> None:
        self.leave()
        self.enter(None if steps.in_engine else steps, steps.seconds())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Code that is entered inside is watched; also where this is entered several times."""
        self._watching += 1
        if self._watching == 1:
            self._start()
        try:
            yield
        finally:
            self._watching -= 1
            if self._watching == 0:
                self._stop()

    def _start(self) -> None:
        self.stop_at = math.inf
        if not self._is_main:
            self._period += 1
            threading.Thread(target=self._look, args=(self._period,), name="counterpoint-watchdog", daemon=True).start()
            return
        delay, self._others_every = signal.getitimer(signal.ITIMER_REAL)
        self._others_at = monotonic() + delay if delay else math.inf
        self._before = signal.signal(signal.SIGALRM, self._alarm)
        for number in (signal.SIGINT, signal.SIGTERM):
            before: Any = signal.getsignal(number)
            if _cancels(before):
                mine = self._chained(before)
                self._interrupts[number] = (before, mine)
                signal.signal(number, mine)

    def _stop(self) -> None:
        if not self._is_main:
            return
        for number, (before, mine) in self._interrupts.items():
            if signal.getsignal(number) is mine:
                signal.signal(number, before)
        self._interrupts.clear()
        if signal.getsignal(signal.SIGALRM) is self._alarm:
            waits = max(self._others_at - monotonic(), 1e-6) if self._others_at < math.inf else 0.0
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL if self._before is None else self._before)
            signal.setitimer(signal.ITIMER_REAL, waits, self._others_every)

    def _chained(self, before: Callable[..., Any]) -> Callable[..., Any]:
        def on_interrupt(number: int, frame: FrameType | None) -> None:
            self.interrupt()
            before(number, frame)

        return on_interrupt

    def _set_timer(self) -> None:
        """The timer ends at the next thing to do. Not if somebody else has taken the signal meanwhile."""
        if _handler(signal.SIGALRM) is self._alarm:
            due = min(math.inf if self.until is None else self.until, self.stop_at, self._others_at)
            signal.setitimer(signal.ITIMER_REAL, max(due - monotonic(), 1e-4) if due < math.inf else 0)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        now = monotonic()
        if now >= self._others_at:
            self._others_at = now + self._others_every if self._others_every else math.inf
            if callable(self._before):
                self._before(number, frame)
        if self._is_due(now):
            self._postpone(now)
            self._set_timer()
            self._attempts += 1
            if self._attempts > 1:
                end_at_the_next_line(frame, __file__)
            raise Ended
        if now >= self.stop_at:
            self.stop_at = now + SOON
        self._set_timer()

    def _is_due(self, now: float) -> bool:
        return self.until is not None and now >= min(self.until, self.stop_at)

    def _postpone(self, now: float) -> None:
        """Code that catches what ends it is ended again."""
        self.stop_at = now + SOON if self.stop_at < math.inf else math.inf
        if self.until is not None and self.until < math.inf:
            self.until = max(self.until, now + SOON)

    def _look(self, period: int) -> None:
        """Watch another thread for as long as it is to be watched."""
        throw, thread, ended = ctypes.pythonapi.PyThreadState_SetAsyncExc, self._thread, ctypes.py_object(Ended)
        waits = threading.Event()
        while self._watching and self._period == period:
            waits.wait(_LOOK)
            now = monotonic()
            began = self._began
            if self._is_due(now):
                # Nothing between the comparison and the call gives way to the watched thread.
                if self.until is not None and self._began == began:
                    throw(thread, ended)
                self._postpone(now)


def _cancels(handler: Any) -> bool:
    """True if the handler of a signal leads to the end of what the event loop runs."""
    module = getattr(getattr(handler, "func", handler), "__module__", "")
    return module in _CANCELLING


_UNDEAD: list[Coroutine[Any, Any, Any]] = []
"""Coroutines that go on whatever is raised in them: Python would try to end them again when they are thrown away."""
_here = threading.local()
_watchdogs: dict[int, Watchdog] = {}


def watchdog() -> Watchdog:
    """The watchdog of this thread."""
    found: Watchdog | None = getattr(_here, "watchdog", None)
    if found is None:
        found = _here.watchdog = _watchdogs[threading.get_ident()] = Watchdog()
    return found


class Steps(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are watched, as are those of every task that it starts. It is awaited once."""

    def __init__(self, work: Coroutine[Any, Any, Any], allowance: Allowance, *, is_first: bool = True) -> None:
        self._work = work
        self._dog = watchdog()
        self.allowance = allowance
        self.is_first = is_first
        """False for a task that the code started."""
        self.is_running = False
        self.in_engine = 0
        """Greater than 0 while the code waits for a call that it made."""

    def seconds(self) -> float:
        """Seconds that the code may run before it gives control back."""
        return math.inf if self.in_engine else self.allowance.remaining()

    def send(self, value: Any) -> Any:
        return self._step(self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return self._step(self._work.throw, *error)

    def close(self) -> None:
        """End the coroutine, whatever it does at its end."""
        self.is_running = True
        awaited = _awaited(self._work)
        try:
            self._dog.enter(self, SOON)
            self._work.close()
        except (Exception, Ended):  # nobody is left who could be told
            _UNDEAD.extend(one for one in awaited if inspect.getcoroutinestate(one) != inspect.CORO_CLOSED)
        finally:
            self._dog.leave()
            self.is_running = False

    def __await__(self) -> "Steps":
        return self

    def __iter__(self) -> "Steps":
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def _step(self, advance: Callable[..., Any], *given: Any) -> Any:
        if self.allowance.is_over:
            self.close()
            raise asyncio.CancelledError
        self.is_running = True
        try:
            try:
                self._dog.enter(None if self.in_engine else self, self.seconds())
                return advance(*given)
            finally:
                self._dog.leave()
        except SystemExit as exit:  # asyncio would end the whole process
            raise RuntimeError(f"it called sys.exit({exit.code!r})").with_traceback(exit.__traceback__) from None
        except Ended as ended:
            self._dog.leave()
            self.close()
            if self._dog.is_interrupted:
                raise asyncio.CancelledError from ended
            raise self.allowance.overrun(ended, self) from None
        finally:
            self.is_running = False


def _awaited(work: Any) -> list[Coroutine[Any, Any, Any]]:
    """The coroutine and those that it awaits."""
    found: list[Coroutine[Any, Any, Any]] = []
    while inspect.iscoroutine(work):
        found.append(work)
        work = work.cr_await
    return found


class _TaskFactory:
    """Makes the tasks of an event loop; what watched code starts is watched too."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Future[Any]":
        steps = watchdog().steps
        if steps is not None and inspect.iscoroutine(work):
            work = Steps(work, steps.allowance, is_first=False)
        make = self._before or _plain_task
        task: asyncio.Future[Any] = make(loop, work, **options)
        if steps is not None:
            steps.allowance.started(task)
        return task


def _plain_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    return asyncio.Task(work, loop=loop, **options)


@contextmanager
def watching() -> Iterator[Watchdog]:
    """The watchdog of this thread, which watches inside. An event loop runs."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop.get_task_factory(), _TaskFactory):
        loop.set_task_factory(_TaskFactory(loop.get_task_factory()))
    dog = watchdog()
    with dog.watching():
        yield dog


def interrupt(thread: threading.Thread) -> None:
    """Code that blocks the event loop of another thread is ended soon, if that is possible."""
    found = _watchdogs.get(thread.ident or 0)
    if found is not None:
        found.interrupt()


def is_stuck(thread: threading.Thread) -> bool:
    """True if code in another thread does not end though it was interrupted: a call that never returns to Python."""
    found = _watchdogs.get(thread.ident or 0)
    return found is not None and found.is_stuck
