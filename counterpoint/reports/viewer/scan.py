"""The runs and studies below a folder, each with the name that stands for it in addresses.

Folders that are links are not entered, and of a run no file is read that is a link to a place outside the folder, a
pipe, a device, or larger than any run writes.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from counterpoint.errors import RunError
from counterpoint.experiments.folder import CELLS
from counterpoint.experiments.states import LOGS
from counterpoint.reports.viewer.names import coded
from counterpoint.run_files import CONFIG, FACTS, LOCK

HERE = "."
_LEFT_OUT = frozenset({LOGS, "node_modules", "__pycache__", "collected", "site-packages"})
"""Folders that hold no runs, and may hold very many files."""
_LARGEST = 1 << 30
"""Bytes of the largest file that is read."""


@dataclass(frozen=True, slots=True)
class Place:
    """A run or a study."""

    id: str
    """Its relative path, coded as one part of an address: it stays the same as long as the path does."""
    name: str
    """Its path relative to the folder that is viewed; of that folder itself its name."""
    path: Path
    study: str = ""
    """The `id` of the study in whose folder a run lies, if there is one."""


@dataclass(frozen=True, slots=True)
class Places:
    """The runs and studies of a folder, by `id`, in the order of paths."""

    runs: Mapping[str, Place]
    studies: Mapping[str, Place]

    def of_study(self, id: str) -> list[Place]:
        """The runs in a study's folder."""
        return [run for run in self.runs.values() if run.study == id]


def scan(root: Path) -> Places:
    """The runs and studies in the folder `root`, which may itself be one. Raises RunError if it is no folder."""
    if not root.is_dir():
        raise RunError(f"{root} is not a folder: name one that holds runs")
    runs: dict[str, Place] = {}
    studies: dict[str, Place] = {}
    for path, is_study in sorted(_found(root)):
        place = _place(root, path)
        if is_study:
            studies[place.id] = place
        else:
            above = _place(root, path.parent).id if path != root else ""
            runs[place.id] = Place(place.id, place.name, path, above if above in studies else "")
    return Places(runs, studies)


def is_inside(root: Path, path: Path) -> bool:
    """True if what `path` leads to, over links too, lies in the folder `root`."""
    return path.resolve().is_relative_to(root.resolve())


def refuse_what_is_not_read(root: Path, folder: Path) -> None:
    """Raises RunError if the run in `folder` holds what is never read.

    That is a link to a place outside the folder `root`, anything that is neither a file nor a folder (a pipe would
    never end), and a file that is larger than any run writes.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not is_inside(root, Path(entry.path)):
                raise RunError(f"{entry.name} is a link to a place outside the folder that is viewed: it is not read")
            if not entry.is_dir():
                _refuse_odd(Path(entry.path))


def check_file(root: Path, path: Path) -> Path:
    """The file `path`, which is a regular one and lies in `root`, over links too. Raises RunError if it is not."""
    if not is_inside(root, path):
        raise RunError(f"{path.name} is a link to a place outside the folder that is viewed: it is not read")
    _refuse_odd(path)
    return path


def _refuse_odd(path: Path) -> None:
    """Raises RunError if something is at `path` that is not a regular file, or one that is too large to be read."""
    try:
        now = path.stat()
    except OSError:
        return
    if not stat.S_ISREG(now.st_mode):
        raise RunError(f"{path.name} is not a file: it is not read")
    if now.st_size > _LARGEST:
        raise RunError(f"{path.name} has {now.st_size:,} bytes: above {_LARGEST:,} it is not read")


def _place(root: Path, path: Path) -> Place:
    relative = path.relative_to(root).as_posix()
    name = root.resolve().name if relative == HERE else relative
    return Place(coded(relative), name, path)


def _found(root: Path) -> Iterator[tuple[Path, bool]]:
    """Every run, with False, and every study, with True; runs are not searched for others."""
    for place, folders, files in os.walk(root):
        if CELLS in files:
            yield Path(place), True
        if LOCK in files or {FACTS, CONFIG} <= set(files):
            folders.clear()
            yield Path(place), False
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
