"""A limit of processor time for one computation, after which another way is tried."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(BaseException):
    """The limit is over. No `except Exception` of a library keeps it from its reader."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in what is done here once it has used so many seconds of processor time."""
    before = signal.signal(signal.SIGVTALRM, _over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _over(_signal: int, _frame: FrameType | None) -> None:
    raise OutOfTime
