"""Files that survive a kill: whole or as they were before. Text, JSON Lines, and locks."""

import codecs
import fcntl
import json
import os
import shlex
import time
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from counterpoint.errors import RunError

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""The longer marks first: that of UTF-32 may begin with that of UTF-16."""
_PATIENCE = 0.25
"""Seconds that taking a lock tries for."""
_PAUSE = 0.05


def near(path: Path) -> str:
    """The question whether the nearest path that exists was meant, with a space after it; empty if none is near."""
    beside = [one for folder in (path.parent, path.parent / "runs") for one in _entries(folder)]
    names = {one.name: one for one in reversed(beside) if one != path}
    found = get_close_matches(path.name, names, n=1)
    return f"did you mean {str(names[found[0]])!r}? " if found else ""


def command(*words: str | Path) -> str:
    """A command of this package, to be copied into a shell: a path with spaces or quotes in it is quoted."""
    return shlex.join(["counterpoint", *map(str, words)])


def lacks(folder: Path, *names: str) -> str:
    """The reason why a folder that should hold these files does not."""
    if not folder.exists():
        return f"there is nothing of that name; {near(folder)}".rstrip("; ")
    return "it is a file" if folder.is_file() else f"it has no {' and '.join(names)}"


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    except OSError:
        return []


def partial_of(path: Path) -> Path:
    """The hidden name beside `path` under which its next content is written before it is renamed."""
    return path.with_name(f".{path.name}.partial")


def write_whole(path: Path, text: str) -> None:
    """`path` holds `text`; a kill leaves either that or what it held before."""
    partial = partial_of(path)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def decoded(data: bytes) -> str:
    """The text of a file that a person wrote: UTF-8, without a byte order mark.

    Raises ValueError, which names the first byte that is not UTF-8, its line, and the encoding that it looks like.
    """
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"it begins with the mark of {name}; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        line = data.count(b"\n", 0, start) + 1
        raise ValueError(f"byte {data[start]:#04x} in line {line} is not UTF-8; save it as UTF-8") from None


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """`path` has one more line, the row as JSON; a kill may leave a part of the line, which no reader counts."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a JSON Lines file; none if there is no file. Raises RunError if a line is damaged."""
    return RowReader(path).new_rows()


class RowReader:
    """Reads a JSON Lines file that grows: each line once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._lines = 0

    def new_rows(self) -> list[dict[str, Any]]:
        """The complete lines that were appended since the last call. Raises RunError if one is damaged."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            complete, end, _ = file.read().rpartition(b"\n")  # a last line without its end is torn, not a row
        rows = []
        for line in complete.split(b"\n") if end else []:
            self._lines += 1
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{self._path}, line {self._lines} is damaged: {error}") from error
        self._position += len(complete) + len(end)
        return rows


def sync(path: Path) -> None:
    """The content of a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(path: Path) -> int:
    """A descriptor that holds the lock `path` until it is closed.

    Tries for a quarter of a second, because `is_locked` in another process holds the lock for an instant.
    Raises BlockingIOError if another process keeps it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise
        time.sleep(_PAUSE)


def is_locked(path: Path) -> bool:
    """True if a process holds the lock `path`."""
    if not path.is_file():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
