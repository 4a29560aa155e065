"""The state of a run, from its directory alone: six words, how far it came, and how it does.

    absent         there is no directory
    debris         a directory without a recipe: the process that was creating the run was killed
    running        a process holds the run's lock
    interrupted    a run that nothing works on, and that did not fail
    failed         `failure.json` or the error in `run.json` says why
    finished       `summary.json`, the last file of a run, is there

Only the ends of files that grow are read, so that a hundred runs take a fraction of a second.
"""

import errno
import json
import os
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any, Literal

from counterpoint.analysis.alarm import raised
from counterpoint.errors import RunError
from counterpoint.files import is_locked, lacks, partial_of
from counterpoint.run_files import (
    CONFIG,
    EVALUATIONS,
    FACTS,
    FAILURE,
    FOLDERS,
    LOCK,
    METRICS,
    PROFILE,
    SOURCES,
    SUMMARY,
)

State = Literal["absent", "debris", "running", "interrupted", "failed", "finished"]
LOGS = "logs"
"""The folder, beside the runs of a study, of their logs, attempts and locks."""
_MADE_BY_A_RUN = {LOCK, FACTS, SOURCES, METRICS, EVALUATIONS, PROFILE, *FOLDERS}
_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
_TAIL = 1 << 17
"""Bytes of the end of a file that are read first."""
_RECENT = 5
"""Steps over which the seconds per step are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A run as its directory shows it."""

    state: State
    step: int = 0
    """The last step whose numbers are recorded; 0 before the first."""
    steps: int | None = None
    """The steps that its recipe asks for; None before there is a recipe."""
    validation: float | None = None
    """The team's accuracy in the last evaluation of the validation split."""
    warning: str = ""
    """The warnings of the last step."""
    seconds: float | None = None
    """Seconds per step, the median of the last steps."""
    age: float | None = None
    """Seconds since the last step was recorded."""
    attempt: int = 0
    """The number of times that a runner has started it."""
    problem: str = ""
    """Why it failed, or why an intervention ended it early."""

    @property
    def left(self) -> float | None:
        """Seconds of training that remain at this pace; None if that cannot be told."""
        return None if self.seconds is None or self.steps is None else self.seconds * (self.steps - self.step)


def state_of(path: Path) -> Found:
    """The run at `path`. Raises RunError if something that is no run is there."""
    if not path.is_dir():
        _refuse_file(path)
        busy = is_locked(attempt_lock(path.parent, path.name))
        return Found(state="running" if busy else "absent")
    is_held = is_locked(attempt_lock(path.parent, path.name)) and not is_finished(path)
    if is_held or is_locked(path / LOCK):
        return _progress(path, Found(state="running"))
    return own_state(path)


def own_state(path: Path) -> Found:
    """As `state_of`, from the run directory without the lock that a study's runner holds for each attempt."""
    _refuse_file(path)
    try:
        found = _settled(path) if path.is_dir() else Found(state="absent")
    except FileNotFoundError:  # a process that failed removes what it made at this moment
        found = Found(state="absent")
    return found if found.state in ("absent", "debris") else _progress(path, found)


def _refuse_file(path: Path) -> None:
    """Raises RunError if there is something that is no directory."""
    if os.path.lexists(path) and not path.is_dir():
        what = "is a file" if path.exists() else "is a link to nothing"
        raise RunError(f"{path} {what}: the directory of a run is expected there")


def is_finished(path: Path) -> bool:
    """True if a run at `path` is finished, and no process works on it: `own_state` without the progress."""
    return (path / CONFIG).is_file() and (path / SUMMARY).is_file() and not is_locked(path / LOCK)


def attempt_lock(folder: Path, name: str) -> Path:
    """The lock that a process started by a runner holds from its first moment to its end, in the study's folder."""
    return folder / LOGS / f"{name}.lock"


def failed_as_told(failure: Path) -> Found:
    """A job that failed, as the file says that the runner left."""
    told = _read(failure)
    attempt = told.get("attempt")
    return Found(
        state="failed",
        attempt=attempt if isinstance(attempt, int) else 0,
        problem=str(told.get("reason", f"{failure.name} cannot be read")),
    )


