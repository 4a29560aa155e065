"""The names of the files in a run directory, and whether a place is free for a new run."""

import json
import shutil
from collections.abc import Mapping
from hashlib import sha256
from operator import index
from pathlib import Path
from typing import Any, Literal, cast

from counterpoint.errors import ConfigError, RunError, RunInUseError
from counterpoint.files import command, is_locked, lacks, lock, partial_of, write_whole

METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
FINAL = "final.jsonl"
PROFILE = "profile.jsonl"
CONFIG = "config.toml"
FACTS = "run.json"
LOCK = "run.lock"
SUMMARY = "summary.json"
FAILURE = "failure.json"
"""Left in the directory of a study's run that failed, by what had started it."""
SOURCES = "sources"
Step = int | Literal["peak", "best", "last"]
"""A step, or the name of one: the peak, which is also the best, or the last."""
FOLDERS = ("episodes", "samples", "evaluations", "checkpoints")


def step_of(text: str | None) -> Step | None:
    """The step that the user typed. Raises ConfigError."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    if text not in ("peak", "best", "last"):
        raise ConfigError(f"--step {text}: allowed are the number of a step, peak, best and last")
    return cast(Step, text)


def number_in(step: object) -> int | None:
    """The number of a step that was given from Python; None for the last. Raises ConfigError for anything else."""
    if step is None or (isinstance(step, str) and step == "last"):
        return None
    try:
        return index(step)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"step = {step!r}: allowed are the number of a step, 'peak', 'best' and 'last'") from None


def is_run(path: Path) -> bool:
    """True if there is a run at `path`."""
    return (path / CONFIG).is_file() and (path / FACTS).is_file()


def nothing_at(path: Path) -> str:
    """The message that no run is at `path`, with the nearest name that is there."""
    return f"{path} is not a run directory: {lacks(path, CONFIG, FACTS)}"


def locked(path: Path) -> int:
    """A descriptor that holds the lock of the run at `path`. Raises RunInUseError if another process has it."""
    try:
        return lock(path / LOCK)
    except BlockingIOError:
        raise in_use(path) from None


def in_use(path: Path) -> RunInUseError:
    """The error that another process works on the run at `path`."""
    return RunInUseError(f"{path} is in use: another process works on this run")


def refuse_occupied(path: Path, *, is_mine: bool = False) -> None:
    """Raises RunError if a run cannot be created at `path` because something is there.

    RunInUseError if it is a run that another process works on; with `is_mine` its lock is this process's own.
    """
    if is_run(path) and not is_mine and is_locked(path / LOCK):
        raise in_use(path)
    if is_run(path):
        raise RunError(
            f"{path} already holds a run: resume it with `{command('resume', path)}`, or choose another directory with"
            " `--out` (out= in Python)"
        )
    is_free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if not is_free and not is_unfinished(path):
        raise RunError(f"{path} exists and is not empty: choose another directory for the run")


def is_unfinished(path: Path) -> bool:
    """True if `path` holds what creating a run makes, and nothing else, but not yet the file that makes it a run."""
    if not (path / LOCK).is_file() or (path / CONFIG).exists():
        return False
    made = {LOCK, FACTS, SOURCES, partial_of(path / FACTS).name, partial_of(path / CONFIG).name}
    return all(
        entry.name in made or (entry.name in FOLDERS and entry.is_dir() and not any(entry.iterdir()))
        for entry in path.iterdir()
    )


def write_first_files(path: Path, facts: Mapping[str, Any], recipe: str, copies: Mapping[str, bytes]) -> None:
    """The folder holds a run that has not begun: its facts, its recipe, and `copies` (path -> text) in `sources/`."""
    for folder in FOLDERS:
        (path / folder).mkdir(exist_ok=True)
    shutil.rmtree(path / SOURCES, ignore_errors=True)
    for name, text in copies.items():
        (path / SOURCES / name).parent.mkdir(parents=True, exist_ok=True)
        (path / SOURCES / name).write_bytes(text)
    pinned = {**facts, "config_sha256": sha256(recipe.encode()).hexdigest()}
    write_whole(path / FACTS, json.dumps(pinned, indent=2) + "\n")
    write_whole(path / CONFIG, recipe)  # the last file: with it, and not before, there is a run


def clear(path: Path, *, keep: bool) -> None:
    """Nothing is left in the folder; nor is the folder, unless it is to be kept.

    A kill in between leaves no run: a folder that goes is gone from its place at once, and from one that is kept the
    recipe goes first.
    """
    if not keep:
        partial = partial_of(path)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(path.rename(partial))
        return
    (path / CONFIG).unlink(missing_ok=True)
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
