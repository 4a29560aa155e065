"""The folder of a study: what it holds, who works on it, and runs in it that are not the study's.

cells.json          the study, expanded: its cells with their labels
study.lock          locked while a runner works on the study
<cell>/             a run directory
logs/               output, attempts and locks of each job
slurm/              the scripts and lists that `--slurm` writes
collected/          what the finished runs found
"""

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from counterpoint.config import Config
from counterpoint.errors import ConfigError, RunError, RunInUseError
from counterpoint.experiments.cells import Cell, Excluded, Measure, Study
from counterpoint.experiments.states import is_finished
from counterpoint.experiments.study import load_study
from counterpoint.files import lock, write_whole
from counterpoint.models import other_weights
from counterpoint.recipe import load_config, load_written
from counterpoint.run_files import CONFIG, FACTS, is_run

CELLS = "cells.json"
_LOCK = "study.lock"
_CHOSEN_AT_THE_START = ("run.threads", "model.date")
"""Keys for which a run writes down what it chose; a date that the recipe names is compared."""
_ADVICE = {
    errno.ENOSPC: "free some space; what is done stays, and the same command continues",
    errno.EDQUOT: "free some space; what is done stays, and the same command continues",
    errno.EROFS: "choose a place that can be written to",
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
}


@contextmanager
def taken(folder: Path) -> Iterator[None]:
    """No other runner works on the study's folder, which is created if needed.

    Raises RunInUseError, of one line, if one does; RunError if the folder cannot be written to.
    """
    with place_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = lock(folder / _LOCK)
        except BlockingIOError:
            raise RunInUseError(f"{folder} is in use: another runner works on this study{_whose(folder)}") from None
        try:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def place_told(folder: Path) -> Iterator[None]:
    """A disk that is full, or a place that cannot be written to, becomes a RunError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        raise RunError(f"{error.filename or folder}: {error.strerror}: {_ADVICE[error.errno]}") from error


def write_cells(study: Study, folder: Path) -> None:
    """The folder's `cells.json` holds the study. Raises RunError if it holds one of another name."""
    refuse_other(study, folder)
    path = folder / CELLS
    text = json.dumps(_plain(study), indent=1) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)


def refuse_other(study: Study, folder: Path) -> None:
    """Raises RunError if the folder belongs to a study of another name, or is none."""
    if folder.is_file():
        raise RunError(f"{folder} is a file: the folder of a study is expected there")
    if (folder / CELLS).is_file() and (known := read_cells(folder).name) != study.name:
        raise RunError(f"{folder} belongs to the study {known}: choose another folder for {study.name} with --out")


def refuse_as_collected(place: Path, option: str) -> None:
    """Raises RunError if the folder that an option names for collected files is that of a study, or a run directory."""
    what = "the folder of a study" if (place / CELLS).is_file() else "a run directory" if is_run(place) else ""
    if what:
        raise RunError(f"{option} {place}: this is {what}; name a folder of its own, which --publish fills")


def whole_study(named: str | Path, study: Study, folder: Path, known: Sequence[int] = ()) -> Study:
    """The study with all its cells, of which `study` is a part, and with the seeds that were asked for now or earlier.

    `known` are further seeds of earlier runs. Raises ConfigError and RunError.
    """
    earlier = read_cells(folder).seeds if (folder / CELLS).is_file() else ()
    seeds = dict.fromkeys([*load_study(named).seeds, *sorted({*earlier, *study.seeds, *known})])
    return load_study(named, seeds=tuple(seeds))


def read_cells(folder: Path) -> Study:
    """The study that the folder belongs to. Raises RunError if there is none, or its file is damaged."""
    path = folder / CELLS
    if not path.is_file():
        raise RunError(f"{folder} holds no study: it has no {CELLS}")
    try:
        return _study(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged: {error}; `counterpoint study` writes it again once it is removed"
        ) from error


def refuse_foreign(study: Study, folder: Path) -> None:
    """Raises RunError if the directory of a cell holds a run with another recipe; it names the first difference."""
    from counterpoint.extension import differences  # it reads runs, for which `--status` has no time

    for cell in study.cells:
        path = folder / cell.name
        if not (path / CONFIG).is_file():
            continue
        wanted = load_config(cell.recipe, cell.overrides).model_dump(mode="json", exclude_none=True)
        written = _written(path).model_dump(mode="json", exclude_none=True)
        for key, (here, there) in differences(wanted, written).items():
            if key not in _CHOSEN_AT_THE_START or (key == "model.date" and here):
                raise RunError(
                    f"{path} is another run than the study's: {key} is {there!r} there, {here!r} in the study; move it"
                    " away, or undo the change of the study"
                )


def refuse_other_weights(study: Study, folder: Path) -> None:
    """Raises RunError if runs are left to do, and one here was trained on a shipped model with other weights."""
    if all(is_finished(folder / cell.name) for cell in study.cells):
        return
    for cell in study.cells:
        path = folder / cell.name
        with suppress(OSError, ValueError):  # there is none, or it is damaged, which its state says
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
            if other := other_weights(facts.get("weights", {})):
                raise RunError(f"{path} was trained on {other}: move it away, one study has one model of a name")


def _written(path: Path) -> Config:
    """The recipe of the run at `path`. Raises RunError, which names the path."""
    try:
        return load_written(path / CONFIG)
    except ConfigError as error:
        raise RunError(str(error) if str(path) in str(error) else f"{path / CONFIG}: {error}") from error


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _study(table: dict[str, Any]) -> Study:
    """The study in the form that JSON has; keys that this version does not know are dropped."""
    known = {field.name for field in fields(Study)}
    plain: dict[str, Any] = {
        **{key: tuple(value) if isinstance(value, list) else value for key, value in table.items() if key in known},
        "file": Path(table["file"]) if table["file"] else None,
        "axes": {axis: tuple(labels) for axis, labels in table["axes"].items()},
        "cells": tuple(Cell(**{**one, "overrides": tuple(one["overrides"])}) for one in table["cells"]),
        "measures": tuple(
            Measure(**{**one, "needs": tuple(one["needs"]), "arguments": tuple(one["arguments"])})
            for one in table["measures"]
        ),
        "excluded": tuple(Excluded(**one) for one in table["excluded"]),
    }
    return Study(**plain)


def _whose(folder: Path) -> str:
    told = (folder / _LOCK).read_text(encoding="utf-8", errors="replace").strip()
    return f" ({told})" if told else ""