def clear_debris(path: Path) -> None:
    """The directory, which holds debris, is gone; if it is a link to one, that is empty."""
    for entry in sorted(path.rglob("*"), reverse=True):
        if entry.is_dir() and not entry.is_symlink():
            entry.rmdir()
        else:
            entry.unlink()
    if not path.is_symlink():
        path.rmdir()


def last_checkpoint(path: Path) -> int:
    """The last saved step of the run at `path`; -1 if none is."""
    folder = path / "checkpoints"
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=-1)


def is_full(text: str) -> bool:
    """True if the text of an error says that a disk is full."""
    return any(words in text for words in _FULL)


def _settled(path: Path) -> Found:
    """The state of a directory that is there."""
    if is_locked(path / LOCK):
        return Found(state="running")
    has_recipe = (path / CONFIG).is_file()
    if has_recipe and (path / SUMMARY).is_file():
        return Found(state="finished", problem=_stopped(path))
    if (path / FAILURE).is_file():
        return failed_as_told(path / FAILURE)
    if not has_recipe:
        _refuse_foreign(path)
        return Found(state="debris")
    if not (path / FACTS).is_file():
        return Found(state="failed", problem=f"it is damaged: {lacks(path, FACTS)}")
    error = str(_read(path / FACTS).get("error", ""))
    is_failure = error and not is_full(error)
    return Found(state="failed", problem=error) if is_failure else Found(state="interrupted")


def _refuse_foreign(path: Path) -> None:
    hidden = {partial_of(path / name).name for name in (FACTS, CONFIG, FAILURE)}
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in _MADE_BY_A_RUN | hidden)
    if foreign:
        raise RunError(f"{path} holds no run, but {foreign[0]}: move it away, this is the place of a run")
    if last_checkpoint(path) >= 0:
        raise RunError(f"{path} has checkpoints but no {CONFIG}: put it back, or move the directory away")


def _stopped(path: Path) -> str:
    step = last_checkpoint(path)
    state = _read(path / "checkpoints" / f"{step:06d}" / "state.json") if step >= 0 else {}
    return f"stopped: {state['stopped']}" if state.get("stopped") else ""


def _progress(path: Path, found: Found) -> Found:
    """The run as it was found, with its progress."""
    rows = list(_last_rows(path / METRICS, _RECENT))
    last = rows[-1] if rows else {}
    seconds = [row["time/step"] for row in rows if "time/step" in row]
    return replace(
        found,
        step=int(last.get("step", 0)),
        steps=_steps(path / CONFIG),
        validation=_validation(path / EVALUATIONS),
        warning=", ".join(f"{one.signature} ({one.where})" if one.where else one.signature for one in raised(last)),
        seconds=median(seconds) if seconds else None,
        age=_age(path / METRICS) if rows else None,
    )


@lru_cache(maxsize=16)
def recipe_table(text: str) -> Mapping[str, Any]:
    """The table of a recipe; of the last texts it is known already. Raises ValueError if it is not TOML."""
    return tomllib.loads(text)


def _steps(path: Path) -> int | None:
    try:
        steps = recipe_table(path.read_text(encoding="utf-8"))["run"]["steps"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return steps if isinstance(steps, int) else None


def _validation(path: Path) -> float | None:
    for size in _sizes(path):
        for line in reversed(_tail(path, size)):
            if b'"validation"' in line[:200] and (row := _parsed(line)).get("split") == "validation":
                return float(row["accuracy"])
    return None


def _last_rows(path: Path, count: int) -> Iterator[Mapping[str, Any]]:
    for size in _sizes(path):
        lines = _tail(path, size)[-count:]
        if lines:
            yield from filter(None, map(_parsed, lines))
            return


def _sizes(path: Path) -> Iterator[int]:
    """Ever larger numbers of bytes, up to the whole file; none if there is no file."""
    try:
        whole = path.stat().st_size
    except OSError:
        return
    size = _TAIL
    while size < whole:
        yield size
        size *= 4
    yield whole


def _tail(path: Path, size: int) -> list[bytes]:
    """The complete lines within the last `size` bytes of a file."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - size)
            file.seek(start)
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return []
    return lines[1:] if start else lines


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if it is not there or damaged."""
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return {}


def _age(path: Path) -> float | None:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return None
