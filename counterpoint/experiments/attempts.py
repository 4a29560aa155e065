"""The attempts at one job of a study: when each began and ended, and what is written down of one that failed.

In the study's folder, `logs/<job>.jsonl` has a line for each beginning and each end, `logs/<job>.log` the output of
the processes, and `logs/<job>.lock` is locked from the first to the last moment of a process: the process inherits the
descriptor, so that the lock is free as soon as it has ended, whatever ended it and whether its runner still lives.
"""

import json
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from counterpoint.experiments.states import LOGS, attempt_lock
from counterpoint.files import append_row, is_locked, lock, write_whole

MOST_KILLS = 2
"""Attempts that may be killed without a newer checkpoint; then the job has failed."""
_LINES = 40
_LONGEST = 20_000
"""Characters of a log that are kept of an attempt that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The content of `failure.json`."""

    reason: str
    """In a few words, such as `exit status 2: error: ...`, `SIGKILL` or `no progress`."""
    code: int | None = None
    """The exit status; None if a signal ended the process."""
    signal: str | None = None
    step: int = 0
    """The last step that was recorded."""
    attempt: int
    time: str
    """UTC, ISO 8601."""
    output: tuple[str, ...] = ()
    """The last lines that the process printed."""


class Attempts:
    """The attempts at one job."""

    def __init__(self, folder: Path, name: str) -> None:
        """`folder` is that of the study, and `name` that of the job, which may contain a slash."""
        self._file = folder / LOGS / f"{name}.jsonl"
        self.log = folder / LOGS / f"{name}.log"
        self._lock = attempt_lock(folder, name)

    @property
    def is_running(self) -> bool:
        """True if a process works on the job, or a runner is about to start one."""
        return is_locked(self._lock)

    @property
    def count(self) -> int:
        """The attempts that have begun."""
        return sum("began" in row for row in self._rows())

    @property
    def last_place(self) -> int | None:
        """The place on this machine that the last attempt was given; None if there is none, or on another machine."""
        rows = [row for row in self._rows() if "began" in row]
        return rows[-1]["place"] if rows and rows[-1].get("host") == socket.gethostname() else None

    @property
    def is_unwatched(self) -> bool:
        """True if the last attempt began, and no runner saw it end."""
        rows = self._rows()
        return bool(rows) and "began" in rows[-1]

    def killed_since(self, step: int) -> int:
        """The attempts, since the last one that the user asked for, that began at `step` and were killed.

        An attempt whose end no runner saw counts as killed; one that a runner ended, told to stop, does not.
        """
        rows, killed = self._rows(), 0
        for place, row in enumerate(rows):
            if "began" not in row:
                continue
            after = rows[place + 1] if place + 1 < len(rows) else {}
            killed = 0 if row["asked"] else killed
            killed += row["step"] == step and after.get("ended") != "stopped"
        return killed

    def take(self) -> int:
        """A descriptor that holds the lock. Raises BlockingIOError if a process works on the job."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        return lock(self._lock)

    def began(self, *, step: int, place: int, asked: bool) -> int:
        """The number of the attempt that begins now, from 1: at the checkpoint `step`, again because a user asked."""
        self._append({"began": _now(), "step": step, "place": place, "asked": asked, "host": socket.gethostname()})
        return self.count

    def ended(self, how: str) -> None:
        """The last attempt has ended: `finished`, `failed`, `stopped` or `in use`.

        On a full disk that is not written: then no runner has seen its end.
        """
        with suppress(OSError):
            self._append({"ended": how, "at": _now()})

    def printed_since(self, offset: int) -> tuple[str, ...]:
        """The last lines that were printed after the first `offset` bytes of the log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(offset, file.seek(0, os.SEEK_END) - _LONGEST))
                text = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ()
        return tuple(line for line in text.splitlines() if line.strip())[-_LINES:]

    def _append(self, row: Mapping[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file.is_file() and not self._file.read_bytes().endswith((b"\n",)) and self._file.stat().st_size:
            with self._file.open("a", encoding="utf-8") as file:
                file.write("\n")  # a kill or a full disk has torn the last line
        append_row(self._file, row)

    def _rows(self) -> list[dict[str, Any]]:
        """The lines that are whole."""
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        return [row for row in map(_parsed, lines) if row]


def failure_of(code: int, printed: tuple[str, ...], *, step: int, attempt: int) -> Failure:
    """The failure of a process with this return code; a negative one is that of a signal."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        often = ", often for lack of memory" if -code == signal.SIGKILL else ""
        reason = f"{name}, which no runner sent{often}"
        return Failure(reason=reason, signal=name, step=step, attempt=attempt, time=_now(), output=printed)
    last = f": {printed[-1].strip()}" if printed else ""
    reason = f"exit status {code}{last}"[:500]
    return Failure(reason=reason, code=code, step=step, attempt=attempt, time=_now(), output=printed)


def no_progress(*, step: int, attempt: int) -> Failure:
    """The failure of a job that was killed again and again before it saved anything new."""
    reason = f"no progress: killed {MOST_KILLS} times without a newer checkpoint"
    return Failure(reason=reason, step=step, attempt=attempt, time=_now())


def write_failure(path: Path, failure: Failure) -> None:
    """The file says why a job failed; its folder is created if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(failure), indent=2) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _parsed(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
