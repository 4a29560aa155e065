"""The exception with which code of the user's is ended."""

import sys
from types import FrameType
from typing import Any


class Ended(BaseException):
    """Raised in the frame of code that is ended. It is no `Exception`, so that a workflow does not handle it."""


def end_at_the_next_line(frame: FrameType | None, outside: str) -> None:
    """Raise `Ended` at the next line too, which is in the clause that catches it, which its own `try` does not protect.

    `frame` belongs to the code; `outside` is the file of what runs the code, whose frames are left alone.
    """

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename == outside:  # the code has ended
            sys.settrace(None)
            return None
        if event == "line":
            raise Ended  # which also ends the tracing
        return trace

    while frame is not None and frame.f_code.co_filename != outside:
        frame.f_trace, frame = trace, frame.f_back
    sys.settrace(trace)
