"""The beginning and the end of work on a run: its directory, what it pins, and what is kept when it fails."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

from counterpoint.config import Config
from counterpoint.errors import CounterpointError, RunError, told
from counterpoint.extension import extended
from counterpoint.pins import check_unchanged, copies_of, executed, facts_of, sources
from counterpoint.plan.provenance import facts
from counterpoint.recipe import load_written
from counterpoint.run import Run
from counterpoint.run_files import CONFIG

_IN_THE_CELL = (
    "workflow",
    "workflow.name",
    "policies.sharing",
    "model.path",
    "task",
    "task.name",
    "run.seed",
    "preset",
)
"""Keys whose values the cell names."""
_NOT_THE_EXPERIMENT = ("run.threads", "track")
_LONGEST_VALUE = 24
_LONGEST_NAME = 120
_LONGEST_ERROR = 500


def begin(config: Config, out: str | Path | None, recipe: str | Path, overrides: Sequence[str]) -> Run:
    """A new run directory, locked, with copies of the modules that the user wrote.

    `recipe` and `overrides` are what the user gave. Raises RunError if the place is not free.
    """
    found = sources(config)
    path = Path(out) if out else default_path(config, overrides)
    return Run.create(path, config, {**facts(str(recipe), overrides), **facts_of(found)}, copies_of(found))


def reopen(path: str | Path, overrides: Sequence[str] = (), *, accept_changes: bool = False) -> Run:
    """An existing run, locked, its members bound to what it was trained with, and its recipe changed by `overrides`.

    No file says yet what they change: `accept` writes it down. A finished run that is not changed is left as it is.
    Raises CounterpointError if the run is none, in use, or has a recipe or a source that changed and is not accepted.
    """
    run = Run.open(path)
    try:
        if run.is_finished and not overrides:
            return run
        step = max(run.checkpoints(), default=0)
        check_unchanged(run, accept=accept_changes, step=step)
        run.config = extended(run, overrides)
        run.config = executed(run)
    except BaseException:
        run.close()
        raise
    return run


@contextmanager
def failure_recorded(run: Run) -> Iterator[None]:
    """An error is recorded in `run.json`; a run that failed before its first evaluation is not kept at all."""
    run.forget("error")
    try:
        yield
    except Exception as error:
        with suppress(OSError, RunError):  # a full disk is what failed, or the directory is gone
            if run.is_new and not run.evaluation_rows():
                run.discard()
            else:
                run.note({"error": told(error).split("\n")[0][:_LONGEST_ERROR]})
        raise


@contextmanager
def cpu_recorded(run: Run) -> Iterator[None]:
    """`run.json` adds up the CPU seconds of the work inside, by this process and those that it started and ended.

    The work of a process that was killed is not known, and runs that one process trains side by side count each other.
    """
    before = _cpu_seconds()
    try:
        yield
    finally:
        with suppress(OSError):  # a full disk, or a directory that is gone
            spent = run.facts.get("cpu_seconds", 0.0) + _cpu_seconds() - before
            run.note({"cpu_seconds": round(spent, 2)})


def _cpu_seconds() -> float:
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def default_path(config: Config, overrides: Sequence[str], folder: Path = Path("runs")) -> Path:
    """The directory of a run that was given none: its cell, and the overrides that the cell does not show.

    A run with other settings that has this name is told apart by a digest of the settings.
    """
    name = config.cell + _shown(overrides)
    digest = sha256(_experiment(config).encode()).hexdigest()[:6]
    short = name if len(name) <= _LONGEST_NAME else f"{config.cell}-{digest}"
    first = folder / short
    return first if _is_free_or_same(first, config) else folder / f"{short}-{digest}"


def _shown(overrides: Sequence[str]) -> str:
    pairs = [one.partition("=") for one in overrides]
    shown = {
        key.strip().rpartition(".")[2]: re.sub(r"[^\w.+-]+", "_", value.strip())[:_LONGEST_VALUE]
        for key, _, value in pairs
        if key.strip() not in (*_IN_THE_CELL, *_NOT_THE_EXPERIMENT)
    }
    return "".join(f"-{key}={value}" for key, value in shown.items())


def _experiment(config: Config) -> str:
    """The recipe without what a machine decides."""
    table: dict[str, Any] = config.model_dump(exclude_none=True)
    for key in _NOT_THE_EXPERIMENT:
        section, _, name = key.partition(".")
        whole = table.pop(section)
        if name:
            table[section] = {one: value for one, value in whole.items() if one != name}
    return json.dumps(table, sort_keys=True, default=str)  # TOML has dates


def _is_free_or_same(path: Path, config: Config) -> bool:
    try:
        return not (path / CONFIG).is_file() or _experiment(load_written(path / CONFIG)) == _experiment(config)
    except (CounterpointError, OSError):
        return False
