"""Adapters as folders on tmpfs, from which an engine in other processes reads them. Nothing is ever named twice."""

import fcntl
import os
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError

from counterpoint.adapter import Adapter
from counterpoint.errors import SamplerError

TMPFS = Path("/dev/shm")
"""Files that are kept in memory."""
_PREFIX = "counterpoint-adapters-"
_LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Place:
    """The names under which an engine knows one version of a policy."""

    number: int
    name: str
    folder: Path


class Folders:
    """The folders of one engine's adapters, in a folder of their own that no other engine uses.

    An engine that was given a number, a name or a folder before may continue with what it read then, from its memory or
    from its cache of prefixes, and say that it loaded the new one. So each is given once.
    """

    def __init__(self, place: Path = TMPFS) -> None:
        """Folders that processes left behind when they were killed are removed. Raises SamplerError without tmpfs."""
        if not place.is_dir():
            raise SamplerError(f"adapters are given to the engine by way of {place}, which is not there")
        _sweep(place)
        self.root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
        self._lock = _locked(self.root)
        self._count = 0
        self._given: set[str | int | Path] = set()

    def write(self, adapter: Adapter) -> Place:
        """The adapter is whole in a folder of its own. Raises SamplerError if there is no room for it."""
        self._count += 1
        # The prefix of the root's name is that of no other engine, also after a run is resumed.
        name = f"{self.root.name.removeprefix(_PREFIX)}-{self._count}-{adapter.policy}-v{adapter.version}"
        place = Place(self._count, name, self.root / name)
        for one in (place.number, place.name, place.folder):
            assert one not in self._given, f"{one} was given to the engine before"
            self._given.add(one)
        size = size_of(adapter)
        if size >= shutil.disk_usage(self.root).free:
            raise SamplerError(_no_room(self.root, size))
        aside = self.root / f".{name}"
        try:
            # With its own scale, which need not be the one that the settings of the file it began from say.
            replace(adapter, settings={}).write(aside)
            aside.rename(place.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise SamplerError(f"{_no_room(self.root, size)}: {error}") from error
        return place

    def remove(self, place: Place) -> None:
        """The folder is gone. The engine must not know it any more: it would die at the next call that names it."""
        shutil.rmtree(place.folder, ignore_errors=True)

    def close(self) -> None:
        """Nothing is left on tmpfs."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def size_of(adapter: Adapter) -> int:
    """Bytes of the tensors of an adapter."""
    return sum(tensor.numel() * tensor.element_size() for tensor in adapter.tensors.values())


def _no_room(root: Path, size: int) -> str:
    free = shutil.disk_usage(root).free / 2**20
    return (
        f"an adapter of {size / 2**20:.0f} MiB cannot be written to {root.parent}, which has {free:.0f} MiB left: make"
        " it larger, such as by --shm-size of a container"
    )


def _locked(root: Path) -> int:
    """A lock that is held for as long as this process lives; it is there only once it is held."""
    lock = os.open(root / f".{_LOCK}", os.O_CREAT | os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(root / f".{_LOCK}", root / _LOCK)
    return lock


def _sweep(place: Path) -> None:
    for root in place.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(root / _LOCK, os.O_RDWR)
        except OSError:
            continue  # of another user, or just being made
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(root, ignore_errors=True)
        except OSError:
            pass  # its process lives
        finally:
            os.close(lock)
