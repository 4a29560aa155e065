"""A clock for the parts of a step. Code marks its parts with `timed` and needs no reference to the clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

Seconds = dict[str, float]


class Clock:
    """Wall-clock time in seconds, split into laps and nested parts.

    A path names a lap and, within it, the parts that were open, the outermost first. Time outside of every part counts
    for the lap itself. Every moment counts for exactly one path, so that the paths sum to the whole time; concurrent
    parts of the same name count once.
    """

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self._now = now
        self._last = now()
        self._open: list[str] = []
        self._lap: Seconds = {}
        self._seconds: Seconds = {}

    @classmethod
    def started(cls) -> "Clock":
        """A new clock, which `timed` uses from here on, in this asyncio task and in those that it starts."""
        clock = cls()
        _running.set(clock)
        return clock

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside the `with` block for part `name`."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.remove(name)

    def lap(self, name: str) -> None:
        """End a lap: the time since the last one counts for lap `name` and the parts within it."""
        self._turn()
        for path, seconds in self._lap.items():
            whole = f"{name}/{path}" if path else name
            self._seconds[whole] = self._seconds.get(whole, 0.0) + seconds
        self._lap = {}

    def laps(self) -> Seconds:
        """The seconds of each lap so far, with its parts, and their sum, named as in `docs/metrics.md`."""
        found: Seconds = {}
        for path, seconds in self._seconds.items():
            lap = f"time/{path.partition('/')[0]}"
            found[lap] = found.get(lap, 0.0) + seconds
        return {**found, "time/step": sum(found.values())}

    def read(self, name: str) -> Seconds:
        """End lap `name`, return the seconds by path, and restart from zero."""
        self.lap(name)
        found, self._seconds = self._seconds, {}
        return found

    def _turn(self) -> None:
        """Count the time since the last change of open parts."""
        now = self._now()
        # Concurrent episodes open the same part several times, and close it in any order. Without the duplicates the
        # path is the same however many are open; `part` removes one occurrence, so it ends with the last of them.
        path = "/".join(dict.fromkeys(self._open))
        self._lap[path] = self._lap.get(path, 0.0) + now - self._last
        self._last = now


_running: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Count the time inside for part `name`, if a clock is running. Also a decorator, for functions that are not
    async.
    """
    clock = _running.get()
    if clock is None:
        yield
    else:
        with clock.part(name):
            yield
