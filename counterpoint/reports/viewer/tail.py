"""The lines of a file that grows, and that is now and then cut or replaced: each is parsed once."""

import json
import os
from pathlib import Path
from typing import Any

from counterpoint.errors import RunError

_REMEMBERED = 128
"""Bytes before the place that was read to, by which a file is recognised."""


class Tail:
    """A JSON Lines file as far as it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = -1
        self._position = 0
        self._last = b""
        self._rows: list[dict[str, Any]] = []

    def rows(self) -> list[dict[str, Any]]:
        """The complete lines that the file has now, in a new list of the same objects; none if there is no file.

        A last line without its end waits. A file that is smaller than it was, or another one, is read from its
        beginning. Raises RunError if a line is damaged.
        """
        try:
            with self._path.open("rb") as file:
                if not self._continues(file.fileno()):
                    self._forget()
                    self._inode = os.fstat(file.fileno()).st_ino
                file.seek(self._position)
                self._take(file.read())
        except FileNotFoundError:
            self._forget()
        return list(self._rows)

    def _continues(self, descriptor: int) -> bool:
        """True if the file begins with what was read of it."""
        now = os.fstat(descriptor)
        if now.st_ino != self._inode or now.st_size < self._position:
            return False
        start = self._position - len(self._last)
        read: bytes = os.pread(descriptor, len(self._last), start)
        return read == self._last

    def _take(self, new: bytes) -> None:
        complete, end, _ = new.rpartition(b"\n")
        taken = []
        for number, line in enumerate(complete.split(b"\n") if end else [], start=len(self._rows) + 1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("it is no object")
            except (ValueError, RecursionError) as error:
                raise RunError(f"{self._path.name}, line {number} is damaged: {error}") from error
            taken.append(row)
        self._rows += taken
        self._position += len(complete) + len(end)
        self._last = (self._last + complete + end)[-_REMEMBERED:]

    def _forget(self) -> None:
        self._inode = -1
        self._position = 0
        self._last = b""
        self._rows = []
