"""The files of a run as they are now, from their sizes and times alone, and the parts of a page that depend on them."""

import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

from counterpoint.experiments.states import LOGS, attempt_lock
from counterpoint.files import is_locked
from counterpoint.run_files import CONFIG, EVALUATIONS, FACTS, FAILURE, FINAL, LOCK, METRICS, PROFILE, SUMMARY

Mark = tuple[int, ...]
"""Inode, size and time of a file; empty if it is not there. Of a lock: 1 if it is held, else 0."""
EPISODES = ("episodes", "samples", "evaluations/validation", "evaluations/test")
LOG = "log"
HELD = "held"
_STATE = (METRICS, EVALUATIONS, SUMMARY, FAILURE, FACTS, CONFIG, HELD)
PARTS: Mapping[str, tuple[str, ...]] = {
    "head": _STATE,
    "warnings": (METRICS, EVALUATIONS, SUMMARY, FINAL, CONFIG, FACTS),
    "curves": (METRICS, EVALUATIONS, SUMMARY, FINAL, CONFIG, FACTS),
    "roles": (METRICS, EVALUATIONS, CONFIG, FACTS),
    "episodes": EPISODES,
    "profile": (PROFILE,),
    "log": (LOG,),
    "recipe": (CONFIG, FACTS),
}
"""Part of the page of a run -> the files that it is made from."""
Look = Mapping[str, Mark]
"""Name of a file of a run -> how it is now."""


def look_at(path: Path) -> Look:
    """The run in the folder `path`; every mark is empty if it is gone."""
    names = (METRICS, EVALUATIONS, FINAL, PROFILE, SUMMARY, FAILURE, FACTS, CONFIG, *EPISODES)
    marks: dict[str, Mark] = {name: mark_of(path / name) for name in names}
    marks[LOG] = mark_of(log_of(path))
    marks[HELD] = (int(is_held(path)),)
    return marks


def is_held(path: Path) -> bool:
    """True if a process works on the run, or starts to. Never keeps a process from taking a lock for long."""
    try:
        return is_locked(path / LOCK) or is_locked(attempt_lock(path.parent, path.name))
    except OSError:
        return False


def log_of(path: Path) -> Path:
    """The file to which the runner of a study sends the output of the run's process."""
    return path.parent / LOGS / f"{path.name}.log"


def version_of(values: Iterable[object]) -> str:
    """A short text that is another one whenever one of these marks and texts is another one."""
    return blake2b(repr(tuple(values)).encode("utf-8", "replace"), digest_size=9).hexdigest()


def versions(look: Look) -> dict[str, str]:
    """Part of the page of a run -> its version."""
    return {part: version_of(look[name] for name in names) for part, names in PARTS.items()}


def state_version(look: Look) -> str:
    """The version of the run's line in a table."""
    return version_of(look[name] for name in _STATE)


def mark_of(path: Path) -> Mark:
    """The mark of a file or folder as it is now."""
    try:
        now = os.stat(path)
    except (OSError, ValueError):
        return ()
    return now.st_ino, now.st_size, now.st_mtime_ns
