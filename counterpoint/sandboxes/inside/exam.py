"""Exams: one process holds the program, another runs assertions that call the program's function.

A message is a length and a value encoded by `codec`. Only the examiner decides the result, and it runs no code of the
program; it decodes the program's answers as untrusted bytes. A program that exits, or answers with something that is
not a value, has failed the exam.
"""

import builtins
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from . import codec, program
from .exits import DISMISSED, EXAM_BROKEN, EXAM_FAILED

CHANNEL = 3
"""The file descriptor that connects the two processes."""
_LENGTH = struct.Struct("<Q")
_ODD = (StopIteration, StopAsyncIteration, UnicodeError, BaseExceptionGroup)
"""Exceptions that would end a loop of the exam, or are made of more than a text: a base is raised in their place."""


def answer_calls(source: str, function: str, given: dict[str, object]) -> NoReturn:
    """Run the program, then answer calls of its function until the examiner closes the channel."""
    channel = socket.socket(fileno=CHANNEL)

    def serve() -> None:
        called = program.defined(source, function, given)
        while True:
            try:
                asked = codec.decode(_receive(channel))
            except OSError:
                os._exit(DISMISSED)
            _send(channel, program.encoded(_answer(called, asked)))

    program.end(serve)


def hold(text: str, function: str) -> NoReturn:
    """Run the exam; exit with 0 if no assertion failed and it called the function at least once.

    An error before the first call is the exam's own: nothing of the program has reached it.
    """
    candidate = _Candidate(socket.socket(fileno=CHANNEL))
    namespace: dict[str, object] = {"__name__": "exam", "__builtins__": builtins, function: candidate}
    try:
        exec(compile(text, "exam.py", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace")[:4096])
        os._exit(EXAM_FAILED if candidate.asked else EXAM_BROKEN)
    os._exit(0 if candidate.asked else EXAM_FAILED)


class _Candidate:
    """Stands for the program's function in the exam: a call is sent to the program and its answer returned."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.asked = False

    def __call__(self, *arguments: object, **named: object) -> object:
        try:
            question = codec.encode([list(arguments), named])
        except codec.CodecError as error:
            os.write(2, f"its arguments cannot cross to the program: {error}\n".encode(errors="replace")[:4096])
            os._exit(EXAM_FAILED if self.asked else EXAM_BROKEN)
        self.asked = True
        try:
            _send(self._channel, question)
            kind, content, after = _list(codec.decode(_receive(self._channel)), 3)
            _copy_back(arguments, _list(after, len(arguments)))
            if kind == "value":
                return content
            problem = _exception(*_list(content, 2))
        except (OSError, codec.CodecError, ValueError, TypeError, RecursionError, MemoryError) as error:
            # Exit rather than raise: an exam that expects an exception must not mistake the program's end for it.
            os.write(2, f"the program gave no answer: {error}\n".encode(errors="replace")[:4096])
            os._exit(EXAM_FAILED)
        raise problem


def _answer(called: Callable[..., object], asked: object) -> object:
    arguments, named = _list(asked, 2)
    try:
        value = called(*arguments, **named)  # type: ignore[misc, arg-type]
    except MemoryError:
        raise
    except Exception as error:
        return ["error", _told(error), arguments]
    return ["value", value, arguments]


def _told(error: Exception) -> list[str]:
    """The name of the nearest type of the error that is built in and can be made of a text, and the text.

    Where that is no more than Exception, the text begins with the name that the program gave it.
    """
    kinds = (one for one in type(error).__mro__ if not issubclass(one, _ODD))
    nearest = next(one for one in kinds if vars(builtins).get(one.__name__) is one)
    own = f"{type(error).__name__}: " if nearest is Exception and type(error) is not Exception else ""
    return [nearest.__name__, own + _text(error)]


def _text(error: Exception) -> str:
    try:
        return str(error)[:2000]
    except Exception:
        return ""


def _exception(name: object, text: object) -> Exception:
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, _ODD):
        return kind(str(text))
    return RuntimeError(f"{name}: {text}")


def _list(value: object, length: int) -> list[object]:
    if not isinstance(value, list) or len(value) != length:
        raise codec.CodecError(f"a message must be a list of {length} values")
    return value


def _copy_back(arguments: tuple[object, ...], after: list[object]) -> None:
    """Apply the program's changes of mutable arguments to the exam's arguments."""
    for mine, theirs in zip(arguments, after, strict=True):
        if isinstance(mine, list | bytearray) and type(theirs) is type(mine):
            mine[:] = theirs
        elif isinstance(mine, deque) and isinstance(theirs, deque):
            mine.clear()
            mine.extend(theirs)
        elif isinstance(mine, dict | set) and type(theirs) is type(mine):
            mine.clear()
            mine.update(theirs)


def _send(channel: socket.socket, data: bytes) -> None:
    channel.sendall(_LENGTH.pack(len(data)) + data)


def _receive(channel: socket.socket) -> bytes:
    """Receive one message. Raises OSError if the other process has ended, CodecError if the message is too long."""
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    if length > codec.MAX_BYTES:
        raise codec.CodecError(f"a message of {length} bytes")
    return _exactly(channel, length)


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            raise OSError("the other process has ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
