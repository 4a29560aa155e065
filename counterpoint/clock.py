"""Where the time goes: whatever takes some of it says so by `timed`, and does not know who looks at the clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

Seconds = dict[str, float]


class Clock:
    """Seconds of wall clock by what they went to. Each moment goes to one thing: together they are all there was.

    A name is a path: the lap, and within it the parts that were going on, the outermost first. What was in no part goes
    to the lap itself. Parts that wait side by side under one name count once.
    """

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self._now = now
        self._last = now()
        self._open: list[str] = []
        self._lap: Seconds = {}
        self._seconds: Seconds = {}

    @classmethod
    def started(cls) -> "Clock":
        """A new one, which `timed` tells from here on, in this task and in those that it starts."""
        clock = cls()
        _running.set(clock)
        return clock

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What happens inside goes to `name`."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.remove(name)

    def lap(self, name: str) -> None:
        """What has happened since the last lap goes to `name` and to the parts within it."""
        self._turn()
        for path, seconds in self._lap.items():
            whole = f"{name}/{path}" if path else name
            self._seconds[whole] = self._seconds.get(whole, 0.0) + seconds
        self._lap = {}

    def laps(self) -> Seconds:
        """Every lap so far with all its parts, and the sum of them, by the names of `docs/metrics.md`."""
        found: Seconds = {}
        for path, seconds in self._seconds.items():
            lap = f"time/{path.partition('/')[0]}"
            found[lap] = found.get(lap, 0.0) + seconds
        return {**found, "time/step": sum(found.values())}

    def read(self, name: str) -> Seconds:
        """A last lap; then the seconds by path. The clock begins anew."""
        self.lap(name)
        found, self._seconds = self._seconds, {}
        return found

    def _turn(self) -> None:
        now = self._now()
        path = "/".join(dict.fromkeys(self._open))
        self._lap[path] = self._lap.get(path, 0.0) + now - self._last
        self._last = now


_running: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """What happens inside goes to `name`, if a clock is running. Also a decorator, of functions that are not async."""
    clock = _running.get()
    if clock is None:
        yield
    else:
        with clock.part(name):
            yield
