"""The places that a command writes to, and the messages about those that fail."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from counterpoint.errors import CounterpointError, EngineError, RunError
from counterpoint.files import partial_of, write_whole

BROKEN_PIPE = 128 + 13
"""The exit status of a program whose reader went away, as a shell gives it for SIGPIPE."""
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "choose a place that can be written to",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
    errno.ENFILE: "raise the limit of open files: ulimit -n",
    errno.EFBIG: "raise the limit of the size of files: ulimit -f",
    errno.ELOOP: "a link leads back to itself",
    errno.ENOTDIR: "a file is where a folder is expected",
    errno.EISDIR: "a folder is where a file is expected",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "",
    errno.EEXIST: "",
    errno.EIO: "",
    errno.EBUSY: "",
    errno.ESTALE: "",
}
"""Error number of a place that cannot be used -> what to do about it."""
_BY_TEXT = {os.strerror(number): advice for number, advice in _ADVICE.items() if advice}
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_LOWER_MEMORY = (
    "out of memory: lower learner.max_tokens_per_micro_batch, rollout.tasks_per_step or rollout.max_tokens, or set"
    " learner.gradient_checkpointing=true; --dry-run estimates what a recipe needs"
)


class Terminal(Console):
    """The console of a command: text is shown as it is, `[b]` and `:a:` too, for names and paths may hold them.

    When its reader goes away, as `head` does, the command ends without a word.

    With `goes_on` it works on in silence instead: its results go to a file.
    """

    def __init__(self, *, goes_on: bool = False) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)
        self._goes_on = goes_on

    def on_broken_pipe(self) -> None:
        self.quiet = True
        drop_output()
        if not self._goes_on:
            raise SystemExit(BROKEN_PIPE)


def announce(text: str) -> None:
    """The text is on standard error: a line about what takes long, beside the results on standard output."""
    Console(stderr=True, highlight=False, markup=False, emoji=False).print(text, soft_wrap=True)


def drop_output() -> None:
    """Everything printed from here on goes nowhere, so that nothing complains about it when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def failure_of_place(error: BaseException) -> str | None:
    """One line about a place that cannot be read or written, or about memory that ran out; None for another error.

    Libraries wrap the system's errors in their own; then the text tells. The message of an error of
    this package is complete, unless the error is that of an engine.
    """
    if isinstance(error, EngineError):
        reason = failure_of_place(error.__cause__) if error.__cause__ else None
        return f"{error}; {reason}" if reason else None
    for one in [] if isinstance(error, CounterpointError) else _chain(error):
        if isinstance(one, OSError) and one.errno in _ADVICE:
            where = f"{one.filename}: " if one.filename else ""
            return f"{where}{one.strerror}{_then(_ADVICE[one.errno])}"
        text = str(one)
        if isinstance(one, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
            return _LOWER_MEMORY
        for words, advice in _BY_TEXT.items():
            if words in text and not isinstance(one, OSError):
                return f"{words}{_then(advice)}"
    return None


def check_folder(folder: Path) -> None:
    """Raises RunError, before any work is done, if this folder can be neither written into nor created."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise RunError(f"{folder} cannot be written to: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{folder} cannot be written to: {there} is read-only for you; choose another place")


def check_out(out: Path | None) -> None:
    """Raises RunError, before any work is done, if the file cannot be written. Its folder is created if needed."""
    if out is None:
        return
    if out.is_dir():
        raise RunError(f"--out {out} cannot be written: it is a folder; name a file")
    check_folder(out.parent)
    if out.exists() and not os.access(out, os.W_OK):
        raise RunError(f"--out {out} cannot be written: it is read-only for you")
    out.parent.mkdir(parents=True, exist_ok=True)


def write_out(out: Path | None, value: Any) -> None:
    """The file holds the value as JSON, if one was named. Raises RunError if it cannot be written."""
    if out is None:
        return
    text = json.dumps(value, indent=2) + "\n"
    try:
        if out.is_file() or not out.exists():
            write_whole(out, text)
        else:  # a pipe, or a device such as /dev/stdout
            out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error}") from error


def keep_until_then(out: Path | None, value: Any) -> None:
    """The hidden file beside `out` holds what is there of its value, which a kill would lose otherwise.

    Nothing is written beside a pipe or a device. Raises RunError if it cannot be written.
    """
    if out is None or (out.exists() and not out.is_file()):
        return
    try:
        partial_of(out).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error}") from error


def _then(advice: str) -> str:
    return f": {advice}" if advice else ""


def _chain(error: BaseException) -> list[BaseException]:
    """The error, those in its group, and their causes."""
    found: list[BaseException] = []
    left = [error]
    while left:
        one = left.pop(0)
        if one not in found:
            found.append(one)
            left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
            left += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
    return found
